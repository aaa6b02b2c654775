"""Frame hooks for renderers and custom integrations: a module is called before or after each frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .log import Failures

Give = Callable[[float], "Mapping[str, Any] | None"]
Take = Callable[["Mapping[str, Any]"], None]
BEFORE, AFTER = "pre", "post"


class Hooks:
    """Calls modules in each frame, with arrays from callbacks.

    If a hook fails, the log reports it once, and the hook is removed.
    """

    def __init__(self, programs: Any, failures: Failures) -> None:
        self._programs = programs
        self._failures = failures
        self._hooks: dict[str, dict[int, tuple[str, Give, Take]]] = {BEFORE: {}, AFTER: {}}
        self._next = 0

    def pre_frame(self, module: str, give: Give, take: Take) -> int:
        """Before each frame, call ``give(dt)``, the module with the returned inputs by name, and ``take(outputs)`` with
        its outputs by name. If ``give`` returns None, the frame is skipped.

        Returns the argument for `remove`. Raises LookupError for an unknown module, WasmError for one that cannot be
        loaded.
        """
        return self._add(BEFORE, module, give, take)

    def post_frame(self, module: str, give: Give, take: Take) -> int:
        """Like `pre_frame`, but after each frame, when the rendered image can be read back."""
        return self._add(AFTER, module, give, take)

    def remove(self, hook: int) -> None:
        """Remove a hook; does nothing if it is already removed."""
        for hooks in self._hooks.values():
            hooks.pop(hook, None)

    def frame(self, when: str, dt: float) -> None:
        """Call all hooks of ``pre`` or ``post``. Kit calls this method in each frame; it raises no exception."""
        for key, (module, give, take) in list(self._hooks[when].items()):
            try:
                inputs = give(dt)
                if inputs is not None:
                    take(self._programs.run(module, inputs))
            except Exception as error:  # noqa: BLE001  # Kit would log it in each frame
                self.remove(key)
                self._failures.failed(f"the {when}-frame hook of module {module}", error, "the hook is removed")

    def close(self) -> None:
        """Remove all hooks."""
        for hooks in self._hooks.values():
            hooks.clear()

    def _add(self, when: str, module: str, give: Give, take: Take) -> int:
        self._programs.get(module)
        self._next += 1
        self._hooks[when][self._next] = (module, give, take)
        return self._next
