"""The extension class that Kit starts and stops."""

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
    """The running extension. Raises RuntimeError if it is not enabled."""
    if not _running:
        raise RuntimeError(f"the extension {ID} is not enabled")
    return _running[-1]


class Extension(omni.ext.IExt):  # type: ignore[misc]
    """Owns the modules from startup to shutdown. ``failures`` maps modules that cannot be loaded to the reasons."""

    def on_startup(self, ext_id: str) -> None:
        """Load the modules, unless ``load_on_startup`` is off. Each failure is logged once; the other modules work."""
        self.failures: dict[str, str] = {}
        self._reported = Failures(lambda text: carb.log_error(f"[{ID}] {text}"))
        self._programs: Any = None
        self._reason = ""
        self._watch: Any = None
        self._parts: Any = None
        self._libraries = bundled.add(ROOT)
        _running.append(self)
        try:
            bundled.check(ABOUT["wasmtime"])
            self._start()
        except Exception as error:  # noqa: BLE001  # one line in the log instead of Kit's traceback
            self._reason = f"{short(error)}: see docs/README.md of the extension"
            self._reported.failed("the extension cannot start", error, "see its docs/README.md")

    def on_shutdown(self) -> None:
        """Free the modules and all other references."""
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
        gc.collect()  # right after this, Kit looks for objects that still exist

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all modules."""
        names: tuple[str, ...] = self._running_programs().names
        return names

    @property
    def limits(self) -> Any:
        """The limits of the next call, from the settings under ``/exts/<id>``, which can change while Kit runs."""
        return self._running_programs().limits

    def get_module(self, name: str) -> Any:
        """The loaded module, with ``interface`` and ``run({input: array})``.

        Raises LookupError for an unknown name, WasmError for a module that cannot be loaded.
        """
        return self._running_programs().get(name)

    def call_function(self, module: str, function: str | None, *args: Any) -> Any:
        """Call an export with arrays in the order of its inputs; returns its output, or a tuple of several outputs.

        Raises the errors of `get_module`; TypeError for too many or too few arrays; WasmError if the guest fails.
        """
        return self._running_programs().call(module, function, *args)

    def run(self, module: str, inputs: dict[str, Any], function: str | None = None) -> dict[str, Any]:
        """Call an export with arrays by input name; returns outputs by name. Raises the errors of `call_function`."""
        outputs: dict[str, Any] = self._running_programs().run(module, inputs, function)
        return outputs

    def __getattr__(self, name: str) -> Any:
        # `simulation`, `processor`, `tool` or `hooks`, depending on the extension's integration type
        parts = self.__dict__.get("_parts")
        if parts is None or name.startswith("_"):
            raise AttributeError(name)
        return getattr(parts, name)

    def _running_programs(self) -> Any:
        if getattr(self, "_programs", None) is None:
            raise RuntimeError(f"the extension {ID} is shut down" if not self._reason else f"{ID}: {self._reason}")
        return self._programs

    def _start(self) -> None:
        from .integration import Integration
        from .programs import Programs

        table = json.loads(Path(__file__).with_name("modules.json").read_text(encoding="utf-8"))
        try:
            self._programs = Programs(ROOT, table, _limits(), _log)
        except Exception as error:  # noqa: BLE001  # an invalid setting: report it, and use the defaults
            self._reported.failed(f"the settings under {SETTINGS}", error, "the defaults apply")
            self._programs = Programs(ROOT, table, {}, _log)
        settings = carb.settings.get_settings()
        self._watch = settings.subscribe_to_tree_change_events(SETTINGS, _on_change(self._programs, self._reported))
        if settings.get(f"{SETTINGS}/load_on_startup"):
            for name in self._programs.names:
                self._load(name)
        self._parts = Integration(ID, ABOUT, self._programs, self._reported, settings.get)

    def _load(self, name: str) -> None:
        try:
            self._programs.get(name)
        except Exception as error:  # noqa: BLE001  # the failure is reported, and the other modules work
            self.failures[name] = str(error)
            self._reported.failed(f"the module {name} cannot be loaded", error)


def _limits() -> dict[str, Any]:
    settings = carb.settings.get_settings()
    values = {key: settings.get(f"{SETTINGS}/{key}") for key in ABOUT["limits"]}
    return {key: value for key, value in values.items() if value is not None}


def _on_change(programs: Any, reported: Failures) -> Callable[..., None]:
    """A callback for changes of this extension's settings: it applies the new limits to the next call."""

    def changed(*_: Any) -> None:
        what = f"the settings under {SETTINGS}"
        try:
            programs.limit(_limits())
        except Exception as error:  # noqa: BLE001  # the user finds it in the log
            reported.failed(what, error, "the previous settings apply")
        else:
            reported.works(what)

    return changed


def _log(stream: str, line: str) -> None:
    carb.log_info(f"[{ID}] {stream}: {line}")
