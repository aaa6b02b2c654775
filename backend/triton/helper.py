"""Plans for the native executor inside Triton: answers its questions on standard input, one after the other, and ends
when nobody asks for a while.

A question is a length (u32) and ``VERSION COMPLETES FOLDER``, a newline, and the model's configuration in JSON. An
answer is a kind in four bytes, a length (u32) and as many bytes: ``P`` the path of wasmtime's library, NULs up to a
multiple of 8, and a plan; ``R`` why the model runs in Triton's Python backend instead; ``E`` what is wrong with it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import struct
from pathlib import Path
from typing import Any, BinaryIO

from ..compile.cache import CompileCache
from ..compile.engine import EngineSettings
from ..compile.loading import ModuleCompiler
from ..errors import WasmError
from ..executor.core_library import WASMTIME_LIBRARY, struct_sizes
from ..executor.wasmtime_version import wasmtime_incompatibility
from ..plan.layout import pack_plan
from ..plan.planner import Isolation, plan_entry
from ..setting_names import TRITON_NAMES
from .config import complete_config, read_model
from .engine_selection import Engine, native_obstacle, native_required_error

IDLE_S = 20.0
_LENGTH = struct.Struct("<I")


class UsePythonBackend(Exception):
    """The model runs in Triton's Python backend, for the reason in the text."""


class _Completed:
    """What `model_config.complete` fills in: Triton's configuration as a dictionary."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def as_dict(self) -> dict[str, Any]:
        return self.config

    def _add(self, side: str, item: dict[str, Any]) -> None:
        items = self.config.setdefault(side, [])
        items[:] = [i for i in items if i.get("name") != item["name"]] + [item]

    def add_input(self, item: dict[str, Any]) -> None:
        self._add("input", item)

    def add_output(self, item: dict[str, Any]) -> None:
        self._add("output", item)

    def set_max_batch_size(self, size: int) -> None:
        self.config["max_batch_size"] = size

    def set_dynamic_batching(self) -> None:
        """A native model is faster without."""


def main() -> None:
    """Answer on standard output; nothing else is written there."""
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])  # what the server left open, such as its ports
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions = os.fdopen(0, "rb")  # nothing is left in its buffer: the server waits for an answer before it asks again
    cache = CompileCache()
    while select.select([questions], [], [], IDLE_S)[0]:
        question = _read(questions)
        if question is None:
            return
        kind, content = _respond(question, cache)
        answers.write(kind.ljust(4, b"\0") + _LENGTH.pack(len(content)))
        answers.write(content)
        answers.flush()


def _read(source: BinaryIO) -> bytes | None:
    """The next question, None where the server has gone."""
    head = source.read(_LENGTH.size)
    size = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
    question = source.read(size)
    return question if size and len(question) == size else None


def _respond(question: bytes, cache: CompileCache) -> tuple[bytes, bytes | bytearray]:
    try:
        head, _, text = question.partition(b"\n")
        version, completes, folder = head.split(b" ", 2)
        return b"P", _plan(json.loads(text), Path(os.fsdecode(folder)) / version.decode(), completes == b"1", cache)
    except UsePythonBackend as reason:
        return b"R", str(reason).encode()
    except WasmError as problem:
        return b"E", str(problem).encode("utf-8", "surrogateescape")
    except Exception as problem:  # noqa: BLE001  # the server has to know, whatever it is
        return b"E", f"the planner failed: {type(problem).__name__}: {problem}".encode("utf-8", "replace")


def _plan(config: dict[str, Any], folder: Path, completes: bool, cache: CompileCache) -> bytearray:
    model = read_model(config, folder)
    chosen, interface = model.settings, model.interface
    why = (
        "wasm.engine is python"
        if chosen.engine is Engine.PYTHON
        else native_obstacle(interface, chosen.threads) or wasmtime_incompatibility()
    )
    if why is not None:
        raise UsePythonBackend(native_required_error(why) if chosen.engine is Engine.NATIVE else why)
    if completes:
        complete_config(interface, config, _Completed(config))
    made = plan_entry(model.wasm, model.info, interface, Isolation(chosen.isolation), chosen.limits, TRITON_NAMES)
    settings = EngineSettings(chosen.limits.max_stack_bytes, signals_based_traps=False)
    compiling = ModuleCompiler(chosen.limits, cache, chosen.trusted, str(model.path), TRITON_NAMES)
    code = [compiling.compile(module.wasm, settings, own=module.own).code for module in made.modules]
    block = pack_plan(
        made,
        code,
        names=model.info.named_functions(),
        signals=False,
        layouts=struct_sizes(),
        configuration=json.dumps(config) if completes else "",
    )
    library = os.fsencode(WASMTIME_LIBRARY) + b"\0"
    return bytearray(library + bytes(-len(library) % 8)) + block
