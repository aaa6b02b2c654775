"""The settings of log and traces can be read over HTTP and gRPC; a request that changes one is refused in words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import tritonclient.grpc as grpc_client
from tritonclient.utils import InferenceServerException

from portalis.nim.service.request_errors import RequestError
from portalis.nim.service.server_settings import log_settings, refuse_log_changes, refuse_trace_changes
from tests.nim.service.identities import identities
from tests.nim.service.serving import Client, serving

TRACE = {"trace_level": ["OFF"], "trace_rate": "1000", "trace_count": "-1", "log_frequency": "0"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("modules")
    with serving(folder, identities(folder)[:1]) as client:
        client.wait_ready()
        yield client


@pytest.fixture
def level() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before = root.level
    yield root
    root.setLevel(before)


@pytest.mark.parametrize(
    ("number", "info", "warning", "verbose"),
    [
        (logging.DEBUG, True, True, 1),
        (logging.INFO, True, True, 0),
        (logging.ERROR, False, False, 0),
        (1, True, True, 2),
    ],
)
def test_the_log_settings_follow_the_level(
    level: logging.Logger, number: int, info: bool, warning: bool, verbose: int
) -> None:
    level.setLevel(number)
    settings = log_settings()
    found = [settings[key] for key in ("log_info", "log_warning", "log_error", "log_verbose_level")]
    assert found == [info, warning, True, verbose]


@pytest.mark.parametrize(
    "change", [{"log_error": 1}, {"log_error": False}, {"log_verbose_level": 3}, {"log_verbose_level": False}, {"x": 1}]
)
def test_a_change_of_the_log_is_refused(change: dict[str, Any]) -> None:
    refuse_log_changes(dict.fromkeys(change))
    refuse_log_changes(log_settings())
    with pytest.raises(RequestError, match="NIM_LOG_LEVEL") as caught:
        refuse_log_changes(change)
    assert caught.value.status == 501


@pytest.mark.parametrize("change", [{"trace_level": ["TENSORS"]}, {"trace_rate": 1000}, {"trace_file": []}, {"x": "1"}])
def test_a_change_of_the_traces_is_refused(change: dict[str, Any]) -> None:
    refuse_trace_changes(TRACE)
    with pytest.raises(RequestError, match="does not support traces") as caught:
        refuse_trace_changes(change)
    assert caught.value.status == 501


@pytest.mark.service
@pytest.mark.parametrize("path", ["logging", "trace/setting", "models/same_BOOL/trace/setting"])
def test_the_settings_can_be_read_over_http(client: Client, path: str) -> None:
    status, settings = client.get(f"/v2/{path}")
    assert status == 200 and settings.get("trace_level", ["OFF"]) == ["OFF"]
    assert client.send(f"/v2/{path}", b"{}") == (200, settings)
    for body, expected in ((b'{"log_file": "/etc/passwd", "trace_file": "x"}', 501), (b"[1]", 400), (b"{", 400)):
        found, response = client.send(f"/v2/{path}", body)
        assert (found, list(response)) == (expected, ["error"])
    assert client.send(f"/v2/{path}", b" " * (1 << 17))[0] == 413
    assert client.get(f"/v2/{path}") == (200, settings)


@pytest.mark.service
def test_the_settings_can_be_read_over_grpc(client: Client) -> None:
    with grpc_client.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as triton:
        assert triton.get_log_settings(as_json=True)["settings"]["log_file"] == {"string_param": ""}
        for name in (None, "same_BOOL"):
            traces = triton.get_trace_settings(name, as_json=True)["settings"]
            assert {key: traces[key]["value"] for key in TRACE} == {
                key: each if isinstance(each, list) else [each] for key, each in TRACE.items()
            }
        with pytest.raises(
            InferenceServerException, match="Request for unknown model : nope; the models are same_BOOL"
        ):
            triton.get_trace_settings("nope")
        with pytest.raises(InferenceServerException, match="log file location can not be updated") as caught:
            triton.update_log_settings({"log_file": "x"})
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
