"""Runs in Kit (``--exec``) with the extension enabled: calls its modules and writes the results to a file.

Arguments: the extension's id, an .npz with an array per module, and the folder for the answers.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import omni.kit.app

identifier, inputs, answers = sys.argv[1:4]
manager = omni.kit.app.get_app().get_extension_manager()
results: dict[str, Any] = {}


def calls() -> dict[str, Any]:
    extension = importlib.import_module(identifier).get_extension()
    return {name: extension.call_function(name, name, array) for name, array in np.load(inputs).items()}


def error_of(function: str, *arguments: Any) -> str:
    extension = importlib.import_module(identifier).get_extension()
    try:
        getattr(extension, function)(*arguments)
    except Exception as problem:  # noqa: BLE001  # which one is what the test asks
        return f"{type(problem).__name__}: {problem}"
    return ""


np.savez(Path(answers) / "first.npz", **calls())
results["no module"] = error_of("get_module", "nowhere")
results["no arrays"] = error_of("call_function", "gelu", "gelu")
results["wrong dtype"] = error_of("call_function", "gelu", "gelu", np.zeros(3))
results["no function"] = error_of("call_function", "gelu", "tanh", np.zeros(3, np.float32))
extension_id = manager.get_enabled_extension_id(identifier)
results["package"] = {
    key: str(value) for key, value in manager.get_extension_dict(extension_id).get_dict()["package"].items()
}
from omni.kit.registry.nucleus import verify_extension_for_publishing  # noqa: E402

results["publishable"] = verify_extension_for_publishing(manager.get_extension_dict(extension_id))[0]
manager.set_extension_enabled_immediate(identifier, False)
results["disabled"] = not manager.is_extension_enabled(identifier)
manager.set_extension_enabled_immediate(identifier, True)
np.savez(Path(answers) / "again.npz", **calls())
(Path(answers) / "results.json").write_text(json.dumps(results))
