"""Extensions of each integration type in a real Kit, with one start per type."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portalis.omniverse import kit
from tests import parts

from .conftest import Package

ID = "portalis_ext.two_examples"
# a few frames, then exit; Kit's wheel has no extension with a run loop
FRAMES = """
import omni.kit.app
import portalis_ext.two_examples as two
extension = two.get_extension()
{}
app = omni.kit.app.get_app()
for _ in range(4):
    app.update()
{}
"""
HOOKS = """
import numpy as np
calls = []
def give(dt):
    calls.append(dt)
    return None if len(calls) == 2 else dict(x=np.zeros((1, 4), np.float32))
taken = []
extension.hooks.{}_frame("softmax", give, taken.append)
extension.hooks.{}_frame("gelu", lambda dt: dict(x=np.zeros(3)), taken.append)
"""
STAGE = """
from pxr import Sdf, Usd
stage = Usd.Stage.CreateInMemory()
prim = stage.DefinePrim("/P")
for name in "xy":
    prim.CreateAttribute(name, Sdf.ValueTypeNames.FloatArray).Set([0, 0, 0, 0])
extension.processor.process_stage(stage, "softmax", dict(x="/P.x"), dict(y="/P.y"))
print("STAGE", list(prim.GetAttribute("y").Get()))
"""


@pytest.fixture
def kit_python(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMNI_KIT_ACCEPT_EULA", "YES")
    return parts.kit()


def run(python: Path, package: Package, *script: str, options: tuple[str, ...] = (), **variables: str) -> str:
    given = kit.kit_arguments(package.base, package.folder.parent, package.folder.name, script)
    options = ("--/app/runWithoutRunloop=true", *options)
    started = kit.run_kit(python, [*given, *options], {**os.environ, **variables})
    assert started.returncode == 0, started.log
    return started.log


def errors(log: str) -> list[str]:
    return [line for line in log.splitlines() if "[Error]" in line or "Traceback" in line or "Leak" in line]


@pytest.mark.parametrize(
    ("integration", "when"), [("Renderer", "post"), ({"Custom": "my pipeline"}, "pre")], ids=["Renderer", "Custom"]
)
def test_hooks_are_called_in_kits_frames_and_a_failing_one_is_removed(
    kit_python: Path, package: Package, integration: Any, when: str
) -> None:
    package.config["integration_type"] = integration
    package.make()
    code = FRAMES.format(
        HOOKS.replace("{}", when), 'print("CALLS", len(calls), "TAKEN", [t["y"].tolist() for t in taken])'
    )
    log = run(kit_python, package, package.input("script.py", code.encode()))
    reported = next(line for line in log.splitlines() if line.startswith("CALLS"))
    calls = int(reported.split()[1])
    assert calls >= 3
    assert reported.endswith("TAKEN " + str([[[0.25] * 4]] * (calls - 1)))
    (error,) = errors(log)
    assert f"the {when}-frame hook of module gelu: input 'x' has dtype float64" in error


def test_a_data_processor_processes_a_stage(kit_python: Path, package: Package) -> None:
    package.make()
    script = package.input("script.py", FRAMES.format(STAGE, "").encode())
    log = run(kit_python, package, script, PYTHONPATH=str(parts.kit_usd()))
    assert errors(log) == []
    assert "STAGE [0.25, 0.25, 0.25, 0.25]" in log


def test_a_tool_is_a_command_without_a_user_interface(kit_python: Path, package: Package) -> None:
    package.config["integration_type"] = "Tool"
    package.make()
    given, made = package.base / "in.npz", package.base / "out.npz"
    np.savez(given, x=np.zeros((1, 4), np.float32))
    command = package.folder / "portalis_ext" / "two_examples" / "command.py"
    log = run(kit_python, package, str(command), "softmax", str(given), str(made))
    assert errors(log) == []
    assert f"wrote {made}" in log
    np.testing.assert_allclose(np.load(made)["y"], 0.25)


def test_a_simulation_is_bound_by_settings_too_and_an_invalid_one_is_reported(
    kit_python: Path, package: Package
) -> None:
    package.config["integration_type"] = "Simulation"
    package.make()
    ending = 'print("BOUND", [(each.module, dict(each.inputs)) for each in extension.simulation.bindings])'
    script = package.input("script.py", FRAMES.format("", ending).encode())
    at = f"--/exts/{ID}/simulation"
    options = (f"{at}/softmax/inputs/x=/World/P.points", f"{at}/gelu/inputs/z=/World/P.points")
    log = run(kit_python, package, script, options=options)
    assert "BOUND [('softmax', {'x': '/World/P.points'})]" in log
    (error,) = errors(log)
    assert "the setting simulation/gelu: module gelu: it has no input 'z'" in error


TWO = """
import gc, sys
import numpy as np
import omni.kit.app
manager = omni.kit.app.get_app().get_extension_manager()
import acme.first as first, acme.second as second
x = np.zeros((1, 4), np.float32)
print("BOTH", first.models.softmax(x).tolist() == second.models.softmax(x).tolist())
print("APART", first.get_module("softmax").__class__ is not second.get_module("softmax").__class__)
manager.set_extension_enabled_immediate("acme.first", False)
print("SECOND", second.models.softmax(x).tolist())
print("NUMPY", sys.modules["numpy"] is np, "pip_prebundle" in np.__file__)
try:
    first.models.softmax(x)
except RuntimeError as problem:
    print("FIRST", problem)
manager.set_extension_enabled_immediate("acme.first", True)
import acme.first as again
print("AGAIN", again.models.softmax(x).tolist())
try:
    again.call_function("softmax", "softmax", np.zeros((1, 4)))
except again.WasmError as problem:
    print("ERROR", problem)
"""


def test_two_extensions_share_the_libraries_and_nothing_else(kit_python: Path, package: Package) -> None:
    for name in ("acme.first", "acme.second"):
        package.config = {"extension_name": name, "prebundle": False}
        package.make()
        # the output directory is replaced as a whole
        package.folder.rename(package.base / name)
    exts = package.base / "exts"
    exts.mkdir()
    for name in ("acme.first", "acme.second"):
        (package.base / name).rename(exts / name)
    script = package.input("script.py", TWO.encode())
    options = kit.kit_arguments(package.base, exts, "acme.first", [script])
    started = kit.run_kit(kit_python, [*options, "--enable", "acme.second"])
    log = started.log
    assert errors(log) == [], log
    reported = {line.partition(" ")[0]: line.partition(" ")[2] for line in log.splitlines()}
    assert (reported["BOTH"], reported["APART"]) == ("True", "True")
    assert reported["SECOND"] == reported["AGAIN"] == "[[0.25, 0.25, 0.25, 0.25]]"
    assert reported["FIRST"] == "the extension acme.first is not enabled"
    assert reported["NUMPY"] == "True False"
    assert reported["ERROR"].startswith("input 'x' has dtype float64")


OLDER = """
import importlib
import omni.kit.app
frames = importlib.import_module("portalis_ext.two_examples.frames")
for name in ("PRE_UPDATE", "UPDATE", "POST_UPDATE"):
    delattr(omni.kit.app, f"GLOBAL_EVENT_{name}")
seen = []
kept = [frames.each_frame(when, when, lambda dt, when=when: seen.append((when, dt))) for when in ("post", "update", "pre")]
app = omni.kit.app.get_app()
app.update()
app.update()
kept.clear()
app.update()
print("SEEN", [when for when, _ in seen], all(dt >= 0 for _, dt in seen))
"""


def test_a_kit_without_events_2_has_frames_too(kit_python: Path, package: Package) -> None:
    # Kit 110 still has event streams, the only interface of Kit 106
    package.make()
    log = run(kit_python, package, package.input("script.py", OLDER.encode()))
    assert errors(log) == []
    assert f"SEEN {['pre', 'update', 'post'] * 2} True" in log
