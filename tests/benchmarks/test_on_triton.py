"""The benchmarks on Triton, and the guests that they measure."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wasmtime

from benchmarks import plugins  # noqa: TID251
from benchmarks.on_triton import Figures, Load, measure, parse, write_models  # noqa: TID251
from portalis.backend import Program
from portalis.examples.catalog import EXAMPLES
from portalis.tritonserver import TritonServer
from tests import parts

# as perf_analyzer writes it; and with the average, which --verbose-csv adds
REPORT = (
    "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,"
    "Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency\n"
    "1,9435.13,3,149,47,12,144,61,0,402,442,460,502\n"
)
VERBOSE = (
    "Concurrency,Inferences/Second,Client Send,p50 latency,p99 latency,Avg latency,request/response,response wait\n"
    "4,1000,3,402,502,411,2,409\n"
)
INTERFACE = {
    "inputs": [{"name": "x", "dtype": "FP32", "dims": [-1]}],
    "outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}],
    "max_batch_size": 64,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.mark.parametrize(
    ("report", "batch", "figures"),
    [
        (REPORT, 1, Figures(9435.13, 402)),
        (REPORT, 4, Figures(9435.13 / 4, 402)),  # inferences count rows, a request has `batch` of them
        (VERBOSE, 1, Figures(1000, 411)),
    ],
)
def test_requests_a_second_and_latency_are_read_from_the_report(report: str, batch: int, figures: Figures) -> None:
    assert parse(report, batch) == figures


@pytest.mark.parametrize(("report", "rows"), [("", 0), (REPORT.splitlines()[0], 0), (REPORT + "2,1,1,1\n", 2)])
def test_a_report_without_exactly_one_row_is_refused(report: str, rows: int) -> None:
    with pytest.raises(RuntimeError, match=f"report has {rows} rows where one was expected"):
        parse(report, 1)


def test_a_load_knows_the_bytes_of_a_request() -> None:
    assert Load(width=1024, batch=64, concurrency=4).size == 256 * 1024


def test_a_run_that_fails_says_what_the_program_said(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import sys; print('no such model'); sys.exit('and this')"]
    with pytest.raises(RuntimeError, match=r"perf_analyzer failed on identity: no such model\nand this"):
        measure(program, "localhost:1", "identity", Load(4, 1, 1), 0.1)
    silent = [sys.executable, "-c", "pass"]
    with pytest.raises(RuntimeError, match="perf_analyzer failed on identity"):
        measure(silent, "localhost:1", "identity", Load(4, 1, 1), 0.1)


def test_the_repository_has_a_model_for_each_side_of_each_pair(models: Path) -> None:
    files = {str(path.relative_to(models)) for path in models.rglob("*") if path.is_file()}
    wasm = {f"{name}/1/model.wasm" for name in ("identity", "identity_instance", "softmax")}
    python = {f"{name}/1/model.py" for name in ("identity_python", "softmax_numpy")}
    configs = {f"{name.split('/', maxsplit=1)[0]}/config.pbtxt" for name in wasm | python}
    assert files == wasm | python | configs
    for name in files:
        text = (models / name).read_bytes()
        if name in configs:
            backend = b"wasm" if f"{Path(name).parent}/1/model.wasm" in wasm else b"python"
            assert text.startswith(b'backend: "' + backend + b'"\n')
            assert (b'"wasm.isolation"' in text) == name.startswith("identity_instance")
    for name in python:
        ast.parse((models / name).read_text())


@pytest.mark.parametrize("isolation", ["batch", "instance", "request"])
@pytest.mark.parametrize("name", ["identity", "identity_instance"])
def test_the_identity_returns_its_input(models: Path, name: str, isolation: str) -> None:
    rng = np.random.default_rng(0)
    module = models / name / "1" / "model.wasm"
    with Program.load(module, interface=INTERFACE, isolation=isolation, cache=None) as program:
        for shape in ((1, 1024), (64, 1024), (1, 256 * 1024), (3, 1), (2, 0)):
            x = rng.random(shape, np.float32)
            np.testing.assert_array_equal(program.run({"x": x})["y"], x)


def test_the_identity_takes_more_requests_than_its_memory_could_hold_at_once(models: Path) -> None:
    module = models / "identity_instance" / "1" / "model.wasm"
    x = np.arange(1 << 20, dtype=np.float32).reshape(1, -1)  # 4 MiB of the 256 that a guest may have
    with Program.load(module, interface=INTERFACE, isolation="instance", cache=None) as program:
        for _ in range(150):
            y = program.run({"x": x})["y"]
    np.testing.assert_array_equal(y, x)


def test_the_softmax_model_computes_what_its_rival_computes(models: Path) -> None:
    x = np.random.default_rng(1).normal(size=(64, 1024)).astype(np.float32)
    with Program.load(models / "softmax" / "1" / "model.wasm", cache=None) as program:
        y = program.run({"x": x})["y"]
    e = np.exp(x - x.max(axis=-1, keepdims=True))  # as models/softmax_numpy.py
    np.testing.assert_allclose(y, e / e.sum(axis=-1, keepdims=True), rtol=2e-5)
    np.testing.assert_allclose(y, EXAMPLES["softmax"].reference({"x": x})["y"], rtol=2e-5)


@pytest.mark.parametrize(("a", "b"), [(1.5, 2.25), (-0.0, 0.0), (1e38, 1e38), (np.inf, -np.inf), (3e-45, 0)])
def test_the_plugin_adds_two_numbers(a: float, b: float) -> None:
    extism = parts.extism()
    plugin = extism.Plugin(bytes(wasmtime.wat2wasm(plugins.ADD)))
    pair = np.array([a, b], np.float32)
    with np.errstate(all="ignore"):
        wanted = pair[:1] + pair[1:]
    np.testing.assert_array_equal(np.frombuffer(plugin.call("add", pair.tobytes()), np.float32), wanted)


def test_the_plugin_echoes_whole_words() -> None:
    extism = parts.extism()
    plugin = extism.Plugin(bytes(wasmtime.wat2wasm(plugins.ECHO)))
    rng = np.random.default_rng(2)
    for size in (0, 8, 16, 4096, 1 << 20):
        data = rng.bytes(size)
        assert bytes(plugin.call("echo", data)) == data


@pytest.mark.parametrize("text", [plugins.ADD, plugins.ECHO])
def test_a_plugin_imports_nothing_but_the_kernel_of_extism(text: str) -> None:
    module = wasmtime.Module(wasmtime.Engine(), text)
    assert {wanted.module for wanted in module.imports} == {"extism:host/env"}


@pytest.mark.triton
@pytest.mark.slow
@pytest.mark.alone("perf_analyzer gives its shared memory fixed names, and measures until the figures are stable")
def test_the_models_are_measured_on_a_real_server(models: Path, wasm_backends: Path) -> None:
    argv = parts.perf_analyzer()
    with TritonServer(models, backend_directory=wasm_backends) as server:
        for name in ("identity", "identity_python", "softmax"):
            found = measure(argv, server.grpc_url, name, Load(1024, 4, 1), 0.2)
            assert found.throughput > 0
            assert found.latency_us > 0
        with pytest.raises(RuntimeError, match="perf_analyzer failed on none: .*unknown model"):
            measure(argv, server.grpc_url, "none", Load(1024, 1, 1), 0.2)


def test_without_perf_analyzer_the_other_results_are_kept(tmp_path: Path) -> None:
    """The part is hidden from a process of its own: no PATH, and no folder of parts."""
    program = """
import sys
from pathlib import Path
from tests import parts
parts.lookup.PARTS = Path("/nonexistent")
from benchmarks.__main__ import main  # noqa: TID251
sys.exit(main())
"""
    command = [sys.executable, "-c", program, "--only", "triton", "--json", str(tmp_path / "b.json")]
    for options, code in (([], 0), (["--strict"], 1)):
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, cwd=parts.ROOT, env={"PATH": "", "COLUMNS": "300"}
        )
        assert (done.returncode, done.stderr) == (code, "")
        assert "left out triton: a part is missing: perf_analyzer: `make parts`" in done.stdout
        assert '"left_out": [\n    "triton"\n  ]' in (tmp_path / "b.json").read_text()
