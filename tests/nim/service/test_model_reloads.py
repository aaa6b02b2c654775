"""Requests, sequences and regions of shared memory while models are loaded again and unloaded."""

from __future__ import annotations

import contextlib
import gc
import http.client
import json
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tritonclient.utils import InferenceServerException

from portalis.nim.service.module_model import ModuleModel
from tests.backend import guests
from tests.backend.guests import tensor as declared
from tests.running import waiting

from .controlled import TIMES, Controlled, controlled_service, request, times
from .process import SPIN, write_modules
from .scheduling.stateful import sequences, sum_module
from .serving import serving
from .shared_memory.shared_objects import shared_object

pytestmark = pytest.mark.service
COUNT_DOWN = """(local $n i64)
  (local.set $n (i64.trunc_f32_s (f32.mul (f32.const 4e8) (f32.load (i32.load (local.get $in))))))
  (block $end (loop $next
    (br_if $end (i64.eqz (local.get $n)))
    (local.set $n (i64.sub (local.get $n) (i64.const 1)))
    (br $next)))"""


@pytest.fixture
def controlled(tmp_path: Path) -> Iterator[Controlled]:
    with controlled_service(tmp_path) as controlled:
        yield controlled


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
            waiting.until(
                lambda: client.metric('wasm_service_batch_requests_count{model="slow"}') == 1, lambda: "waits"
            )
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


def test_regions_stay_registered_and_requests_with_large_tensors_in_them_succeed_during_loads(tmp_path: Path) -> None:
    values = np.arange(1 << 19, dtype=np.float32)  # 2 MiB: read from the region while the guest runs
    (tmp_path / "echo.wasm").write_bytes(guests.echo())
    models = [{"name": "echo", "file": "echo.wasm"}]
    with (
        serving(tmp_path, models, model_control="explicit", load_models=["*"]) as client,
        shared_object(2 * values.nbytes) as region,
    ):
        client.wait_ready()
        region.write(values.tobytes())
        controlled, stop, failures, count = Controlled(client, tmp_path), threading.Event(), list[str](), 0

        def send() -> None:
            nonlocal count
            with http_client.InferenceServerClient(f"127.0.0.1:{client.port}") as connection:
                connection.register_system_shared_memory("region", region.key, 2 * values.nbytes)
                tensors = [http_client.InferInput("x", [len(values)], "FP32")]
                tensors[0].set_shared_memory("region", values.nbytes)
                outputs = [http_client.InferRequestedOutput("y")]
                outputs[0].set_shared_memory("region", values.nbytes, values.nbytes)
                while not stop.is_set():
                    try:
                        connection.infer("echo", tensors, outputs=outputs)
                        count += 1
                    except InferenceServerException as error:
                        failures.append(str(error))

        thread = threading.Thread(target=send)
        thread.start()
        try:
            for number in range(8):
                controlled.write("echo", guests.echo() + b"\0\2\1" + bytes([97 + number]))
                assert controlled.load("echo") == (200, "")
        finally:
            stop.set()
            thread.join()
        assert failures == [] and count > 0 and region.read() == 2 * values.tobytes()
        assert controlled.unload("echo") == (200, "")
        assert len(client.get("/v2/systemsharedmemory/status")[1]) == 1


@contextlib.contextmanager
def before_its_body(port: int, path: str) -> Iterator[Callable[[], tuple[int, Any]]]:
    """A request that has found its model, and whose body is not sent yet; yields a function that sends it and returns
    the response."""
    body = request()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), waiting.PATIENCE_S) as connection:
        connection.sendall(head.encode())
        # it is sent when the body is read
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"

        def complete() -> tuple[int, Any]:
            connection.sendall(body)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status, json.loads(response.read())

        yield complete


def wait_closed() -> None:
    def closers() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "model closer"]

    waiting.until(lambda: not closers(), closers)


def test_a_request_that_arrives_after_its_model_was_closed_runs_in_the_new_one(controlled: Controlled) -> None:
    client = controlled.client
    assert controlled.load("chain") == (200, "")
    with (
        before_its_body(client.port, "/v2/models/step/infer") as first,
        before_its_body(client.port, "/v2/models/chain/infer") as second,
        before_its_body(client.port, "/v2/models/step/infer") as third,
    ):
        for factor in (5, 7):
            controlled.write("step", times(factor))
            assert controlled.load("step") == (200, "")
        wait_closed()
        assert [each()[1]["outputs"][0]["data"] for each in (first, second)] == [[21], [3 * 7 * 2 * 7]]
        assert controlled.unload("step") == (200, "")
        wait_closed()
        status, document = third()
        assert status == 503 and "'step' version 1 is not at ready state; it was unloaded" in document["error"]


def test_a_request_for_another_interface_is_asked_to_retry(controlled: Controlled) -> None:
    with before_its_body(controlled.client.port, "/v2/models/times/infer") as complete:
        controlled.write("times", guests.echo())
        assert controlled.load("times") == (200, "")
        wait_closed()
        status, document = complete()
        assert status == 503 and "replaced by one with another interface; retry" in document["error"]
    assert controlled.infer("times") == 3
