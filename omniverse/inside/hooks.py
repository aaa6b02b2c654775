"""Hooks for a renderer, and for integrations of one's own: a module is called before or after each frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .log import Failures

Give = Callable[[float], "Mapping[str, Any] | None"]
Take = Callable[["Mapping[str, Any]"], None]
BEFORE, AFTER = "pre", "post"


class Hooks:
    """Modules that are called in each frame, over arrays that your code gives and takes.

    A hook that fails is told in the log once, and is taken out.
    """

    def __init__(self, programs: Any, failures: Failures) -> None:
        self._programs = programs
        self._failures = failures
        self._hooks: dict[str, dict[int, tuple[str, Give, Take]]] = {BEFORE: {}, AFTER: {}}
        self._next = 0

    def pre_frame(self, module: str, give: Give, take: Take) -> int:
        """Before each frame call ``give(dt)`` for the module's inputs by name (None: not in this frame), the module,
        and ``take(outputs)`` with its outputs by name. Returns what `remove` wants. Raises LookupError for a module
        that is not there, WasmError for one that cannot be loaded."""
        return self._add(BEFORE, module, give, take)

    def post_frame(self, module: str, give: Give, take: Take) -> int:
        """The same after each frame, when what was rendered can be read back."""
        return self._add(AFTER, module, give, take)

    def remove(self, hook: int) -> None:
        """Take a hook out; one that is out already is passed over."""
        for hooks in self._hooks.values():
            hooks.pop(hook, None)

    def frame(self, when: str, dt: float) -> None:
        """Call all hooks of ``pre`` or ``post``. Kit does so in each frame; nothing is raised."""
        for key, (module, give, take) in list(self._hooks[when].items()):
            try:
                inputs = give(dt)
                if inputs is not None:
                    take(self._programs.run(module, inputs))
            except Exception as problem:  # noqa: BLE001  # Kit would tell of it in each frame
                self.remove(key)
                self._failures.failed(f"the {when}-frame hook of module {module}", problem, "it is taken out")

    def close(self) -> None:
        """Forget everything."""
        for hooks in self._hooks.values():
            hooks.clear()

    def _add(self, when: str, module: str, give: Give, take: Take) -> int:
        self._programs.get(module)
        self._next += 1
        self._hooks[when][self._next] = (module, give, take)
        return self._next
