"""What a model costs the server: CPU time of a request, and memory and load time of one model among many."""

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
    """CPU time of server and stubs for a request of 4 KiB, each side in its better configuration."""
    with serving(repository.pair("identity"), rounds, seconds) as bench:
        found: dict[str, list[float]] = {name: [] for name in names("identity")}
        for _ in range(rounds):
            for name, costs in found.items():
                costs.append(cpu_of_a_request(bench, name))
    ours = better(found["identity"], found["identity_batched"], at_most=True)
    theirs = better(found["identity_python"], found["identity_python_batched"], at_most=True)
    about = "Triton identity 4 KiB, concurrency 4, CPU time of the server for a request: wasm / model.py"
    return [compare("triton-cpu", about, list(zip(ours, theirs, strict=True)), unit="s", target=0.65)]


def cpu_of_a_request(bench: Bench, model: str) -> float:
    """Seconds of CPU time that server and stubs spend for a request of 4 KiB."""
    with triton.InferenceServerClient(bench.server.grpc_url) as client:
        before, requests = _cpu_s(bench.server.pid), _answered(client, model)
        perf.measure([*bench.argv], bench.server.grpc_url, model, perf.rows(KIB, 1, 4), bench.seconds)
        return (_cpu_s(bench.server.pid) - before) / (_answered(client, model) - requests)


def _answered(client: triton.InferenceServerClient, model: str) -> int:
    """Requests that `model` has answered."""
    count: int = client.get_inference_statistics(model).model_stats[0].inference_stats.success.count
    return count


def _session(pid: int) -> list[Path]:
    """The folders in /proc of the processes in the session of `pid`: a server and its stubs."""
    found, session = [], os.getsid(pid)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == session:
                found.append(folder)
        except ProcessLookupError:
            continue
    return found


def _cpu_s(pid: int) -> float:
    """User and system seconds of a server and its stubs so far."""
    ticks = 0
    for folder in _session(pid):
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def models(rounds: int, seconds: float) -> list[Result]:
    """Models that are loaded one after the other into one server, each of which answers: copies of one module under
    names of their own, which share nothing but the cache of compiled code."""
    del rounds, seconds  # 500 loads are enough of them
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
    """Bytes of the server's memory that are its own and present."""
    lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024
