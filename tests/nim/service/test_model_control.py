"""Models are loaded and unloaded while the service runs, as with Triton's explicit model control."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as grpc_client
from tritonclient.utils import InferenceServerException

from tests.backend import guests
from tests.backend.guests import tensor as declared
from tests.running import waiting

from .controlled import Controlled, controlled_service, request, times
from .serving import serving

pytestmark = pytest.mark.service
NOT_READY = "Request for unknown model: 'times' version 1 is not at ready state; it was unloaded"


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controlled]:
    """A service for requests that change no model."""
    with controlled_service(tmp_path_factory.mktemp("unchanged")) as controlled:
        yield controlled


@pytest.fixture
def controlled(tmp_path: Path) -> Iterator[Controlled]:
    with controlled_service(tmp_path) as controlled:
        yield controlled


def test_a_model_is_loaded_and_unloaded_and_the_index_has_its_state(controlled: Controlled) -> None:
    assert controlled.states() == {
        **dict.fromkeys(("chain", "inner", "nested", "other", "step"), (None, None)),
        "times": ("READY", None),
    }
    assert controlled.infer("other") == (
        404, "Request for unknown model: 'other' is not found; the models are times"
    )  # fmt: skip
    assert controlled.load("other") == (200, "") and controlled.infer("other") == 6
    assert controlled.unload("times") == (200, "")
    text = "Request for unknown model: 'times' has no available versions; it was unloaded"
    assert controlled.infer("times") == (404, text)
    client = controlled.client
    assert client.send("/v2/models/times/versions/1/infer", request()) == (503, {"error": NOT_READY})
    assert client.get("/v2/models/times/ready")[0] == client.get("/v2/models/times/versions/1/ready")[0] == 400
    waiting.until(lambda: controlled.states()["times"] == ("UNAVAILABLE", "unloaded"), controlled.states)
    assert controlled.ready() and [each["id"] for each in client.get("/v1/models")[1]["data"]] == ["other"]
    assert len(client.get("/v1/manifest")[1]["models"]) == 1
    assert controlled.load("times") == (200, "") and controlled.infer("times") == 6
    assert controlled.unload("other") == controlled.unload("times") == controlled.unload("times") == (200, "")
    assert controlled.ready() and client.get("/v2/models/stats")[1] == {"model_stats": []}
    assert controlled.infer("times", 1)[0] == 404


def test_a_model_is_loaded_again_only_if_its_file_has_changed(controlled: Controlled) -> None:
    assert controlled.infer("times") == 6

    def successes() -> int:
        _, document = controlled.client.get("/v2/models/times/stats")
        return int(document["model_stats"][0]["inference_stats"]["success"]["count"])

    assert controlled.load("times") == (200, "") and successes() == 1
    controlled.write("times", times(5))
    assert controlled.infer("times") == 6
    assert controlled.load("times") == (200, "") and successes() == 0
    assert controlled.infer("times") == 15


@pytest.mark.parametrize("content", [b"", b"garbage", times(2)[:-20], b"\0asm\1\0\0\0"])
def test_a_model_whose_new_file_cannot_be_loaded_is_still_served(controlled: Controlled, content: bytes) -> None:
    controlled.write("times", content)
    status, text = controlled.load("times")
    assert status == 400 and text.startswith("load failed for model 'times': version 1 is at UNAVAILABLE state: ")
    assert controlled.infer("times") == 6 and controlled.ready() and controlled.states()["times"] == ("READY", None)
    controlled.write("other", content)
    status, text = controlled.load("other")
    assert status == 400 and not controlled.ready() and controlled.states()["other"][0] == "UNAVAILABLE"
    assert controlled.infer("other")[0] == 503 and "failed" in controlled.infer("other")[1]
    controlled.write("other", times(3))
    assert controlled.load("other") == (200, "") and controlled.infer("other") == 9 and controlled.ready()


def test_a_missing_file_is_named_and_an_unloaded_failure_does_not_count(controlled: Controlled) -> None:
    (controlled.folder / "other.wasm").unlink()
    status, text = controlled.load("other")
    assert status == 400 and "other.wasm" in text and not controlled.ready()
    assert controlled.unload("other") == (200, "") and controlled.ready()


@pytest.mark.parametrize("name", ["unknown", "..%5Cetc", "%20", "times.wasm", "x" * 500, "%00", "%2E%2E"])
def test_only_the_models_of_the_settings_can_be_loaded(unchanged: Controlled, name: str) -> None:
    status, text = unchanged.load(name)
    assert status == 500 and text.startswith("failed to load '") and "failed to poll from model repository" in text
    assert len(text) < 300 and unchanged.unload(name) == (200, "") and len(unchanged.states()) == 6
    assert unchanged.load(f"..%2F{name}")[0] == 404


def test_the_batch_size_can_be_replaced_until_the_next_load(controlled: Controlled) -> None:
    def batch_size() -> int:
        return int(controlled.client.get("/v2/models/times/config")[1]["max_batch_size"])

    assert controlled.load("times", config='{"max_batch_size": "16"}') == (200, "") and batch_size() == 16
    assert controlled.load("times", config='{"name": "times", "backend": "wasm"}') == (200, "") and batch_size() == 0
    for config in ("", "[]", "{", '{"max_batch_size": -1}', '{"max_batch_size": 1e400}', '{"max_batch_size": true}'):
        status, text = controlled.load("times", config=config)
        assert status == 500 and text.startswith("failed to load 'times', failed to poll from model repository; config")
    for config in ('{"name": "x"}', '{"instance_group": []}', '{"backend": "python"}'):
        status, text = controlled.load("times", config=config)
        assert status == 501 and "only max_batch_size can be replaced" in text
    assert controlled.load("chain", config='{"max_batch_size": 4}')[0] == 400
    assert controlled.infer("times") == 6


@pytest.mark.parametrize(
    ("action", "body", "status", "message"),
    [
        ("load", b"{", 400, "not valid JSON"),
        ("load", b'{"parameters": 1}', 400, "attempt to get members for non-object"),
        ("load", b'{"parameters": {"config": 1}}', 400, "attempt to access JSON non-string as string"),
        ("load", b'{"parameters": {"x": "y"}}', 500, "unexpected error on creating Triton parameter"),
        ("load", b'{"parameters": {"file:1/model.wasm": "AAAA"}}', 501, "the directory of service.json"),
        ("load", b'{"parameters": {"config": "' + b"[" * 60000 + b'"}}', 500, "nested too deeply"),
        ("load", b" " * (1 << 17), 413, "exceeds"),
        ("unload", b'{"parameters": {"unload_dependents": "x"}}', 400, "Unable to parse 'unload_dependents'"),
        ("unload", b"{", 400, "not valid JSON"),
    ],
)
def test_invalid_parameters_change_nothing(
    unchanged: Controlled, action: str, body: bytes, status: int, message: str
) -> None:
    got, document = unchanged.client.send(f"/v2/repository/models/times/{action}", body)
    assert got == status and message in document["error"]
    assert unchanged.infer("times") == 6


def test_grpc_loads_and_unloads_with_the_same_results(controlled: Controlled) -> None:
    with grpc_client.InferenceServerClient(f"127.0.0.1:{controlled.client.grpc_port}") as client:
        assert "model_repository(unload_dependents)" in client.get_server_metadata().extensions
        client.load_model("other")
        assert client.is_model_ready("other")
        client.load_model("other", config='{"max_batch_size": 2}')
        assert client.get_model_config("other").config.max_batch_size == 2
        client.unload_model("other")
        assert not client.is_model_ready("other")
        for version, code in (("", "NOT_FOUND"), ("1", "UNAVAILABLE")):
            with pytest.raises(InferenceServerException) as caught:
                client.get_model_metadata("other", version)
            assert caught.value.status() == f"StatusCode.{code}"
        controlled.write("other", b"garbage")
        for arguments, code, text in (
            (("unknown",), "INTERNAL", "failed to load 'unknown', failed to poll"),
            (("other",), "INVALID_ARGUMENT", "load failed for model 'other': version 1 is at UNAVAILABLE state: "),
            (("times", {}, "x"), "INTERNAL", "failed to load 'times', failed to poll"),
            (
                ("times", {}, None, {"file:1/model.wasm": b"x"}),
                "UNIMPLEMENTED",
                "failed to load 'times', failed to poll",
            ),
        ):
            with pytest.raises(InferenceServerException) as caught:
                client.load_model(*arguments)
            assert caught.value.status() == f"StatusCode.{code}" and caught.value.message().startswith(text)


def test_an_ensemble_loads_its_models_and_follows_them(controlled: Controlled) -> None:
    assert controlled.load("chain") == (200, "") and controlled.infer("chain", 1) == 8
    states = controlled.states()
    assert all(states[name] == ("READY", None) for name in ("chain", "nested", "inner", "step"))
    controlled.write("step", times(10))
    assert controlled.load("step") == (200, "") and controlled.infer("chain", 1) == 200
    controlled.write("inner", b"garbage")
    assert controlled.load("inner")[0] == 400 and controlled.infer("chain", 1) == 200
    assert controlled.unload("step") == (200, "")
    for name in ("chain", "nested", "step"):
        assert controlled.infer(name)[0] == 404
    assert controlled.states()["inner"] == ("READY", None) and controlled.ready()
    assert controlled.load("step") == (200, "") and controlled.infer("chain", 1) == 200
    assert controlled.unload("inner") == (200, "") and controlled.infer("chain", 1)[0] == 404
    status, text = controlled.load("chain")
    cause = "ensemble 'chain' depends on 'nested' which has no loaded version"
    assert status == 400 and text.startswith(f"load failed for model 'chain': {cause}. Model 'nested' loading failed")
    controlled.write("inner", times(1))
    assert controlled.load("inner") == (200, "") and controlled.infer("chain", 1) == 100


def test_dependents_are_unloaded_with_an_ensemble_unless_they_are_used_otherwise(controlled: Controlled) -> None:
    assert controlled.load("chain") == controlled.load("step") == controlled.unload("chain") == (200, "")
    assert controlled.infer("chain")[0] == 404 and controlled.infer("nested") == 12
    assert controlled.load("chain") == controlled.unload("chain", unload_dependents=True) == (200, "")
    assert controlled.infer("step") == 6 and controlled.infer("nested")[0] == controlled.infer("inner")[0] == 404
    assert controlled.load("chain") == controlled.load("nested") == (200, "")
    assert controlled.unload("chain", unload_dependents=True) == (200, "") and controlled.infer("nested", 1) == 4


def test_an_ensemble_that_no_longer_fits_is_not_served(controlled: Controlled) -> None:
    assert controlled.load("nested") == (200, "")
    controlled.write("inner", guests.dlpack(guests.ECHO_BODY, inputs=[declared("z")], outputs=[declared("y")]))
    assert controlled.load("inner") == (200, "") and controlled.infer("nested")[0] == 404 and controlled.ready()
    status, text = controlled.load("nested")
    assert status == 400 and "input z in model inner is not mapped to any ensemble tensors" in text
    controlled.write("inner", times(2))
    assert controlled.load("inner") == (200, "") and controlled.infer("nested", 1) == 4


def test_without_control_both_are_refused_as_by_triton(tmp_path: Path) -> None:
    (tmp_path / "times.wasm").write_bytes(times(2))
    with serving(tmp_path, [{"name": "times", "file": "times.wasm"}]) as client:
        client.wait_ready()
        controlled = Controlled(client, tmp_path)
        for action in ("load", "unload"):
            status, text = controlled.control(action, "times")
            assert status == 503 and text.startswith(
                "explicit model load / unload is not allowed if polling is enabled;"
            )
        assert controlled.infer("times") == 6
        assert not any("unload_dependents" in each for each in client.get("/v2")[1]["extensions"])
