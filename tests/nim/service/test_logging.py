"""The log of a real process: JSON lines that cannot be forged, request ids, levels, and text."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
import tritonclient.grpc
from hypothesis import given
from hypothesis import strategies as st

from portalis.nim.service.logs import (
    MAX_REQUEST_ID,
    REQUEST_ID,
    JsonLines,
    LogOptions,
    TextLines,
    configure_logging,
    escape_control,
    log_options,
    request_id,
    timestamp,
)

from .process import Service, body, running, write_modules

# writes a line that looks like a log record, and returns its input
TALKER = r"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\35\00\00\00")
  (data (i32.const 16) "{\22level\22:\22critical\22,\22message\22:\22forged\22}\0d\1b[31mred\e2\80\a8end\0a     ")
  (func (export "talk") (param $x f32) (result f32)
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (local.get $x)))"""
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def post(service: Service, path: str, data: bytes | None, **headers: str) -> Any:
    """The headers of a response with status 200."""
    url = f"http://127.0.0.1:{service.client.port}{path}"
    with urlopen(Request(url, data, {key.replace("_", "-"): value for key, value in headers.items()})) as response:
        response.read()
        return response.headers


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("talker")
    with running(folder, write_modules(folder, talk=TALKER)) as service:
        service.wait_ready()
        yield service


@pytest.mark.service
def test_every_line_is_json_with_time_level_logger_and_message(service: Service) -> None:
    post(service, "/v1/models/talk/infer", body(1))
    service.wait_for_line("/v1/models/talk/infer 200")
    for record in service.records():
        assert TIMESTAMP.fullmatch(record["timestamp"])
        assert record["level"] in {"info", "warning", "error"}
        assert isinstance(record["logger"], str) and isinstance(record["message"], str)
    assert {"uvicorn.error", "portalis.access"} <= {record["logger"] for record in service.records()}


@pytest.mark.service
def test_the_access_log_has_id_model_status_and_duration_of_a_request(service: Service) -> None:
    headers = post(service, "/v1/models/talk/infer", body(1), X_Request_Id="order 66")
    assert headers["x-request-id"] == "order 66"
    record = json.loads(service.wait_for_line('"order 66","method"'))
    assert record["logger"] == "portalis.access"
    assert (record["request_id"], record["method"], record["path"]) == ("order 66", "POST", "/v1/models/talk/infer")
    assert (record["model"], record["status"]) == ("talk", 200)
    assert record["duration_ms"] > 0


@pytest.mark.service
def test_grpc_uses_the_id_of_the_metadata_or_of_the_message(service: Service) -> None:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{service.client.grpc_port}") as client:
        tensor = tritonclient.grpc.InferInput("x", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 1), np.float32))
        client.infer("talk", [tensor], headers={"x-request-id": "of metadata"}, request_id="unseen")
        client.infer("talk", [tensor], request_id="of a message")
    for identity in ("of metadata", "of a message"):
        record = json.loads(service.wait_for_line(f'"{identity}","method"'))
        assert (record["status"], record["model"]) == ("OK", "talk")
    assert '"unseen"' not in service.text()


@pytest.mark.service
def test_each_request_without_an_id_gets_a_new_one(service: Service) -> None:
    ids = {post(service, "/v1/models", None)["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)


@pytest.mark.service
def test_errors_have_the_id_in_the_header_and_in_the_log(service: Service) -> None:
    for path, status in (("/nothing", 404), ("/v1/models/talk/infer", 400)):
        url = f"http://127.0.0.1:{service.client.port}{path}"
        with pytest.raises(Exception, match=str(status)) as caught:
            urlopen(Request(url, b"{", {"X-Request-Id": f"bad {status}"}))
        assert caught.value.headers["x-request-id"] == f"bad {status}"  # type: ignore[attr-defined]
        assert json.loads(service.wait_for_line(f"bad {status}"))["status"] == status


@pytest.mark.service
def test_a_guests_output_cannot_forge_a_log_line(service: Service) -> None:
    post(service, "/v1/models/talk/infer", body(1))
    line = service.wait_for_line("forged")
    assert "\x1b" not in line and "\u2028" not in line
    record = json.loads(line)
    assert record["level"] == "info" and "forged" in record["message"]
    assert not any(record["level"] == "critical" for record in service.records())


@pytest.mark.service
def test_a_clients_path_cannot_forge_a_log_line(service: Service) -> None:
    with pytest.raises(Exception, match="404"):
        urlopen(f"http://127.0.0.1:{service.client.port}/%0a%7B%22level%22:%22fatal%22%7D%e2%80%a8x")
    assert json.loads(service.wait_for_line("fatal"))["path"] == '/\n{"level":"fatal"}\u2028x'


@pytest.mark.service
def test_probes_are_logged_only_at_debug(service: Service) -> None:
    post(service, "/v1/health/live", None, X_Request_Id="a probe")
    post(service, "/v1/models", None, X_Request_Id="no probe")
    service.wait_for_line("no probe")
    assert "a probe" not in service.text()


@pytest.mark.parametrize(("level", "logged"), [("debug", True), ("TRACE", True), ("Warning", False), ("ERROR", False)])
@pytest.mark.service
def test_the_log_level_is_applied(tmp_path: Path, level: str, logged: bool) -> None:
    environment = {"NIM_LOG_LEVEL": level, "NIM_JSONL_LOGGING": "0"}
    with running(tmp_path, write_modules(tmp_path, talk=TALKER), environment=environment) as service:
        service.wait_ready()
        post(service, "/v1/models/talk/infer", body(1))
        service.process.terminate()
        assert service.end() == 0
    assert ("/v1/models/talk/infer" in service.text()) is logged
    assert ("is ready after" in service.text()) is logged
    if logged:
        assert re.match(TIMESTAMP.pattern + r" (INFO|DEBUG|TRACE) \S+: ", service.log[0])
        assert all(TIMESTAMP.match(line) for line in service.log)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("NIM_LOG_LEVEL", "loud", "NIM_LOG_LEVEL must be one of TRACE, DEBUG, INFO, DEFAULT, WARNING"),
        ("NIM_JSONL_LOGGING", "yes", "NIM_JSONL_LOGGING must be 1 (JSON lines) or 0 (text), not 'yes'"),
    ],
)
@pytest.mark.service
def test_an_invalid_value_ends_the_service_with_2_and_names_the_variable(
    tmp_path: Path, variable: str, value: str, message: str
) -> None:
    with running(tmp_path, write_modules(tmp_path, talk=TALKER), environment={variable: value}) as service:
        assert service.end() == 2
    assert message in service.text() and "Traceback" not in service.text()


def test_the_default_is_json_lines_and_text_on_a_terminal() -> None:
    assert log_options({}) == LogOptions(logging.INFO, json_lines=True)
    assert log_options({}, terminal=True) == LogOptions(logging.INFO, json_lines=False)
    assert log_options({"NIM_JSONL_LOGGING": "1", "NIM_LOG_LEVEL": "default"}, terminal=True) == LogOptions()
    assert log_options({"NIM_JSONL_LOGGING": " ", "NIM_LOG_LEVEL": ""}) == LogOptions()


def test_a_traceback_is_part_of_its_json_record_and_indented_in_text() -> None:
    def formatted(form: logging.Formatter) -> str:
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            return form.format(logging.LogRecord("a", logging.ERROR, "", 0, "%s", ("oh\nno",), sys.exc_info()))

    record = json.loads(formatted(JsonLines()))
    assert record["message"] == "oh\nno" and "ValueError: first\nsecond" in record["exception"]
    head, *rest = formatted(TextLines()).split("\n")
    assert head.endswith(r"ERROR a: oh\nno")
    assert rest and all(line.startswith("    ") for line in rest)


def test_all_loggers_warnings_and_uncaught_exceptions_are_logged_alike() -> None:
    program = (
        "import logging, threading, warnings\n"
        "from portalis.nim.service.logs import LogOptions, configure_logging\n"
        "configure_logging(LogOptions())\n"
        "warnings.warn('careful')\n"
        "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()\n"
        "logging.getLogger('grpc._server').error('of grpc')\n"
        "raise RuntimeError('at last')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert [record["level"] for record in records] == ["warning", "critical", "error", "critical"]
    assert "careful" in records[0]["message"]
    assert "ZeroDivisionError" in records[1]["exception"]
    assert records[2]["logger"] == "grpc._server"
    assert "RuntimeError: at last" in records[3]["exception"]
    assert done.returncode == 1


@given(st.text(), st.text(), st.dictionaries(st.text(min_size=1), st.text(), max_size=3))
def test_a_record_is_a_single_line_with_the_original_values(
    message: str, identity: str, fields: dict[str, str]
) -> None:
    record = logging.LogRecord("a", logging.INFO, "", 0, "%s", (message,), None)
    record.fields = fields
    token = REQUEST_ID.set(identity)
    try:
        line, text = JsonLines().format(record), TextLines().format(record)
    finally:
        REQUEST_ID.reset(token)
    assert line.isascii() and len(line.splitlines()) == 1
    document = json.loads(line)
    assert all(document[key] == value for key, value in fields.items())
    if "message" not in fields:
        assert document["message"] == message
    assert len(text.splitlines()) == 1 and text.isprintable()


@given(st.one_of(st.binary(), st.text()))
def test_an_id_is_printable_ascii_of_at_most_128_characters_and_never_empty(received: bytes | str) -> None:
    identity = request_id(received)
    assert 0 < len(identity) <= MAX_REQUEST_ID
    assert identity.isascii() and identity.isprintable() and identity == identity.strip()


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=MAX_REQUEST_ID))
def test_a_valid_id_is_unchanged(valid: str) -> None:
    assert request_id(valid) == request_id(valid.encode()) == valid


def test_times_are_rfc_3339_in_utc() -> None:
    assert timestamp(0.0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1e9 + 0.9996) == "2001-09-09T01:46:40.999Z"


def test_only_characters_that_do_not_print_are_escaped() -> None:
    assert escape_control("naïve 漢字") == "naïve 漢字"
    assert escape_control("a\nb\x1b\u2028") == r"a\nb\x1b\u2028"


def test_records_are_written_to_the_specified_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    # undo the process-wide settings after this test
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        configure_logging(LogOptions(logging.ERROR, json_lines=True), stream)
        logging.getLogger("quiet").warning("not this")
        logging.getLogger("loud").error("but this")
    finally:
        logging.basicConfig(handlers=before[0], level=before[1], force=True)
        logging.captureWarnings(False)
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["but this"]
