"""The access log: lines that are assembled from kept parts equal those of the formatter, and none is lost."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.nim.service import access_log, line_handler
from portalis.nim.service.access_log import log_request
from portalis.nim.service.line_handler import LineHandler
from portalis.nim.service.logs import ACCESS_LOG, REQUEST_ID, JsonLines, TextLines
from tests.running import waiting


@contextlib.contextmanager
def logging_to(formatter: logging.Formatter) -> Iterator[io.StringIO]:
    """The stream of the only handler, whose lines `formatter` writes. Not a fixture: pytest adds handlers after them."""
    root, stream = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    handler = LineHandler(stream)
    handler.setFormatter(formatter)
    root.handlers, token = [handler], REQUEST_ID.set("an id")
    root.setLevel(logging.INFO)
    try:
        yield stream
    finally:
        root.handlers = before
        root.setLevel(level)
        REQUEST_ID.reset(token)


def lines(stream: io.StringIO) -> list[str]:
    logging.getLogger().handlers[0].flush()
    return stream.getvalue().splitlines()


@given(
    st.text(min_size=1).filter(str.strip),
    st.text(),
    st.text(min_size=1),
    st.floats(0, 1e6),
    st.sampled_from([200, "OK"]),
)
def test_a_line_equals_that_of_the_formatter(
    identity: str, path: str, model: str, seconds: float, status: int | str
) -> None:
    with logging_to(JsonLines()) as stream:
        REQUEST_ID.set(identity)
        log_request("POST", path, status, seconds, model)
        (line,) = lines(stream)
        record = access_log._record(logging.INFO, "POST", path, status, round(seconds * 1e3, 3), model)
        expected = JsonLines().format(record)
    cut = len('{"timestamp":"2026-01-01T00:00:00.000Z')
    assert line[cut:] == expected[cut:]
    assert json.loads(line)["logger"] == ACCESS_LOG.name


def test_lines_and_records_keep_their_order() -> None:
    with logging_to(JsonLines()) as stream:
        for number in range(3):
            log_request("POST", f"/{number}", 200, 0.1, "m")
            logging.getLogger("other").info("after %d", number)
            log_request("GET", f"/failed/{number}", 404, 0.1)
        messages = [json.loads(line)["message"] for line in lines(stream)]
        assert messages == [text for n in range(3) for text in (f"POST /{n} 200", f"after {n}", f"GET /failed/{n} 404")]


def test_a_line_is_written_soon_and_many_lines_at_once() -> None:
    with logging_to(JsonLines()) as stream:
        log_request("POST", "/", 200, 0.1, "m")
        waiting.until(stream.getvalue, lambda: "no line was written")
        for _ in range(line_handler.MAX_LINES):
            log_request("POST", "/", 200, 0.1, "m")
        assert stream.getvalue().count("\n") >= line_handler.MAX_LINES


def test_nothing_is_logged_above_the_level() -> None:
    with logging_to(JsonLines()) as stream:
        logging.getLogger().setLevel(logging.WARNING)
        log_request("POST", "/", 200, 0.1, "m")
        assert lines(stream) == []


def test_text_has_the_same_fields() -> None:
    with logging_to(TextLines()) as stream:
        log_request("POST", "/a b", 200, 0.1, "m")
        (line,) = lines(stream)
    assert line.endswith("POST /a b 200 method=POST path=/a b status=200 duration_ms=100.0 model=m request_id=an id")


def test_the_lines_that_wait_are_written_at_the_end_of_the_process() -> None:
    program = (
        "from portalis.nim.service.logs import LogOptions, REQUEST_ID, configure_logging\n"
        "from portalis.nim.service.access_log import log_request\n"
        "configure_logging(LogOptions()); REQUEST_ID.set('a')\n"
        "for _ in range(5): log_request('POST', '/', 200, 0.1, 'm')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(done.stderr.splitlines()) == 5


def test_a_stream_that_fails_does_not_fail_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(JsonLines()) as stream:
        stream.close()
        for _ in range(line_handler.MAX_LINES):
            log_request("POST", "/", 200, 0.1, "m")
        assert "lines of the access log" in capsys.readouterr().err
