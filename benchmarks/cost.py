"""Costs of a model on the server: CPU time of a request, and memory and load time of one model among many."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

from portalis.triton_client import RemoteModel, load_model
from portalis.tritonserver import TritonServer

from . import perf, repository
from .harness import Result, better, compare
from .on_triton import KIB, Bench, names, serving

MANY, FIRST = 500, 50
MODEL_BYTES, LOAD_S = 1.5 * (1 << 20), 0.05


def cpu(rounds: int, seconds: float) -> list[Result]:
    """CPU time of the server and its stubs for a request of 4 KiB; the better configuration of each side counts."""
    with serving(repository.pair("identity"), rounds, seconds) as bench:
        seconds_by_model: dict[str, list[float]] = {name: [] for name in names("identity")}
        for _ in range(rounds):
            for name, costs in seconds_by_model.items():
                costs.append(cpu_per_request(bench, name))
    ours = better(seconds_by_model["identity"], seconds_by_model["identity_batched"], at_most=True)
    theirs = better(seconds_by_model["identity_python"], seconds_by_model["identity_python_batched"], at_most=True)
    about = "Triton identity 4 KiB, concurrency 4, CPU time of the server for a request: wasm / model.py"
    return [compare("triton-cpu", about, list(zip(ours, theirs, strict=True)), unit="s", target=0.65)]


def cpu_per_request(bench: Bench, model: str) -> float:
    """CPU seconds that the server and its stubs use for one request of 4 KiB."""
    with triton.InferenceServerClient(bench.server.grpc_url) as client:
        before, requests = _cpu_s(bench.server.pid), _successful_requests(client, model)
        perf.measure([*bench.argv], bench.server.grpc_url, model, perf.rows(KIB, 1, 4), bench.seconds)
        return (_cpu_s(bench.server.pid) - before) / (_successful_requests(client, model) - requests)


def _successful_requests(client: triton.InferenceServerClient, model: str) -> int:
    """Number of successful requests to `model` so far."""
    count: int = client.get_inference_statistics(model).model_stats[0].inference_stats.success.count
    return count


def _proc_directories(pid: int) -> list[Path]:
    """The directories in /proc of all processes in the session of `pid`: a server and its stubs."""
    directories, session = [], os.getsid(pid)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == session:
                directories.append(folder)
        except ProcessLookupError:
            continue
    return directories


def _cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of a server and its stubs so far."""
    ticks = 0
    for folder in _proc_directories(pid):
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def models(rounds: int, seconds: float) -> list[Result]:
    """Memory and load time of models that are loaded sequentially into one server; each must serve a request.

    The models are copies of one module under different names. They share only the cache of compiled code.
    """
    del rounds, seconds  # 500 loads are enough samples
    memory, loads = [], []
    x = np.random.default_rng(0).random((1, KIB), np.float32)
    with tempfile.TemporaryDirectory(prefix="portalis-bench-") as folder:
        module = repository.identity()
        for i in range(MANY):
            repository.wasm(f"m{i}", module, repository.ROWS).write(Path(folder))
        with TritonServer(folder, model_control="explicit") as server:
            for i in range(MANY):
                began = time.perf_counter()
                load_model(server.grpc_url, f"m{i}", timeout_s=60)
                loads.append(time.perf_counter() - began)
                with RemoteModel(server.grpc_url, f"m{i}", timeout_s=60) as model:
                    np.testing.assert_array_equal(model.infer({"x": x}).outputs["y"], x)
                memory.append(_resident(server.pid))
    each = (memory[FIRST - 1] - memory[0]) / (FIRST - 1)
    late = statistics.median(loads[FIRST - 5 : FIRST + 5])
    last = statistics.median(loads[-10:])
    return [
        compare(
            "triton-model-memory",
            f"Triton, memory of the server for a model, from the 1st to the {FIRST}th / 1.5 MiB",
            [(each, MODEL_BYTES)],
            unit="bytes",
            target=1,
        ),
        compare(
            "triton-model-load", f"Triton, loading the {FIRST}th model / 50 ms", [(late, LOAD_S)], unit="s", target=1
        ),
        compare("triton-models", f"Triton, loading the {MANY}th model / 50 ms", [(last, LOAD_S)], unit="s", target=1),
    ]


def _resident(pid: int) -> int:
    """Bytes of the server's private resident memory."""
    lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024
