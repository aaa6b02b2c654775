"""Logs of builds and containers become plain text: no colors, no cursor movement, no bidirectional controls."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.engines.errors import EngineFailed
from portalis.engines.image_build import run_build
from portalis.engines.log_text import MAX_LINE_CHARS, log_lines, log_sentence, plain_line


@pytest.mark.parametrize(
    ("raw", "plain"),
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
def test_a_line_becomes_the_text_that_a_terminal_displays(raw: str, plain: str) -> None:
    assert plain_line(raw) == plain


def test_empty_lines_are_skipped() -> None:
    assert list(log_lines("one\n\n\x1b[0m\r\ntwo\r\n\u2028three")) == ["one", "two", "three"]
    assert log_sentence("one\n\x1b[31mtwo\x1b[0m\n") == "one; two"


def test_a_long_line_is_cut() -> None:
    assert len(plain_line("x" * 10_000_000)) == MAX_LINE_CHARS + 2


@given(st.text(alphabet=st.characters() | st.sampled_from("\x1b\x9b[]\\0m;\r\n\x07")))
def test_no_control_character_remains(raw: str) -> None:
    assert all(line.isprintable() and line for line in log_lines(raw))


class StubClient:
    """A client of an engine whose build prints colors and fails."""

    hooks: dict[str, list[Any]] = {"response": []}  # noqa: RUF012

    def build(self, **_: Any) -> Any:
        yield {"stream": "\x1b[36mStep 1\x1b[0m : RUN pip\r\n"}
        yield {"stream": "\x1b[31mERROR\x1b[0m \u202e\n"}
        yield {"error": "\x1b[1mno\x1b[0m such file", "errorDetail": {}}


def test_escape_sequences_in_a_build_log_reach_neither_the_error_nor_the_listener(tmp_path: Any) -> None:
    lines: list[str] = []
    with pytest.raises(EngineFailed) as caught:
        run_build(StubClient(), tmp_path, "x", arguments={}, timeout_s=60, network=None, on_line=lines.append)
    assert lines == ["Step 1 : RUN pip", "ERROR \\u202e", "no such file"]
    assert list(caught.value.log) == lines
    assert "\x1b" not in str(caught.value) and "failed: no such file" in caught.value.message
