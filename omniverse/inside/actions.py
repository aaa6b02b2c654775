"""Registers the tool as a Kit command, which scripts, menus and the undo history can use (`omni.kit.commands`)."""

from __future__ import annotations

from typing import Any

from .tool import Tool


def register(name: str, tool: Tool) -> Any:
    """Register a command: ``omni.kit.commands.execute(name, module=…, inputs=…, outputs=…)`` calls `Tool.run_file`.

    Returns the argument for `unregister`. Raises ImportError if this Kit lacks `omni.kit.commands`.
    """
    import omni.kit.commands

    class RunModule(omni.kit.commands.Command):  # type: ignore[misc]
        def __init__(self, module: str, inputs: str, outputs: str) -> None:
            super().__init__()
            self._arguments = (module, inputs, outputs)

        def do(self) -> bool:
            """Run the module; returns whether it succeeded."""
            return tool.run_file(*self._arguments)

    RunModule.__name__ = RunModule.__qualname__ = name
    omni.kit.commands.register(RunModule)
    return RunModule


def unregister(command: Any) -> None:
    """Remove the command."""
    import omni.kit.commands

    omni.kit.commands.unregister(command)
