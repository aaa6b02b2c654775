"""Example scenarios: scenes that real USD opens, and scripts that run on them outside Kit and in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st
from pxr import Sdf, Usd, UsdGeom

from portalis.backend.interface.dtypes import DTYPES
from portalis.examples.catalog import EXAMPLES
from portalis.inspection import inspect_module
from portalis.omniverse import kit, scenarios
from portalis.omniverse.inside.scenario import USD_TYPES
from tests import parts

from .conftest import Package

HOSTILE = 'A "quoted" \'one\' """ \\ with ${kit} and\nnew lines\ttabs, é and \u2028; {{ x }} {% y %} @asset@ \x1b[0m'
ALL = tuple(EXAMPLES)


@pytest.fixture
def examples(tmp_path: Path) -> Package:
    """All example modules, and one scenario."""
    package = Package(base=tmp_path, binaries=[{"path": str(EXAMPLES[name].module)} for name in ALL])
    package.config["example_scenarios"] = [{"name": "all of them", "description": HOSTILE, "documentation": HOSTILE}]
    return package


def run(package: Package, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The scenario's script with a Python that has no Kit and no portalis."""
    script = package.folder / "examples" / f"{name}.py"
    place = package.base / "elsewhere"
    place.mkdir(exist_ok=True)
    command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-B", script, *map(str, arguments)]
    hidden = place / "portalis.py"
    hidden.write_text("raise ImportError('a scenario needs no portalis')")
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def arrays(stage: Any, prim: str, side: str) -> dict[str, np.ndarray]:
    """The arrays of a module by name, in their shapes."""
    found = {}
    for attribute in stage.GetPrimAtPath(prim).GetAttributes():
        space, _, name = attribute.GetName().partition(":")
        if space != side or ":" in name or attribute.Get() is None:
            continue
        shape = stage.GetAttributeAtPath(f"{attribute.GetPath()}:shape")
        value = attribute.Get()
        if attribute.GetTypeName() == Sdf.ValueTypeNames.StringArray:
            array = np.array([each.encode() for each in value], dtype=object)
        else:
            array = np.array(value)
        found[name] = array.reshape(tuple(shape.Get())) if shape and shape.Get() is not None else array
    return found


def compare(name: str, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
    """Check that `outputs` are NumPy's results for `inputs`, in the data types of the module."""
    interface = inspect_module(EXAMPLES[name].module).interface
    assert interface is not None
    typed = {spec.name: inputs[spec.name].astype(spec.dtype.numpy) for spec in interface.inputs if spec.name in inputs}
    rtol, atol = EXAMPLES[name].tolerances
    for key, expected in EXAMPLES[name].reference(typed).items():
        if expected.dtype == object:
            assert outputs[key].tolist() == expected.tolist()
        else:
            np.testing.assert_allclose(outputs[key], expected, rtol=rtol, atol=atol)


def test_the_scene_is_real_usd_with_an_array_for_every_input(examples: Package) -> None:
    examples.make()
    stage = Usd.Stage.Open(str(examples.folder / "examples" / "all of them.usda"))
    assert stage.GetRootLayer().documentation == f"{HOSTILE}\n\n{HOSTILE}"
    assert stage.GetDefaultPrim().GetPath() == "/Scenario"
    for name in ALL:
        interface = inspect_module(EXAMPLES[name].module).interface
        assert interface is not None
        prim = stage.GetPrimAtPath(f"/Scenario/{name}")
        assert prim.GetAttribute("portalis:module").Get() == name
        for spec in interface.inputs:
            attribute = prim.GetAttribute(f"inputs:{spec.name}")
            assert bool(attribute) is not spec.optional
            if attribute:
                assert attribute.GetTypeName() == USD_TYPES[spec.dtype.name]
                assert attribute.Get() is not None
        for spec in interface.outputs:
            assert prim.GetAttribute(f"outputs:{spec.name}").Get() is None


def test_the_script_runs_without_kit_with_numpys_results(examples: Package) -> None:
    examples.make()
    done = run(examples, "all of them", examples.base / "result.usda")
    assert done.returncode == 0, done.stderr
    assert f"all of them: {HOSTILE}" in done.stdout
    stage = Usd.Stage.Open(str(examples.base / "result.usda"))
    for name in ALL:
        compare(name, arrays(stage, f"/Scenario/{name}", "inputs"), arrays(stage, f"/Scenario/{name}", "outputs"))


def test_without_an_argument_the_result_is_in_the_current_directory_and_the_extension_is_unchanged(
    examples: Package,
) -> None:
    examples.make()
    before = examples.files()
    done = run(examples, "all of them")
    assert done.returncode == 0, done.stderr
    assert (examples.base / "elsewhere" / "all of them.result.usda").is_file()
    assert examples.files() == before


def test_arrays_that_are_changed_in_the_scene_are_used(package: Package) -> None:
    package.config["example_scenarios"] = [{"name": "edited"}]
    package.make()
    scene = package.folder / "examples" / "edited.usda"
    stage = Usd.Stage.Open(str(scene))
    stage.GetAttributeAtPath("/Scenario/gelu.inputs:x").Set([0.5, -1.5, 9.0])
    stage.GetAttributeAtPath("/Scenario/softmax.inputs:x").Set([1.0] * 6)
    shape = stage.GetPrimAtPath("/Scenario/softmax").CreateAttribute("inputs:x:shape", Sdf.ValueTypeNames.IntArray)
    shape.Set([2, 3])
    stage.Save()
    done = run(package, "edited", package.base / "result.usda")
    assert done.returncode == 0, done.stderr
    result = Usd.Stage.Open(str(package.base / "result.usda"))
    compare("gelu", {"x": np.array([0.5, -1.5, 9.0])}, arrays(result, "/Scenario/gelu", "outputs"))
    np.testing.assert_allclose(arrays(result, "/Scenario/softmax", "outputs")["y"], np.full((2, 3), 1 / 3), rtol=1e-6)


@pytest.mark.parametrize("suffix", [".usda", ".usdc", ".usdz"])
def test_a_scene_of_the_spec_is_used_unchanged(package: Package, suffix: str) -> None:
    stage = Usd.Stage.CreateNew(str(package.base / ("made.usdc" if suffix == ".usdz" else f"made{suffix}")))
    UsdGeom.Sphere.Define(stage, "/World/Ball")
    mine = stage.DefinePrim("/World/Mine")
    mine.CreateAttribute("portalis:module", Sdf.ValueTypeNames.String).Set("gelu")
    mine.CreateAttribute("inputs:x", Sdf.ValueTypeNames.FloatArray).Set([1.0, 2.0])
    stage.Save()
    given = package.base / f"made{suffix}"
    if suffix == ".usdz":
        from pxr import UsdUtils

        assert UsdUtils.CreateNewUsdzPackage(str(package.base / "made.usdc"), str(given))
    package.config["example_scenarios"] = [{"name": "mine", "scenario_file": str(given)}]
    package.make()
    assert (package.folder / "examples" / f"mine{suffix}").read_bytes() == given.read_bytes()
    done = run(package, "mine", package.base / "result.usda")
    assert done.returncode == 0, done.stderr
    result = Usd.Stage.Open(str(package.base / "result.usda"))
    assert result.GetPrimAtPath("/World/Ball").GetTypeName() == "Sphere"
    compare("gelu", {"x": np.array([1.0, 2.0])}, arrays(result, "/World/Mine", "outputs"))
    # softmax has no prim there: it gets one, with an array of ones
    np.testing.assert_allclose(arrays(result, "/Scenario/softmax", "outputs")["y"], np.full(4, 0.25))


def test_points_of_a_mesh_are_arrays_too(package: Package) -> None:
    guest = '(module (func (export "double") (param f32) (result f32) (f32.mul (local.get 0) (f32.const 2))))'
    package.binaries = []
    package.module("double", bytes(wasmtime.wat2wasm(guest)))
    stage = Usd.Stage.CreateNew(str(package.base / "points.usda"))
    prim = UsdGeom.Points.Define(stage, "/Cloud").GetPrim()
    prim.CreateAttribute("portalis:module", Sdf.ValueTypeNames.String).Set("double")
    interface = inspect_module(package.base / "double.wasm").interface
    assert interface is not None
    (spec,) = interface.inputs
    name = f"inputs:{spec.name}"
    prim.CreateAttribute(name, Sdf.ValueTypeNames.Point3fArray).Set([(1, 2, 3), (4, 5, 6)])
    prim.CreateAttribute(f"outputs:{interface.outputs[0].name}", Sdf.ValueTypeNames.Point3fArray)
    stage.Save()
    package.config["example_scenarios"] = [{"name": "cloud", "scenario_file": str(package.base / "points.usda")}]
    package.make()
    done = run(package, "cloud", package.base / "result.usda")
    assert done.returncode == 0, done.stderr
    result = Usd.Stage.Open(str(package.base / "result.usda"))
    made = result.GetAttributeAtPath(f"/Cloud.outputs:{interface.outputs[0].name}").Get()
    assert np.array(made).tolist() == [[2, 4, 6], [8, 10, 12]]


def test_an_array_of_a_different_type_is_reported_with_its_path(package: Package) -> None:
    stage = Usd.Stage.CreateNew(str(package.base / "wrong.usda"))
    prim = stage.DefinePrim("/Wrong")
    prim.CreateAttribute("portalis:module", Sdf.ValueTypeNames.String).Set("gelu")
    prim.CreateAttribute("inputs:x", Sdf.ValueTypeNames.StringArray).Set(["one"])
    stage.Save()
    package.config["example_scenarios"] = [{"name": "wrong", "scenario_file": str(package.base / "wrong.usda")}]
    package.make()
    done = run(package, "wrong")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: expected float32 in /Wrong.inputs:x, got object"


def test_every_data_type_has_a_usd_type_that_can_store_it() -> None:
    assert set(USD_TYPES) == set(DTYPES)
    for name, dtype in DTYPES.items():
        kind = Sdf.ValueTypeNames.Find(USD_TYPES[name])
        assert kind.isArray
        if name != "BYTES":
            assert np.can_cast(dtype.numpy, np.array(kind.type.pythonClass(1)).dtype, "safe")


@given(value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_in_a_scene_is_read_back_unchanged(value: str) -> None:
    layer = Sdf.Layer.CreateAnonymous(".usda")
    assert layer.ImportFromString(f"#usda 1.0\n(\n    doc = {scenarios.usda_string(value)}\n)\n")
    assert layer.documentation == value


@given(values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_any_numbers_in_a_scene_are_read_back_exactly(values: list[float]) -> None:
    layer = Sdf.Layer.CreateAnonymous(".usda")
    assert layer.ImportFromString(
        f'#usda 1.0\ndef "a"\n{{\n    custom float[] x = {scenarios.usda_array(values)}\n}}\n'
    )
    assert list(layer.GetAttributeAtPath("/a.x").default) == values


@pytest.mark.kit
def test_in_kit_with_usd_the_script_uses_the_running_extension(
    examples: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    python, usd = parts.kit(), parts.kit_usd()
    monkeypatch.setenv("OMNI_KIT_ACCEPT_EULA", "YES")
    examples.make()
    result = examples.base / "result.usda"
    script = (str(examples.folder / "examples" / "all of them.py"), str(result))
    options = kit.kit_arguments(examples.base, examples.folder.parent, examples.folder.name, script)
    started = kit.run_kit(python, options, {**os.environ, "PYTHONPATH": str(usd)})
    assert "[Error]" not in started.log, started.log
    assert f"written: {result}" in started.log
    stage = Usd.Stage.Open(str(result))
    for name in ALL:
        compare(name, arrays(stage, f"/Scenario/{name}", "inputs"), arrays(stage, f"/Scenario/{name}", "outputs"))
