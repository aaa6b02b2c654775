"""Connects the extension to Kit according to its integration type."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from .frames import each_frame
from .log import Failures


class Integration:
    """Creates `simulation`, `processor`, `tool` or `hooks`, and connects it to Kit's update loop if necessary."""

    def __init__(
        self,
        identifier: str,
        about: Mapping[str, Any],
        programs: Any,
        failures: Failures,
        setting: Callable[[str], Any],
    ) -> None:
        self._closing: list[Callable[[], None]] = []
        self._frames: list[Any] = []
        self._parts: dict[str, Any] = {}
        kind = about["integration"]
        if kind == "Simulation":
            self._simulation(identifier, programs, failures, setting(f"/exts/{identifier}/simulation") or {})
        elif kind == "DataProcessor":
            self._processor(programs)
        elif kind == "Tool":
            self._tool(about, programs, failures)
        else:
            self._hooks(identifier, programs, failures)

    def __getattr__(self, name: str) -> Any:
        parts = self.__dict__.get("_parts", {})
        if name not in parts:
            available = f", only {', '.join(parts)}" if parts else ""
            raise AttributeError(f"this extension has no {name!r}{available}")
        return parts[name]

    def close(self) -> None:
        """Remove all callbacks, commands and windows."""
        self._frames.clear()  # a subscription ends when its last reference is deleted
        for close in reversed(self._closing):
            close()
        self._closing.clear()
        self._parts.clear()

    def _simulation(self, identifier: str, programs: Any, failures: Failures, bindings: Mapping[str, Any]) -> None:
        from .simulation import Simulation

        simulation = Simulation(programs, failures, _open_stage)
        for module, bound in bindings.items():
            try:
                simulation.bind(module, bound.get("inputs"), bound.get("outputs"))
            except Exception as error:  # noqa: BLE001  # an invalid setting must not affect the others
                failures.failed(f"the setting simulation/{module}", error)
        self._parts["simulation"] = simulation
        self._closing.append(simulation.close)
        self._frames.append(each_frame("update", identifier, simulation.step))

    def _processor(self, programs: Any) -> None:
        from .processor import Processor

        self._parts["processor"] = Processor(programs)

    def _tool(self, about: Mapping[str, Any], programs: Any, failures: Failures) -> None:
        from . import actions
        from .tool import Tool
        from .window import Window

        tool = Tool(programs, failures)
        self._parts["tool"] = tool
        # a Kit without a user interface has neither of these modules; `command.py` works in every Kit
        with contextlib.suppress(ImportError):
            command = actions.register(about["command"], tool)
            self._closing.append(lambda: actions.unregister(command))
        with contextlib.suppress(ImportError):
            window = Window(about["title"], tool, programs.names)
            self._parts["window"] = window
            self._closing.append(window.close)

    def _hooks(self, identifier: str, programs: Any, failures: Failures) -> None:
        from .hooks import AFTER, BEFORE, Hooks

        hooks = Hooks(programs, failures)
        self._parts["hooks"] = hooks
        self._closing.append(hooks.close)
        self._frames.append(each_frame(BEFORE, identifier, lambda dt: hooks.frame(BEFORE, dt)))
        self._frames.append(each_frame(AFTER, identifier, lambda dt: hooks.frame(AFTER, dt)))


def _open_stage() -> Any:
    """The stage that is open in Kit; None if no stage is open, or if this Kit lacks USD."""
    try:
        import omni.usd
    except ImportError:
        return None
    return omni.usd.get_context().get_stage()
