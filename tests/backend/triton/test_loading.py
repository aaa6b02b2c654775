"""Triton's messages for models that cannot be loaded, and leftovers after models are loaded and unloaded."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from portalis.tritonserver import TritonServer
from tests.backend import guests
from tests.backend.triton import models
from tests.backend.triton.conftest import Server
from tests.backend.triton.reloading import stubs
from tests.running.memory import resident_bytes
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.triton
F32 = np.float32


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, wasm_backends: Path) -> tuple[str, bool]:
    """The log of a server that was given every bad model and a good one for each engine, and whether these served."""
    repository = tmp_path_factory.mktemp("broken")
    for engine in models.ENGINES:
        for name, (module, config, _) in models.BAD.items():
            models.write_for(repository, engine, name, module, config)
        models.write_for(repository, engine, "good", guests.wasm(guests.ADD))
        models.write_for(repository, engine, "misnamed", guests.wasm(guests.ADD))
        folder = repository / f"{engine}_misnamed" / "1"
        (folder / "model.wasm").rename(folder / "softmax.wasm")
    with TritonServer(
        repository, backend_directory=wasm_backends, require_all=False, start_timeout_s=PATIENCE_S
    ) as triton:
        servers, one = [Server(triton, engine) for engine in models.ENGINES], np.ones((1, 1), F32)
        served = all(server.infer("good", a=one, b=one)["y"].tolist() == [[2]] for server in servers)
        return triton.log(), served


def test_the_good_model_serves_beside_the_bad_ones(broken: tuple[str, bool]) -> None:
    assert broken[1]


@pytest.mark.parametrize("engine", models.ENGINES)
@pytest.mark.parametrize("name", models.BAD)
def test_a_model_that_cannot_load_says_why_and_where(name: str, engine: str, broken: tuple[str, bool]) -> None:
    message = models.BAD[name][2]
    lines = [line for line in broken[0].splitlines() if message in line and f"{engine}_{name}" in line]
    assert lines, f"nothing in the log about {name} says {message!r}"
    assert "Traceback" not in broken[0]


@pytest.mark.parametrize("engine", models.ENGINES)
def test_a_module_under_another_name_is_pointed_out(engine: str, broken: tuple[str, bool]) -> None:
    assert re.search(
        rf"{engine}_misnamed.*model\.wasm is missing; the directory has softmax\.wasm"
        r" \(rename it, or set default_model_filename\)",
        broken[0],
    )


@pytest.mark.parametrize("engine", models.ENGINES)
def test_models_come_and_go_without_a_trace(tmp_path: Path, wasm_backends: Path, engine: str) -> None:
    config = models.BARE + models.engine(engine)
    models.write(tmp_path, "add", guests.wasm(guests.ADD), config)
    models.write(tmp_path, "other", guests.echo(batch=8), config + 'default_model_filename: "echo.wasm"')
    (tmp_path / "other" / "1" / "model.wasm").rename(tmp_path / "other" / "1" / "echo.wasm")
    with TritonServer(tmp_path, backend_directory=wasm_backends, model_control="explicit") as triton:
        server = Server(triton)
        one = np.ones((1, 1), F32)
        for _ in range(4):
            server.client.load_model("add")
            server.client.load_model("other")
            assert server.infer("add", a=one, b=one)["y"].tolist() == [[2]]
            assert server.infer("other", x=one)["y"].tolist() == [[1]]
            server.client.unload_model("add")
            server.client.unload_model("other")
            server.eventually(lambda: not stubs(triton.pid))
            server.eventually(lambda: not triton.shared_memory())


def test_two_versions_of_a_model_serve_side_by_side(shared_triton: TritonServer) -> None:
    (repository,) = shared_triton.repositories
    models.write(repository, "two_versions", guests.wasm(guests.ADD), models.BARE + "version_policy { all {} }")
    doubled = guests.ADD.replace("(f32.add (local.get $a) (local.get $b))", "(f32.mul (local.get $a) (local.get $b))")
    models.write(repository, "two_versions", guests.wasm(doubled), None, version=2)
    server, three = Server(shared_triton), np.full((1, 1), 3, F32)
    server.client.load_model("two_versions")
    assert server.request("two_versions", {"a": three, "b": three}, model_version="1")["y"].tolist() == [[6]]
    assert server.request("two_versions", {"a": three, "b": three}, model_version="2")["y"].tolist() == [[9]]


@pytest.mark.gpu
def test_a_gpu_instance_group_serves_and_says_where_it_runs(tmp_path: Path, wasm_backends: Path) -> None:
    from tests import parts

    parts.gpu()
    for engine in models.ENGINES:
        config = models.BARE + "instance_group { kind: KIND_GPU }"
        models.write_for(tmp_path, engine, "add", guests.wasm(guests.ADD), config)
    with TritonServer(tmp_path, backend_directory=wasm_backends) as triton:
        one = np.ones((1, 1), F32)
        for engine in models.ENGINES:
            assert Server(triton, engine).infer("add", a=one, b=one)["y"].tolist() == [[2]]
            assert f"wasm model {engine}_add version 1: WebAssembly runs on the CPU" in triton.log()


@pytest.mark.slow
@pytest.mark.parametrize("engine", models.ENGINES)
def test_ten_thousand_mixed_requests_leave_memory_and_processes_flat(
    tmp_path: Path, wasm_backends: Path, engine: str
) -> None:
    models.write_for(tmp_path, engine, "moody", guests.when_asked("unreachable"))
    models.write_for(tmp_path, engine, "loud", models.talkative(1))
    models.write_for(tmp_path, engine, "add", guests.wasm(guests.ADD))
    with TritonServer(tmp_path, backend_directory=wasm_backends) as triton:
        server = Server(triton, engine)
        good, bad, wrong = np.zeros((1, 1), F32), np.ones((1, 1), F32), np.ones((1, 1, 1), F32)

        def run(count: int) -> int:
            from tritonclient.utils import InferenceServerException

            failed = 0
            for i in range(count):
                try:
                    match i % 5:
                        case 0:
                            server.infer("moody", x=good)
                        case 1:
                            server.infer("moody", x=bad)
                        case 2:
                            server.infer("add", a=good, b=bad)
                        case 3:
                            server.infer("loud", x=good)
                        case _:
                            server.infer("moody", x=wrong)
                except InferenceServerException:
                    failed += 1
            return failed

        run(1500)
        time.sleep(2)
        pids = set(stubs(triton.pid))
        before = resident_bytes(*{triton.pid, *pids})
        assert run(10_000) == 4000
        time.sleep(2)
        assert set(stubs(triton.pid)) == pids
        after = resident_bytes(*{triton.pid, *pids})
        print(f"{engine}: {before / (1 << 20):.1f} MiB before 10,000 mixed requests, {after / (1 << 20):.1f} after")
        assert after - before < 30 << 20
