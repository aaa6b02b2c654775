"""Benchmarks of the service: against a hand-written FastAPI application, binary tensors against JSON, startup."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tritonclient.http as triton

from portalis.examples.catalog import EXAMPLES
from tests.running.ports import free_port

from .harness import Result, compare
from .load import request_bytes, throughput

FASTAPI_APP = Path(__file__).parent / "models/softmax_fastapi.py"
PATH = "/v1/models/softmax/infer"
KIB, MIB = 1 << 10, 1 << 20
READY_S = 2.0


def service(rounds: int) -> list[Result]:
    """Throughput at 4 KiB by concurrency, binary against JSON at 1 MiB, and startup time with a warm cache."""
    seconds = 0.5 if rounds < 5 else 1.0
    results = []
    with tempfile.TemporaryDirectory(prefix="portalis-bench-") as folder, contextlib.ExitStack() as stack:
        ours, theirs = stack.enter_context(_service(Path(folder))), stack.enter_context(_fastapi())
        small = _json(4 * KIB)
        _check_equal(ours, theirs)
        for concurrency in (1, 4, 16):
            pairs = [
                (
                    throughput(ours, small, concurrency=concurrency, seconds=seconds),
                    throughput(theirs, small, concurrency=concurrency, seconds=seconds),
                )
                for _ in range(rounds)
            ]
            about = f"service, softmax of 4 KiB as JSON, {concurrency} at a time / FastAPI and NumPy by hand"
            results.append(compare(f"service-json-{concurrency}", about, pairs, unit="/s", target=0.9, at_most=False))
        large, binary = _json(MIB), _binary(MIB)
        pairs = [
            (
                throughput(ours, binary, concurrency=4, seconds=seconds),
                throughput(ours, large, concurrency=4, seconds=seconds),
            )
            for _ in range(rounds)
        ]
        about = "service, softmax of 1 MiB, 4 at a time: binary tensors / JSON"
        results.append(compare("service-binary", about, pairs, unit="/s", target=3, at_most=False))
        starts = [(_start(Path(folder)), READY_S) for _ in range(rounds)]
    about = "service, from its start to ready with a warm cache / 2 s"
    return [*results, compare("service-start", about, starts, unit="s", target=1)]


def _x(size: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, size // 4), np.float32)


def _tensors(size: int) -> bytes:
    x = _x(size)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    return json.dumps({"inputs": [tensor]}).encode()


def _json(size: int) -> bytes:
    return request_bytes(PATH, _tensors(size), {})


def _binary(size: int) -> bytes:
    x = _x(size)
    tensor = triton.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    outputs = [triton.InferRequestedOutput("y", binary_data=True)]
    body, length = triton.InferenceServerClient.generate_request_body([tensor], outputs=outputs)
    headers = {"inference-header-content-length": length, "content-type": "application/octet-stream"}
    return request_bytes("/v2/models/softmax/infer", body, headers)


def _check_equal(ours: int, theirs: int) -> None:
    """Check, before the measurement, that both sides return the same output."""
    results = []
    for port in (ours, theirs):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{PATH}", _tensors(4 * KIB), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            results.append(json.load(response)["outputs"][0]["data"])
    np.testing.assert_allclose(results[0], results[1], rtol=2e-5)


def _start(folder: Path) -> float:
    start = time.perf_counter()
    with _service(folder):
        return time.perf_counter() - start


@contextlib.contextmanager
def _service(folder: Path) -> Iterator[int]:
    """Run the service; yields its HTTP port once it is ready."""
    port, grpc, metrics = free_port(), free_port(), free_port()
    ports = {"service_port": port, "grpc_port": grpc, "metrics_port": metrics}
    module = EXAMPLES["softmax"].module
    (folder / module.name).write_bytes(module.read_bytes())
    settings = folder / "service.json"
    settings.write_text(json.dumps({"models": [{"name": "softmax", "file": module.name}], **ports}))
    command = [sys.executable, "-m", "portalis.nim.service", str(settings), "--log-level", "warning"]
    with _running(command, f"http://127.0.0.1:{port}/v1/health/ready"):
        yield port


@contextlib.contextmanager
def _fastapi() -> Iterator[int]:
    port = free_port()
    with _running([sys.executable, str(FASTAPI_APP), str(port)], f"http://127.0.0.1:{port}/openapi.json"):
        yield port


@contextlib.contextmanager
def _running(command: list[str], url: str) -> Iterator[None]:
    """Run `command`; yields once `url` responds with 200, and ends the process afterwards."""
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(url, timeout=5).close()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command} does not respond at {url}")
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)
