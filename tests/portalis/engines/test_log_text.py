"""Logs of builds and containers are text: no colours, no cursor, nothing that turns text around."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.engines.image import EngineFailed
from portalis.engines.log_text import LONGEST, lines, sentence, shown_line


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[1;31mError\x1b[0m: no\x1b[K", "Error: no"),
        ("\x1b[38;5;196mred\x1b[m", "red"),
        ("\x9b31mC1\x9b0m", "C1"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1$r0m\x1b\\text", "text"),
        ("\x1b(Btext\x1b=\x1b>", "text"),
        ("10%\r50%\r100%\r", "100%"),
        ("a\tb", "a       b"),
        ("bell\x07 back\x08", "bell\\x07 back\\x08"),
        ("left \u202eright", "left \\u202eright"),
        ("cut \x1b[", "cut"),
        ("naïve — 数", "naïve — 数"),
    ],
)
def test_a_line_is_what_a_terminal_shows_in_the_end(raw: str, shown: str) -> None:
    assert shown_line(raw) == shown


def test_lines_without_anything_in_them_are_left_out() -> None:
    assert list(lines("one\n\n\x1b[0m\r\ntwo\r\n\u2028three")) == ["one", "two", "three"]
    assert sentence("one\n\x1b[31mtwo\x1b[0m\n") == "one; two"


def test_a_line_without_an_end_is_cut() -> None:
    assert len(shown_line("x" * 10_000_000)) == LONGEST + 2


@given(st.text(alphabet=st.characters() | st.sampled_from("\x1b\x9b[]\\0m;\r\n\x07")))
def test_nothing_that_a_terminal_acts_on_is_left(raw: str) -> None:
    assert all(line.isprintable() and line for line in lines(raw))


class Client:
    """An engine whose build prints colours and fails."""

    hooks: dict[str, list[Any]] = {"response": []}  # noqa: RUF012

    def build(self, **_: Any) -> Any:
        yield {"stream": "\x1b[36mStep 1\x1b[0m : RUN pip\r\n"}
        yield {"stream": "\x1b[31mERROR\x1b[0m \u202e\n"}
        yield {"error": "\x1b[1mno\x1b[0m such file", "errorDetail": {}}


def test_no_escape_of_a_builds_log_reaches_the_error_or_the_listener(tmp_path: Any) -> None:
    from portalis.engines.image_build import run_build

    heard: list[str] = []
    with pytest.raises(EngineFailed) as told:
        run_build(Client(), tmp_path, "x", arguments={}, timeout_s=60, network=None, on_line=heard.append)
    assert heard == ["Step 1 : RUN pip", "ERROR \\u202e", "no such file"]
    assert list(told.value.log) == heard
    assert "\x1b" not in str(told.value) and "failed: no such file" in told.value.message
