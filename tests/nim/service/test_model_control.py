"""Models are loaded and unloaded while the service runs, as with Triton's explicit model control."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
from tritonclient.utils import InferenceServerException

from portalis.nim.service.module_model import ModuleModel
from tests.backend import guests
from tests.backend.guests import tensor as declared
from tests.running import waiting

from .process import SPIN, write_modules
from .scheduling.stateful import sequences, sum_module
from .serving import Client, serving, tensor

TIMES = "(f32.store (i32.load (local.get $out)) (f32.mul (f32.const {factor}) (f32.load (i32.load (local.get $in)))))"
COUNT_DOWN = """(local $n i64)
  (local.set $n (i64.trunc_f32_s (f32.mul (f32.const 4e8) (f32.load (i32.load (local.get $in))))))
  (block $end (loop $next
    (br_if $end (i64.eqz (local.get $n)))
    (local.set $n (i64.sub (local.get $n) (i64.const 1)))
    (br $next)))"""
NOT_READY = "Request for unknown model: 'times' version 1 is not at ready state; it was unloaded"


def times(factor: int, dims: tuple[int, ...] = (1,)) -> bytes:
    """A module that multiplies a number."""
    body = TIMES.format(factor=factor) + " (i32.const 0)"
    return guests.dlpack(body, inputs=[declared("x", dims=dims)], outputs=[declared("y", dims=dims)])


def request(value: float = 3) -> bytes:
    return json.dumps({"inputs": [tensor("x", np.array([value], np.float32))]}).encode()


class Controlled:
    """A service whose models can be changed, and requests to it."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.client, self.folder = client, folder

    def write(self, name: str, module: bytes) -> None:
        """Replace the file of a module at once: a load must never see half of it."""
        new = self.folder / f"{name}.new"
        new.write_bytes(module)
        new.replace(self.folder / f"{name}.wasm")

    def control(self, action: str, name: str, **parameters: Any) -> tuple[int, str]:
        body = json.dumps({"parameters": parameters}).encode() if parameters else b""
        status, document = self.client.send(f"/v2/repository/models/{name}/{action}", body)
        return status, document["error"] if document else ""

    def load(self, name: str, **parameters: Any) -> tuple[int, str]:
        return self.control("load", name, **parameters)

    def unload(self, name: str, **parameters: Any) -> tuple[int, str]:
        return self.control("unload", name, **parameters)

    def infer(self, name: str, value: float = 3) -> Any:
        """The result, or the status and error text."""
        status, document = self.client.send(f"/v2/models/{name}/infer", request(value))
        return document["outputs"][0]["data"][0] if status == 200 else (status, document["error"])

    def states(self) -> dict[str, Any]:
        _, index = self.client.send("/v2/repository/index", b"")
        return {each["name"]: (each.get("state"), each.get("reason")) for each in index}

    def ready(self) -> bool:
        return self.client.get("/v2/health/ready")[0] == 200


def ensemble(name: str, *steps: str) -> dict[str, Any]:
    tensors = ["x", *(f"t{i}" for i in range(1, len(steps))), "y"]
    return {
        "name": name,
        "inputs": [{"name": "x", "data_type": "FP32", "dims": [1]}],
        "outputs": [{"name": "y", "data_type": "FP32", "dims": [1]}],
        "steps": [
            {"model_name": step, "input_map": {"x": tensors[i]}, "output_map": {"y": tensors[i + 1]}}
            for i, step in enumerate(steps)
        ],
    }


@pytest.fixture
def controlled(tmp_path: Path) -> Iterator[Controlled]:
    names = ("times", "other", "step", "inner")
    ensembles = [ensemble("chain", "step", "nested"), ensemble("nested", "inner", "step")]
    for name in names:
        (tmp_path / f"{name}.wasm").write_bytes(times(2))
    models = [{"name": name, "file": f"{name}.wasm"} for name in names]
    with serving(tmp_path, models, ensembles=ensembles, model_control="explicit", load_models=["times"]) as client:
        client.wait_ready()
        yield Controlled(client, tmp_path)


pytestmark = pytest.mark.service


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
def test_only_the_models_of_the_settings_can_be_loaded(controlled: Controlled, name: str) -> None:
    status, text = controlled.load(name)
    assert status == 500 and text.startswith("failed to load '") and "failed to poll from model repository" in text
    assert len(text) < 300 and controlled.unload(name) == (200, "") and len(controlled.states()) == 6
    assert controlled.load(f"..%2F{name}")[0] == 404


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
    controlled: Controlled, action: str, body: bytes, status: int, message: str
) -> None:
    got, document = controlled.client.send(f"/v2/repository/models/times/{action}", body)
    assert got == status and message in document["error"]
    assert controlled.infer("times") == 6


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


def test_no_request_fails_while_its_model_is_replaced_many_times(controlled: Controlled) -> None:
    """Requests run in many threads, directly and through an ensemble, over HTTP and gRPC."""
    assert controlled.load("chain") == (200, "")
    stop, failures, counts = threading.Event(), list[Any](), [0] * 8

    def send(index: int) -> None:
        name = ("step", "chain")[index % 2]
        while not stop.is_set():
            result = controlled.infer(name, 1)
            counts[index] += 1
            if isinstance(result, tuple):
                failures.append(result)

    def send_messages() -> None:
        tensors = [grpc_client.InferInput("x", [1], "FP32")]
        tensors[0].set_data_from_numpy(np.ones(1, np.float32))
        with grpc_client.InferenceServerClient(f"127.0.0.1:{controlled.client.grpc_port}") as client:
            while not stop.is_set():
                try:
                    client.infer("step", tensors)
                except InferenceServerException as error:
                    failures.append(str(error))

    threads = [threading.Thread(target=send, args=[index]) for index in range(8)]
    threads += [threading.Thread(target=send_messages) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for factor in range(2, 14):
            controlled.write("step", times(factor))
            assert controlled.load("step") == (200, "")
            assert controlled.infer("step", 1) == factor and controlled.infer("chain", 1) == 2 * factor**2
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == [] and min(counts) > 0


def test_a_request_that_runs_is_finished_after_the_unload(tmp_path: Path) -> None:
    slow = guests.dlpack(
        f"{COUNT_DOWN} {TIMES.format(factor=2)} (i32.const 0)",
        inputs=[declared("x", dims=(1,))],
        outputs=[declared("y", dims=(1,))],
    )
    (tmp_path / "slow.wasm").write_bytes(slow)
    with serving(
        tmp_path, [{"name": "slow", "file": "slow.wasm"}], model_control="explicit", load_models=["*"]
    ) as client:
        client.wait_ready()
        controlled = Controlled(client, tmp_path)
        with ThreadPoolExecutor() as threads:
            running = threads.submit(controlled.infer, "slow")
            waiting.until(lambda: client.metric("wasm_service_active_requests") > 0, lambda: "not running")
            time.sleep(0.2)
            assert controlled.unload("slow") == (200, "") and controlled.states()["slow"] == ("UNLOADING", None)
            assert running.result() == 6
        waiting.until(lambda: controlled.states()["slow"] == ("UNAVAILABLE", "unloaded"), controlled.states)


def test_a_storm_of_loads_and_unloads_is_bounded(controlled: Controlled) -> None:
    before = threading.active_count()
    most = 0

    def change(index: int) -> set[int]:
        nonlocal most
        statuses = set()
        for turn in range(10):
            if index == 0:
                controlled.write("times", times(turn + 1))
            action = ("load", "unload")[(index + turn) % 2]
            statuses.add(controlled.control(action, ("times", "chain", "step", "other")[turn % 4])[0])
            most = max(most, threading.active_count())
        return statuses

    with ThreadPoolExecutor(24) as threads:
        statuses = set().union(*threads.map(change, range(24)))
    assert statuses <= {200, 503} and most - before < 24 + 40
    assert all(controlled.load(name) == (200, "") for name in ("times", "chain", "other"))
    assert controlled.infer("chain", 1) == 8 and controlled.ready()
    waiting.until(lambda: threading.active_count() < before + 20, threading.active_count)


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


def test_the_sequences_of_an_unloaded_model_end_and_new_ones_run_the_file_that_was_loaded(tmp_path: Path) -> None:
    (tmp_path / "sums.wasm").write_bytes(sum_module())
    model = {"name": "sums", "file": "sums.wasm", "isolation": "instance", "sequence_batching": sequences()}
    settings = {"model_control": "explicit", "load_models": ["sums"]}
    with serving(tmp_path, [{**model, "max_sequences": 8}], **settings) as client:
        client.wait_ready()
        controlled = Controlled(client, tmp_path)

        def send(sequence: int, value: float, *, start: bool = False) -> Any:
            document = json.loads(request(value)) | {"parameters": {"sequence_id": sequence, "sequence_start": start}}
            status, answer = client.send("/v2/models/sums/infer", json.dumps(document).encode())
            return answer["outputs"][0]["data"][0] if status == 200 else (status, answer["error"])

        assert send(1, 2, start=True) == 2 and send(1, 3) == 5
        controlled.write("sums", b"garbage")
        assert send(2, 7, start=True) == 7
        assert controlled.load("sums")[0] == 400 and send(1, 1) == 6
        controlled.write("sums", sum_module() + b"\0\2\1x")
        assert controlled.load("sums") == (200, "")
        status, text = send(1, 1)
        assert status == 400 and "START flag" in text
        assert send(1, 4, start=True) == 4 and controlled.unload("sums") == controlled.load("sums") == (200, "")
        assert send(1, 1)[0] == 400 and send(1, 5, start=True) == 5


def test_an_unloaded_model_is_freed(controlled: Controlled, monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[weakref.ref[ModuleModel]] = []
    create = ModuleModel.__init__

    def remember(self: ModuleModel, *args: Any, **options: Any) -> None:
        created.append(weakref.ref(self))
        create(self, *args, **options)

    monkeypatch.setattr(ModuleModel, "__init__", remember)
    for _ in range(3):
        assert controlled.load("other") == (200, "") and controlled.infer("other") == 6
        controlled.write("other", times(2))
        assert controlled.load("other") == controlled.unload("other") == (200, "")

    def alive() -> int:
        gc.collect()
        return sum(reference() is not None for reference in created)

    assert len(created) == 6
    waiting.until(lambda: alive() == 0, alive)


def test_a_slow_load_delays_neither_other_models_nor_requests(tmp_path: Path) -> None:
    modules = write_modules(tmp_path, slow=SPIN, quick=SPIN)
    (tmp_path / "quick.wasm").write_bytes(times(2))
    modules[0]["limits"] = {"timeout_s": 2}
    with serving(tmp_path, modules, model_control="explicit") as client, ThreadPoolExecutor() as threads:
        controlled = Controlled(client, tmp_path)
        slow = threads.submit(controlled.load, "slow")
        waiting.until(lambda: controlled.states()["slow"] == ("LOADING", None), controlled.states)
        assert not controlled.ready() and controlled.infer("slow")[0] == 503
        second = threads.submit(controlled.unload, "slow")
        assert controlled.load("quick") == (200, "") and controlled.infer("quick") == 6
        assert controlled.unload("quick") == (200, "") and not slow.done() and not second.done()
        status, text = slow.result()
        assert status == 400 and "UNAVAILABLE" in text and second.result() == (200, "") and controlled.ready()
