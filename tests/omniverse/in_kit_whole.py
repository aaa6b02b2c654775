"""Runs in Kit (``--exec``) with an extension of the type Simulation enabled: tests all its features in one start.

Arguments: the extension's id, a pickle of inputs by module, a USD scene, and the folder for the answers.
"""

import importlib
import json
import pickle
import sys
import weakref
from pathlib import Path
from typing import Any

import carb.settings
import omni.kit.app

identifier, inputs, scene, answers = sys.argv[1:5]
app = omni.kit.app.get_app()
manager = app.get_extension_manager()
results: dict[str, Any] = {}


def module() -> Any:
    return importlib.import_module(identifier)


def calls() -> dict[str, Any]:
    """Call each example through its typed function and through `call_function`, whose results must be equal."""
    import numpy as np

    outputs = {}
    for name, arrays in pickle.loads(Path(inputs).read_bytes()).items():
        made = getattr(module().models, name)(**arrays)
        again = module().call_function(name, None, *arrays.values())
        made, again = (each if isinstance(each, tuple) else (each,) for each in (made, again))
        assert all(np.array_equal(*pair) for pair in zip(made, again)), name
        names = [each.name for each in module().get_module(name).interface.outputs]
        outputs[name] = dict(zip(names, made))
    return outputs


def mapped() -> list[str]:
    """The libraries that are mapped into this process."""
    return [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line]


async def frames(count: int) -> None:
    for _ in range(count):
        await app.next_update_async()


async def simulate() -> None:
    """Points move by their velocities in Kit's own updates, and a module that traps is stopped."""
    from pxr import Usd

    stage = Usd.Stage.Open(scene)
    simulation = module().get_extension().simulation
    attributes = importlib.import_module(f"{identifier}.attributes").StageAttributes(stage)
    simulation.arrays = attributes
    where = "/World/Points"
    places = {"x": f"{where}.points", "v": f"{where}.velocities"}
    simulation.bind("advance", places, {"y": f"{where}.points"})
    simulation.bind("trap", {"x": f"{where}.points"})
    await frames(5)
    results["steps"], results["still"] = simulation.steps, simulation.still
    simulation.resume()
    await frames(3)
    results["later steps"] = simulation.steps
    simulation.unbind("advance")
    stage.GetRootLayer().Export(str(Path(answers) / "after.usda"))


def limits() -> None:
    """Settings that change while Kit runs apply to the next call; an invalid one does not."""
    settings = carb.settings.get_settings()
    extension, path = module().get_extension(), f"/exts/{identifier}/timeout_s"
    results["limit before"] = extension.limits.timeout_s
    settings.set(path, 0.25)
    results["limit after"] = extension.limits.timeout_s
    try:
        import numpy as np

        module().call_function("spin", "spin", np.ones(1, np.float32))
    except module().WasmError as problem:
        results["spin"] = f"{type(problem).__name__}: {problem}"
    settings.set(path, -1.0)
    results["limit kept"] = extension.limits.timeout_s
    settings.set(path, 10.0)


def disable() -> None:
    """References to the extension that remain after Kit has disabled it."""
    extension = module().get_extension()
    kept = [weakref.ref(each) for each in (extension, extension._programs, extension.simulation)]
    del extension
    manager.set_extension_enabled_immediate(identifier, False)
    results.setdefault("alive after disabling", []).append([each() is not None for each in kept])
    results.setdefault("modules after disabling", []).append(
        [name for name in sys.modules if name.startswith(identifier)]
    )


async def main() -> None:
    try:
        libraries = [importlib.import_module(name).__file__ for name in ("numpy", "wasmtime")]
        results["libraries"] = libraries
        results["outputs"] = calls()
        results["maps"] = mapped()
        await simulate()
        limits()
        disable()
        results["loaded after disabling"] = all(name in sys.modules for name in ("numpy", "wasmtime"))
        manager.set_extension_enabled_immediate(identifier, True)
        results["outputs again"] = calls()
        disable()
    except Exception as problem:  # noqa: BLE001  # the test shows it
        import traceback

        results["failed"] = "".join(traceback.format_exception(problem))
    outputs = {key: results.pop(key, {}) for key in ("outputs", "outputs again")}
    (Path(answers) / "outputs.pickle").write_bytes(pickle.dumps(outputs))
    (Path(answers) / "results.json").write_text(json.dumps(results))
    app.post_quit(0)


manager.set_extension_enabled_immediate("omni.kit.async_engine", True)
importlib.import_module("omni.kit.async_engine").run_coroutine(main())
