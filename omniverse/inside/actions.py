"""The tool among Kit's commands, for a Kit with `omni.kit.commands`: scripts, menus and the undo history know those."""

from __future__ import annotations

from typing import Any

from .tool import Tool


def register(name: str, tool: Tool) -> Any:
    """Make ``omni.kit.commands.execute(name, module=…, inputs=…, outputs=…)`` run a module over a file of arrays;
    what `unregister` wants. Raises ImportError where this Kit has no commands."""
    import omni.kit.commands

    class RunModule(omni.kit.commands.Command):  # type: ignore[misc]
        def __init__(self, module: str, inputs: str, outputs: str) -> None:
            super().__init__()
            self._words = (module, inputs, outputs)

        def do(self) -> bool:
            """Run the module; whether it went well."""
            return tool.run_file(*self._words)

    RunModule.__name__ = RunModule.__qualname__ = name
    omni.kit.commands.register(RunModule)
    return RunModule


def unregister(command: Any) -> None:
    """Take the command away."""
    import omni.kit.commands

    omni.kit.commands.unregister(command)
