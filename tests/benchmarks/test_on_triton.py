"""Benchmarks on Triton: both models of each pair are configured alike and compute the same."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cost, on_triton, perf, repository  # noqa: TID251
from benchmarks.on_triton import Bench  # noqa: TID251
from portalis.tritonserver import TritonServer
from tests import parts

PAIRS = ("identity", "softmax", "image_preprocess", "wordpiece")


@pytest.mark.parametrize("name", PAIRS)
def test_both_sides_of_a_pair_are_configured_alike(name: str, tmp_path: Path) -> None:
    models = repository.pair(name)
    repository.write(tmp_path, models)
    assert [model.name for model in models] == on_triton.names(name, batched=name != "wordpiece")
    for ours, theirs in zip(models[::2], models[1::2], strict=True):
        other = theirs.config.replace('backend: "python"', 'backend: "wasm"')
        assert ours.config == other + 'parameters { key: "wasm.engine" value { string_value: "native" } }\n'
        assert (tmp_path / ours.name / "1" / "model.wasm").read_bytes()[:4] == b"\0asm"
        ast.parse((tmp_path / theirs.name / "1" / "model.py").read_text())
        assert ("dynamic_batching" in ours.config) == ours.name.endswith("_batched")


class Fake(Bench):
    """Throughputs from a table."""

    def throughput(self, models: object, load: object) -> dict[str, list[float]]:
        assert models == ["p", "p_python", "p_batched", "p_python_batched"]
        return {"p": [10.0, 30.0], "p_batched": [12.0, 14.0], "p_python": [1.0, 1.0], "p_python_batched": [4.0, 2.0]}


@pytest.mark.parametrize(("batched", "count"), [(None, 1), (9.0, 2)])
def test_the_better_configuration_of_each_side_counts(batched: float | None, count: int) -> None:
    bench = Fake(None, (), 2, 1.0)  # type: ignore[arg-type]  # no server is used
    found = on_triton.against_python(bench, "p", perf.rows(1, 1, 4), 3, "name", "about", batched)
    assert len(found) == count
    best = found[0]
    assert (best.name, best.ours, best.theirs, best.spread) == ("name-c4", 20.0, 3.0, (2.5, 15.0))
    if batched is not None:
        assert (found[1].name, found[1].spread, found[1].target) == ("name-c4-batched", (3.0, 7.0), 9.0)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, wasm_backends: Path) -> Bench:
    argv = parts.perf_analyzer()
    folder = tmp_path_factory.mktemp("models")
    repository.write(folder, [model for name in PAIRS for model in repository.pair(name)[:2]])
    server = TritonServer(folder, backend_directory=wasm_backends)
    return Bench(server, argv, 1, 0.2)


@pytest.mark.triton
@pytest.mark.slow
@pytest.mark.alone("perf_analyzer gives its shared memory fixed names, and measures until the figures are stable")
def test_both_models_of_a_pair_agree_and_are_measured_on_a_real_server(bench: Bench) -> None:
    with bench.server as server:
        on_triton.check_softmax(bench)
        on_triton.check_preprocessing(bench)
        with pytest.raises(AssertionError, match="softmax: y"):
            on_triton.same(bench, "softmax", {"x": np.arange(4, dtype=np.float32)[None]}, -1)
        for name in ("identity", "identity_python"):
            assert cost.cpu_per_request(bench, name) > 0
        with pytest.raises(RuntimeError, match="perf_analyzer failed on none: .*unknown model"):
            perf.measure([*bench.argv], server.grpc_url, "none", perf.rows(1024, 1, 1), 0.2)
