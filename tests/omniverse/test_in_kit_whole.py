"""The whole extension in real Kit, from its zip: wheels, numbers, simulation, limits, reload, and what remains after it is disabled.

Kit's Python has neither NumPy nor Wasmtime here, so that the wheels in the extension are what runs.
"""

from __future__ import annotations

import json
import pickle
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wasmtime

from portalis.examples.catalog import EXAMPLES
from portalis.omniverse import kit, wheels
from tests import parts

from .conftest import EXAMPLES as FOLDER
from .conftest import Package
from .test_extension_registry import with_registry

ID = "portalis_ext.two_examples"
SCRIPT = Path(__file__).with_name("in_kit_whole.py")
SCENE = """#usda 1.0
def Xform "World"
{
    def Points "Points"
    {
        point3f[] points = [(0, 0, 0), (1, 2, 3)]
        vector3f[] velocities = [(1, 0, 0), (0, -2, 0)]
    }
}
"""
GUESTS = {
    "advance": """(module (func (export "advance") (param f32 f32 f32) (result f32)
        local.get 0 local.get 1 local.get 2 f32.mul f32.add))""",
    "trap": '(module (func (export "trap") (param f32) (result f32) unreachable))',
    "spin": '(module (func (export "spin") (param f32) (result f32) (loop (br 0)) f32.const 0))',
}
NAMES = {"advance": ["x", "v", "dt"], "trap": ["x"], "spin": ["x"]}


@dataclass
class Ran:
    """One start of Kit."""

    started: kit.KitRun
    results: dict[str, Any]
    outputs: dict[str, Any]
    base: Path


@pytest.fixture(scope="module")
def bare_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that contains only Kit."""
    folder = tmp_path_factory.mktemp("kit")
    python = parts.kit()
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (real,) = python.parents[1].glob("lib/python*/site-packages/omni")
    (site / "omni").symlink_to(real)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def ran(bare_kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Ran]]:
    """Two starts of Kit: the first installs the extension from its archive, the second finds it installed."""
    base = tmp_path_factory.mktemp("whole")
    usd = parts.kit_usd()
    try:
        wheels.get_wheels("3.12", None, print)
    except wheels.NoWheels as problem:
        parts.skip_or_fail(f"the wheels of NumPy and Wasmtime: {problem}")
    package = Package(base=base, binaries=[{"path": str(FOLDER / n / f"{n}.wasm")} for n in EXAMPLES])
    for name, text in GUESTS.items():
        package.module(name, bytes(wasmtime.wat2wasm(text)))
        tensors = [{"name": each, "dtype": "FP32", "dims": [-1]} for each in NAMES[name]]
        package.binaries[-1]["interface"] = {"convention": "elementwise", "entry": name, "inputs": tensors}
        package.binaries[-1]["interface"]["outputs"] = [{"name": "y", "dtype": "FP32", "dims": [-1]}]
    package.config = {"integration_type": "Simulation", "registry": True, "package_as_extension": False}
    package.make()
    inputs = package.input("inputs.pickle", pickle.dumps({name: EXAMPLES[name].inputs() for name in EXAMPLES}))
    scene = package.input("scene.usda", SCENE.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMNI_KIT_ACCEPT_EULA", "YES")
        patch.setenv("PYTHONPATH", str(usd))
        yield [start(bare_kit, package, inputs, scene, name) for name in ("fresh", "installed")]


def start(python: Path, package: Package, inputs: str, scene: str, name: str) -> Ran:
    answers = package.base / name
    answers.mkdir()
    words = " ".join(f'"{each}"' for each in (SCRIPT, ID, inputs, scene, answers))
    registry = str(package.output / "omniverse" / "registry")
    # Kit's wheel has no extension with a run loop, and would exit after its script
    options = ("--enable", ID, "--exec", words, "--/app/runWithoutRunloop=true", "--/app/quitAfter=2000")
    started = with_registry(python, package.base / "place", registry, *options)
    if not (answers / "results.json").is_file():
        pytest.fail(started.log)
    results = json.loads((answers / "results.json").read_text())
    assert "failed" not in results, results["failed"] + started.log
    return Ran(started, results, pickle.loads((answers / "outputs.pickle").read_bytes()), answers)


def lines(ran: Ran, *words: str) -> list[str]:
    return [line for line in ran.started.log.splitlines() if any(word in line for word in words)]


def test_kit_installs_the_archive_once(ran: list[Ran]) -> None:
    fresh, installed = ran
    assert lines(fresh, "unpacking: ")
    assert not lines(installed, "unpacking: ")
    # Kit 110.4 exits with a segmentation fault, after its last output, if it has installed an extension at its start,
    # even one that only prints: its exit status is meaningless then
    assert installed.started.returncode == 0


@pytest.mark.parametrize("start", [0, 1], ids=["fresh", "installed"])
@pytest.mark.parametrize("name", list(EXAMPLES))
def test_each_example_returns_numpys_results_before_and_after_a_reload(ran: list[Ran], start: int, name: str) -> None:
    inputs = EXAMPLES[name].inputs()
    rtol, atol = EXAMPLES[name].tolerances
    for key in ("outputs", "outputs again"):
        made = ran[start].outputs[key][name]
        for output, expected in EXAMPLES[name].reference(inputs).items():
            if expected.dtype == object:
                assert made[output].tolist() == expected.tolist()
            else:
                np.testing.assert_allclose(made[output], expected, rtol=rtol, atol=atol)


def test_the_libraries_are_those_of_the_extension_and_outlive_it(ran: list[Ran]) -> None:
    for each in ran:
        assert all(f"{ID}-1.2.3+110.0.lx64.cp312/pip_prebundle/" in path for path in each.results["libraries"])
        assert each.results["loaded after disabling"]
        core = f"/lib/{platform.machine()}/libwasm_core.so"
        assert [path for path in each.results["maps"] if path.endswith(core) and "/portalis_backend/" in path]


def test_points_of_a_stage_move_in_kits_updates(ran: list[Ran]) -> None:
    from pxr import Usd

    for each in ran:
        assert each.results["steps"] >= 4
        assert each.results["later steps"] >= each.results["steps"] + 2
        stage = Usd.Stage.Open(str(each.base / "after.usda"))
        points = np.array(stage.GetAttributeAtPath("/World/Points.points").Get())
        seconds = points[0, 0]
        assert seconds > 0
        # sums of float32: after about a second, the remainder of 2 is small, but the rounding error is not
        np.testing.assert_allclose(points, [[seconds, 0, 0], [1, 2 - 2 * seconds, 3]], rtol=1e-5, atol=1e-5)


def test_a_module_that_traps_is_one_line_of_the_log(ran: list[Ran]) -> None:
    for each in ran:
        assert each.results["still"] == ["trap"]
        (line,) = lines(each, "the step of module trap")
        assert line.endswith(
            f"[{ID}] the step of module trap: entry 'trap': the guest trapped: wasm `unreachable` instruction executed"
            " (it is stopped until simulation.resume())"
        )


def test_limits_change_while_kit_runs(ran: list[Ran]) -> None:
    for each in ran:
        reported = [each.results[key] for key in ("limit before", "limit after", "limit kept")]
        assert reported == [10.0, 0.25, 0.25]
        assert each.results["spin"].startswith("GuestTimeout: ")
        (line,) = lines(each, "timeout_s must be greater than 0")
        assert line.endswith("(the previous settings apply)")


def test_nothing_is_left_of_a_disabled_extension_and_nothing_else_is_logged(ran: list[Ran]) -> None:
    for each in ran:
        assert each.results["alive after disabling"] == [[False] * 3] * 2
        assert each.results["modules after disabling"] == [[], []]
        assert not lines(each, "still alive", "Leak", "leak", "Traceback")
        assert len(lines(each, "[Error]")) == 2  # the trap and the setting
        assert not [line for line in lines(each, "[Warning]") if ID in line or "portalis_backend" in line]
