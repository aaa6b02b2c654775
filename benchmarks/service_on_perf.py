"""Benchmarks of the service with perf_analyzer: against a real Triton, against a hand-written FastAPI service,
and two worker processes against one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from portalis.examples.catalog import EXAMPLES
from portalis.tritonserver import TritonServer

from . import perf, processes, repository
from .harness import Result
from .on_triton import CONCURRENCIES, KIB
from .perf import Load, Transport
from .side_by_side import Endpoint, Measurement, Pair, write_data

GRPC, HTTP = Transport("grpc", shared_memory=False), Transport("http", shared_memory=False)
JSON = Transport("http", shared_memory=False, tensor_format="json")
GRPC_TARGET, HTTP_TARGET, SHARED_MEMORY_TARGET, FASTAPI_TARGET = 0.5, 0.8, 0.7, 2.0
WORKERS, WORKERS_TARGET = 2, 1.5


def grpc(rounds: int, seconds: float) -> list[Result]:
    """4 KiB over gRPC, against Triton."""
    return _against_triton("identity 4 KiB over gRPC", KIB, GRPC, GRPC_TARGET, rounds, seconds)


def http(rounds: int, seconds: float) -> list[Result]:
    """4 KiB as binary tensors over HTTP, against Triton."""
    return _against_triton("identity 4 KiB, binary over HTTP", KIB, HTTP, HTTP_TARGET, rounds, seconds)


def shared_memory_grpc(rounds: int, seconds: float) -> list[Result]:
    """1 MiB in system shared memory over gRPC, against Triton."""
    about = "identity 1 MiB in shared memory over gRPC"
    return _against_triton(about, 256 * KIB, Transport("grpc"), SHARED_MEMORY_TARGET, rounds, seconds)


def shared_memory_http(rounds: int, seconds: float) -> list[Result]:
    """1 MiB in system shared memory over HTTP, against Triton."""
    about = "identity 1 MiB in shared memory over HTTP"
    return _against_triton(about, 256 * KIB, Transport("http"), SHARED_MEMORY_TARGET, rounds, seconds)


def _against_triton(
    about: str, width: int, transport: Transport, target: float, rounds: int, seconds: float
) -> list[Result]:
    """Requests of one row of `width` elements at each concurrency."""
    by = Measurement(perf.perf_analyzer(), rounds, seconds)
    name = f"service-triton-{'shm-' if transport.shared_memory else ''}{transport.protocol}"
    about = f"service / Triton, {about}"
    with service_and_triton(transport) as pair:
        pair.check_equal(np.random.default_rng(1).random((1, width), np.float32))
        return [pair.compare(name, about, perf.rows(width, 1, c), target, by) for c in CONCURRENCIES]


@contextlib.contextmanager
def service_and_triton(transport: Transport) -> Iterator[Pair]:
    """The service and a Triton, both with the identity module; Triton runs it on the native engine."""
    module = repository.identity()
    with tempfile.TemporaryDirectory(prefix="portalis-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        repository.write(folder / "models", [repository.wasm("identity", module, repository.ROWS)])
        triton = stack.enter_context(TritonServer(folder / "models"))
        ports = stack.enter_context(processes.service(folder, "identity", module, repository.ROWS.section()))
        ours = Endpoint(ports.url(transport.protocol), "identity")
        theirs = Endpoint(triton.http_url if transport.protocol == "http" else triton.grpc_url, "identity")
        yield Pair(ours, theirs, transport)


def fastapi(rounds: int, seconds: float) -> list[Result]:
    """Softmax of 4 KiB over HTTP, binary and as JSON, against FastAPI and NumPy by hand."""
    by = Measurement(perf.perf_analyzer(), rounds, seconds)
    x = np.random.default_rng(0).standard_normal((1, KIB), np.float32)
    module = EXAMPLES["softmax"].module.read_bytes()
    results = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portalis-bench-")))
        data = write_data(folder, x)
        ports = stack.enter_context(processes.service(folder, "softmax", module))
        port = stack.enter_context(processes.fastapi())
        for transport, model in ((HTTP, "softmax_binary"), (JSON, "softmax")):
            pair = Pair(Endpoint(ports.url("http"), "softmax"), Endpoint(f"127.0.0.1:{port}", model), transport)
            pair.check_equal(x)
            about = f"service / FastAPI and NumPy by hand, softmax 4 KiB, {transport.tensor_format} over HTTP"
            name = f"service-fastapi-{transport.tensor_format}"
            for concurrency in CONCURRENCIES:
                load = Load(f"x:{KIB}", 1, concurrency, x.nbytes, data)
                results.append(pair.compare(name, about, load, FASTAPI_TARGET, by))
    return results


def workers(rounds: int, seconds: float) -> list[Result]:
    """Two worker processes against one: 4 KiB over gRPC and as binary tensors over HTTP, 16 requests at a time."""
    servers, clients, where = split_cpus(sorted(os.sched_getaffinity(0)))
    by = Measurement([*pinned(clients), *perf.perf_analyzer()], rounds, seconds)
    module, interface = repository.identity(), repository.ROWS.section()
    results = []
    with contextlib.ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portalis-bench-"))) for _ in range(2)]
        both = []
        for folder, number in zip(folders, (WORKERS, 1), strict=True):
            service = processes.service(
                folder, "identity", module, interface, prefix=pinned(servers), worker_processes=number
            )
            both.append(stack.enter_context(service))
        for transport, way in ((GRPC, "gRPC"), (HTTP, "HTTP, binary")):
            several, one = (Endpoint(ports.url(transport.protocol), "identity") for ports in both)
            pair = Pair(several, one, transport)
            pair.check_equal(np.random.default_rng(1).random((1, KIB), np.float32))
            about = f"service, {WORKERS} workers / 1 worker, identity 4 KiB over {way}, {where}"
            name = f"service-workers-{transport.protocol}"
            results.append(pair.compare(name, about, perf.rows(KIB, 1, 16), WORKERS_TARGET, by))
    return results


def split_cpus(cpus: list[int]) -> tuple[list[int], list[int], str]:
    """The CPUs of both servers, those of the client, and where that is, in words. The client gets CPUs of its own if
    there are more than the workers need; otherwise nothing is pinned."""
    servers, clients = cpus[:WORKERS], cpus[WORKERS:]
    if not clients:
        return [], [], f"client not pinned: it shares {len(cpus)} CPUs with the workers"
    return servers, clients, f"client pinned to {len(clients)} CPUs of its own"


def pinned(cpus: list[int]) -> list[str]:
    """The argv prefix that runs a command on `cpus` only; none for all CPUs."""
    return ["taskset", "--cpu-list", ",".join(map(str, cpus))] if cpus else []
