"""What the extension does inside Kit, by its integration type, beside answering calls."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from .frames import each_frame
from .log import Failures


class Integration:
    """One of `simulation`, `processor`, `tool` and `hooks`, tied to Kit's update loop where it wants that."""

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
        self._made: dict[str, Any] = {}
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
        made = self.__dict__.get("_made", {})
        if name not in made:
            raise AttributeError(f"this extension has no {name!r}; it has {', '.join(made) or 'nothing of the kind'}")
        return made[name]

    def close(self) -> None:
        """Take everything away."""
        self._frames.clear()  # a subscription ends when nobody has it
        for close in reversed(self._closing):
            close()
        self._closing.clear()
        self._made.clear()

    def _simulation(self, identifier: str, programs: Any, failures: Failures, bindings: Mapping[str, Any]) -> None:
        from .simulation import Simulation

        simulation = Simulation(programs, failures, _open_stage)
        for module, bound in bindings.items():
            try:
                simulation.bind(module, bound.get("inputs"), bound.get("outputs"))
            except Exception as problem:  # noqa: BLE001  # one setting that cannot be must not keep Kit from the others
                failures.failed(f"the setting simulation/{module}", problem)
        self._made["simulation"] = simulation
        self._closing.append(simulation.close)
        self._frames.append(each_frame("update", identifier, simulation.step))

    def _processor(self, programs: Any) -> None:
        from .processor import Processor

        self._made["processor"] = Processor(programs)

    def _tool(self, about: Mapping[str, Any], programs: Any, failures: Failures) -> None:
        from . import actions
        from .tool import Tool
        from .window import Window

        tool = Tool(programs, failures)
        self._made["tool"] = tool
        # a Kit without a user interface has neither of these; `command.py` is there in any
        with contextlib.suppress(ImportError):
            command = actions.register(about["command"], tool)
            self._closing.append(lambda: actions.unregister(command))
        with contextlib.suppress(ImportError):
            window = Window(about["title"], tool, programs.names)
            self._made["window"] = window
            self._closing.append(window.close)

    def _hooks(self, identifier: str, programs: Any, failures: Failures) -> None:
        from .hooks import AFTER, BEFORE, Hooks

        hooks = Hooks(programs, failures)
        self._made["hooks"] = hooks
        self._closing.append(hooks.close)
        self._frames.append(each_frame(BEFORE, identifier, lambda dt: hooks.frame(BEFORE, dt)))
        self._frames.append(each_frame(AFTER, identifier, lambda dt: hooks.frame(AFTER, dt)))


def _open_stage() -> Any:
    """The stage that Kit has open; None where there is none, or no USD in this Kit."""
    try:
        import omni.usd
    except ImportError:
        return None
    return omni.usd.get_context().get_stage()
