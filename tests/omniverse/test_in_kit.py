"""The generated extension in a real, headless Omniverse Kit."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import wasmtime

from portalis.examples.catalog import EXAMPLES
from portalis.omniverse import kit
from tests import parts

from .conftest import Package

HOSTILE = (
    'A "quoted" \'one\' """ \\ with ${kit}, ${env:HOME}, $${x}, ${ and\nnew lines\ttabs, é and \u2028; {{ x }} {% y %}'
)


@pytest.fixture
def kit_python(monkeypatch: pytest.MonkeyPatch) -> Path:
    python = parts.kit()
    monkeypatch.setenv(kit.PYTHON, str(python))
    monkeypatch.setenv("OMNI_KIT_ACCEPT_EULA", "YES")
    return python


def run_in_kit(python: Path, package: Package, *script: str, **variables: str) -> kit.KitRun:
    options = kit.kit_arguments(package.base, package.folder.parent, package.folder.name, script)
    return kit.run_kit(python, [*options, "--enable", "omni.kit.registry.nucleus"], {**os.environ, **variables})


def errors(started: kit.KitRun) -> list[str]:
    return [line for line in started.log.splitlines() if "[Error]" in line or "Traceback" in line]


def test_every_module_returns_numpys_results_in_kit_and_the_extension_stops_and_starts_again(
    kit_python: Path, package: Package
) -> None:
    package.config |= {"extension_description": HOSTILE, "extension_version": "2.0.0-rc.1"}
    package.make()
    given = {name: EXAMPLES[name].inputs() for name in ("gelu", "softmax")}
    np.savez(package.base / "inputs.npz", **{name: inputs["x"] for name, inputs in given.items()})
    script = (str(Path(__file__).with_name("in_kit.py")), package.folder.name)
    started = run_in_kit(kit_python, package, *script, str(package.base / "inputs.npz"), str(package.base))
    assert started.returncode == 0, started.log
    assert errors(started) == []

    for answers in ("first.npz", "again.npz"):
        got = np.load(package.base / answers)
        for name, inputs in given.items():
            rtol, atol = EXAMPLES[name].tolerances
            np.testing.assert_allclose(got[name], EXAMPLES[name].reference(inputs)["y"], rtol=rtol, atol=atol)

    results = json.loads((package.base / "results.json").read_text())
    assert results["publishable"] is True
    assert results["disabled"] is True
    assert results["package"]["description"] == HOSTILE
    assert results["package"]["packageId"] == "portalis_ext.two_examples-2.0.0-rc.1+110.0.lx64.cp312"
    assert results["no module"] == "LookupError: unknown module 'nowhere', expected one of gelu, softmax"
    assert results["no arrays"] == "TypeError: gelu expects 1 arrays (x), got 0"
    assert "has dtype float64, not float32" in results["wrong dtype"]
    assert results["no function"].startswith("InterfaceError")
    starts = re.findall(r"\[ext: portalis_ext.two_examples-2.0.0-rc.1\] (\w+)", started.log)
    assert starts == ["startup", "shutdown", "startup", "shutdown"]


def test_an_example_scenario_runs_in_kit_and_reports_that_this_kit_opens_no_scene(
    kit_python: Path, package: Package
) -> None:
    scene = package.input("ocean.usda", b"#usda 1.0\n")
    package.config["example_scenarios"] = [{"name": "Ocean waves", "description": HOSTILE, "scenario_file": scene}]
    package.make()
    started = run_in_kit(kit_python, package, str(package.folder / "examples" / "Ocean waves.py"))
    assert errors(started) == []
    assert f"Ocean waves: {HOSTILE}" in started.log
    assert "cannot open Ocean waves.usda: omni.usd is not enabled" in started.log
    assert "softmax {'y': [0.25, 0.25, 0.25, 0.25]}" in started.log


def test_a_live_run_reports_the_version_of_kit_and_does_not_change_the_extension(
    kit_python: Path, package: Package
) -> None:
    package.live = True
    made = package.make()
    static, live = made.validation_results
    assert (static.valid, live.valid) == (True, True)
    assert live.report.startswith("started in Kit 110.")
    assert live.report.endswith(", and called gelu, softmax")
    assert made.artifacts.omniverse_packages[0].validated
    assert made.errors == ()
    assert not [path for path in package.folder.rglob("*") if path.name == "__pycache__" or path.suffix == ".pyc"]


def test_a_module_that_kit_cannot_load_fails_the_live_check_and_is_named(kit_python: Path, package: Package) -> None:
    package.live = True
    package.module("broken", b"\0asm\1\0\0\0" + b"\x00\x05\x04name")
    package.config["validate_wasm_compatibility"] = False
    made = package.make()
    assert [each.valid for each in made.validation_results] == [True, False]
    assert "broken" in made.validation_results[1].report
    assert not made.artifacts.omniverse_packages[0].validated
    (error,) = made.errors
    assert "broken" in str(error)


def test_a_module_that_traps_fails_the_live_check_with_one_line(kit_python: Path, package: Package) -> None:
    package.live = True
    trap = '(module (func (export "f") (param f32) (result f32) unreachable))'
    package.module("trap", bytes(wasmtime.wat2wasm(trap)))
    made = package.make()
    assert made.validation_results[1].report.endswith(
        "reported failures: trap: Trap: entry 'f': the guest trapped: wasm `unreachable` instruction executed"
    )
    assert not made.artifacts.omniverse_packages[0].validated


def test_a_kit_without_an_accepted_license_is_reported_as_not_started(
    kit_python: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNI_KIT_ACCEPT_EULA", "no")
    package.live = True
    made = package.make()
    assert not made.validation_results[1].valid
    assert "the extension did not respond" in made.validation_results[1].report


def test_wheels_in_the_prebundle_directory_are_found(kit_python: Path, package: Package) -> None:
    package.make()
    (package.folder / "pip_prebundle").mkdir()
    (package.folder / "pip_prebundle" / "prebundled.py").write_text("print('the prebundled module was imported')")
    script = package.input("script.py", b"import prebundled")
    started = run_in_kit(kit_python, package, script)
    assert errors(started) == []
    assert "the prebundled module was imported" in started.log


def test_a_kit_without_wasmtime_reports_the_missing_library(kit_python: Path, package: Package) -> None:
    package.make()
    # the wheel is in this Kit's environment: a module that is found first raises Python's error for a missing one
    package.input("wasmtime.py", b"raise ImportError('no module named wasmtime')")
    started = run_in_kit(kit_python, package, PYTHONPATH=str(package.base))
    (error,) = errors(started)
    assert error.endswith(
        "[portalis_ext.two_examples] the extension cannot start: Kit's Python requires numpy and wasmtime>=50,<51"
        " (no module named wasmtime) (see its docs/README.md)"
    )


def test_a_setting_of_the_user_overrides_the_extensions_own(kit_python: Path, package: Package) -> None:
    package.make()
    script = package.input(
        "script.py",
        b"import portalis_ext.two_examples as t; print(t.get_extension().get_module('gelu').limits.timeout_s)",
    )
    options = kit.kit_arguments(package.base, package.folder.parent, package.folder.name, [script])
    started = kit.run_kit(kit_python, [*options, "--/exts/portalis_ext.two_examples/timeout_s=2.5"])
    assert errors(started) == []
    assert "\n2.5\n" in started.log
