"""Benchmarks of the service by itself: binary tensors against JSON, and startup."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import tritonclient.http as triton

from portalis.examples.catalog import EXAMPLES

from . import processes
from .harness import Result, compare
from .load import request_bytes, throughput

PATH = "/v2/models/softmax/infer"
MIB = 1 << 20
READY_S = 2.0


def service(rounds: int) -> list[Result]:
    """Throughput of binary tensors against JSON at 1 MiB, and startup time with a warm cache."""
    seconds = 0.5 if rounds < 5 else 1.0
    module = EXAMPLES["softmax"].module.read_bytes()
    with tempfile.TemporaryDirectory(prefix="portalis-bench-") as folder:
        with processes.service(Path(folder), "softmax", module) as ports:
            text, binary = _json(MIB), _binary(MIB)
            pairs = [
                (
                    throughput(ports.http, binary, concurrency=4, seconds=seconds),
                    throughput(ports.http, text, concurrency=4, seconds=seconds),
                )
                for _ in range(rounds)
            ]
        starts = [(_start(Path(folder), module), READY_S) for _ in range(rounds)]
    about = "service, softmax of 1 MiB, 4 at a time: binary tensors / JSON"
    against_json = compare("service-binary", about, pairs, unit="/s", target=3, at_most=False)
    about = "service, from its start to ready with a warm cache / 2 s"
    return [against_json, compare("service-start", about, starts, unit="s", target=1)]


def _x(size: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, size // 4), np.float32)


def _json(size: int) -> bytes:
    x = _x(size)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    return request_bytes(PATH, json.dumps({"inputs": [tensor]}).encode(), {})


def _binary(size: int) -> bytes:
    x = _x(size)
    tensor = triton.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    outputs = [triton.InferRequestedOutput("y", binary_data=True)]
    body, length = triton.InferenceServerClient.generate_request_body([tensor], outputs=outputs)
    headers = {"inference-header-content-length": length, "content-type": "application/octet-stream"}
    return request_bytes(PATH, body, headers)


def _start(folder: Path, module: bytes) -> float:
    start = time.perf_counter()
    with processes.service(folder, "softmax", module):
        return time.perf_counter() - start
