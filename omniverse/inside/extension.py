"""What Kit starts and stops."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import carb
import carb.settings
import omni.ext

from . import bundled
from .log import Failures, short

ABOUT: dict[str, Any] = json.loads(Path(__file__).with_name("about.json").read_text(encoding="utf-8"))
ID: str = ABOUT["id"]
ROOT = Path(__file__).resolve().parents[ABOUT["depth"]]
SETTINGS = f"/exts/{ID}"
_running: list[Extension] = []


def get_extension() -> Extension:
    """The running extension. Raises RuntimeError while Kit has it not enabled."""
    if not _running:
        raise RuntimeError(f"the extension {ID} is not enabled")
    return _running[-1]


class Extension(omni.ext.IExt):  # type: ignore[misc]
    """Holds the modules from startup to shutdown. ``failures`` says of a module that cannot be loaded why not."""

    def on_startup(self, ext_id: str) -> None:
        """Load the modules, unless ``load_on_startup`` is off. What cannot be is logged, once; the rest works."""
        self.failures: dict[str, str] = {}
        self._told = Failures(lambda text: carb.log_error(f"[{ID}] {text}"))
        self._programs: Any = None
        self._why = ""
        self._watch: Any = None
        self._parts: Any = None
        self._libraries = bundled.add(ROOT)
        _running.append(self)
        try:
            bundled.check(ABOUT["wasmtime"])
            self._start()
        except Exception as problem:  # noqa: BLE001  # Kit would show a traceback, and this says the same in one line
            self._why = f"{short(problem)}: see docs/README.md of the extension"
            self._told.failed("the extension cannot start", problem, "see its docs/README.md")

    def on_shutdown(self) -> None:
        """Free the modules, and hold on to nothing."""
        if self in _running:
            _running.remove(self)
        settings = carb.settings.get_settings()
        if getattr(self, "_watch", None) is not None:
            settings.unsubscribe_to_change_events(self._watch)
            self._watch = None
        if getattr(self, "_parts", None) is not None:
            self._parts.close()
            self._parts = None
        if getattr(self, "_programs", None) is not None:
            self._programs.close()
            self._programs = None
            from .runtime import forget

            forget()
        bundled.remove(getattr(self, "_libraries", None))
        gc.collect()  # Kit looks for objects that are still there right after this

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all modules."""
        names: tuple[str, ...] = self._alive().names
        return names

    @property
    def limits(self) -> Any:
        """The limits of the next call; the settings under ``/exts/<id>`` set them, also while Kit runs."""
        return self._alive().limits

    def get_module(self, name: str) -> Any:
        """The loaded module: it has ``interface`` and ``run({input: array})``.

        Raises LookupError for a name that is not there, WasmError for a module that cannot be loaded.
        """
        return self._alive().get(name)

    def call_function(self, module: str, function: str | None, *args: Any) -> Any:
        """Call an export with arrays in the order of its inputs; its output is returned, or a tuple of several.

        Raises what `get_module` raises; TypeError for too many or too few arrays; WasmError when the guest fails.
        """
        return self._alive().call(module, function, *args)

    def run(self, module: str, inputs: dict[str, Any], function: str | None = None) -> dict[str, Any]:
        """Call an export with arrays by the names of its inputs; its outputs by name. Raises the same."""
        outputs: dict[str, Any] = self._alive().run(module, inputs, function)
        return outputs

    def __getattr__(self, name: str) -> Any:
        # `simulation`, `processor`, `tool` or `hooks`: what this extension's integration type has
        parts = self.__dict__.get("_parts")
        if parts is None or name.startswith("_"):
            raise AttributeError(name)
        return getattr(parts, name)

    def _alive(self) -> Any:
        if getattr(self, "_programs", None) is None:
            raise RuntimeError(f"the extension {ID} is shut down" if not self._why else f"{ID}: {self._why}")
        return self._programs

    def _start(self) -> None:
        from .integration import Integration
        from .programs import Programs

        table = json.loads(Path(__file__).with_name("modules.json").read_text(encoding="utf-8"))
        try:
            self._programs = Programs(ROOT, table, _limits(), _log)
        except Exception as problem:  # noqa: BLE001  # a setting that cannot be: say so, and go on with the defaults
            self._told.failed(f"the settings under {SETTINGS}", problem, "the defaults are in force")
            self._programs = Programs(ROOT, table, {}, _log)
        settings = carb.settings.get_settings()
        self._watch = settings.subscribe_to_tree_change_events(SETTINGS, _changed(self._programs, self._told))
        if settings.get(f"{SETTINGS}/load_on_startup"):
            for name in self._programs.names:
                self._load(name)
        self._parts = Integration(ID, ABOUT, self._programs, self._told, settings.get)

    def _load(self, name: str) -> None:
        try:
            self._programs.get(name)
        except Exception as problem:  # noqa: BLE001  # one that cannot be loaded is told, and the others work
            self.failures[name] = str(problem)
            self._told.failed(f"the module {name} cannot be loaded", problem)


def _limits() -> dict[str, Any]:
    settings = carb.settings.get_settings()
    given = {key: settings.get(f"{SETTINGS}/{key}") for key in ABOUT["limits"]}
    return {key: value for key, value in given.items() if value is not None}


def _changed(programs: Any, told: Failures) -> Callable[..., None]:
    """What Kit calls when a setting of this extension changes: the next call of a module is under the new limits."""

    def changed(*_: Any) -> None:
        what = f"the settings under {SETTINGS}"
        try:
            programs.limit(_limits())
        except Exception as problem:  # noqa: BLE001  # the one who sets it reads it in the log
            told.failed(what, problem, "what was set before is in force")
        else:
            told.works(what)

    return changed


def _log(stream: str, line: str) -> None:
    carb.log_info(f"[{ID}] {stream}: {line}")
