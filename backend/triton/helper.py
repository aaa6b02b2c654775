"""The planner process: creates plans for the native executor in Triton.

It serves requests on standard input sequentially, and exits after a time without requests. A request is a length (u32)
and ``VERSION COMPLETES FOLDER``, a newline, and the model configuration in JSON. A response is a kind in four bytes, a
length (u32) and that many bytes: ``P`` the path of wasmtime's library, NULs up to a multiple of 8, and a plan; ``R``
the reason why the model runs in Triton's Python backend; ``E`` an error message.
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
    """The model must run in Triton's Python backend; the message is the reason."""


class _Completed:
    """Triton's model configuration as a dictionary, with the methods that `complete_config` uses."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def as_dict(self) -> dict[str, Any]:
        """The configuration."""
        return self.config

    def _add(self, side: str, item: dict[str, Any]) -> None:
        items = self.config.setdefault(side, [])
        items[:] = [i for i in items if i.get("name") != item["name"]] + [item]

    def add_input(self, item: dict[str, Any]) -> None:
        """Add or replace an input."""
        self._add("input", item)

    def add_output(self, item: dict[str, Any]) -> None:
        """Add or replace an output."""
        self._add("output", item)

    def set_max_batch_size(self, size: int) -> None:
        """Set the maximum batch size."""
        self.config["max_batch_size"] = size

    def set_dynamic_batching(self) -> None:
        """Do nothing: a native model is faster without dynamic batching."""


def main() -> None:
    """Serve requests. Only responses are written to standard output."""
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])  # files of the server, such as its ports
    responses = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = os.fdopen(0, "rb")  # its buffer is empty when `select` waits: the server sends one request at a time
    cache = CompileCache()
    while select.select([requests], [], [], IDLE_S)[0]:
        request = _read(requests)
        if request is None:
            return
        kind, content = _respond(request, cache)
        responses.write(kind.ljust(4, b"\0") + _LENGTH.pack(len(content)))
        responses.write(content)
        responses.flush()


def _read(source: BinaryIO) -> bytes | None:
    """The next request; None if the server has ended."""
    head = source.read(_LENGTH.size)
    size = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
    request = source.read(size)
    return request if size and len(request) == size else None


def _respond(request: bytes, cache: CompileCache) -> tuple[bytes, bytes | bytearray]:
    try:
        head, _, text = request.partition(b"\n")
        version, completes, folder = head.split(b" ", 2)
        return b"P", _plan(json.loads(text), Path(os.fsdecode(folder)) / version.decode(), completes == b"1", cache)
    except UsePythonBackend as reason:
        return b"R", str(reason).encode()
    except WasmError as error:
        return b"E", str(error).encode("utf-8", "surrogateescape")
    except Exception as error:  # noqa: BLE001  # every error is reported to the server
        return b"E", f"the planner failed: {type(error).__name__}: {error}".encode("utf-8", "replace")


def _plan(config: dict[str, Any], folder: Path, completes: bool, cache: CompileCache) -> bytearray:
    model = read_model(config, folder)
    chosen, interface = model.settings, model.interface
    reason = (
        "wasm.engine is python"
        if chosen.engine is Engine.PYTHON
        else native_obstacle(interface, chosen.threads) or wasmtime_incompatibility()
    )
    if reason is not None:
        raise UsePythonBackend(native_required_error(reason) if chosen.engine is Engine.NATIVE else reason)
    if completes:
        complete_config(interface, config, _Completed(config))
    plan = plan_entry(model.wasm, model.info, interface, Isolation(chosen.isolation), chosen.limits, TRITON_NAMES)
    settings = EngineSettings(chosen.limits.max_stack_bytes, signals_based_traps=False)
    compiling = ModuleCompiler(chosen.limits, cache, chosen.trusted, str(model.path), TRITON_NAMES)
    code = [compiling.compile(module.wasm, settings, builtin=module.builtin).code for module in plan.modules]
    block = pack_plan(
        plan,
        code,
        names=model.info.named_functions(),
        signals=False,
        struct_sizes=struct_sizes(),
        configuration=json.dumps(config) if completes else "",
    )
    library = os.fsencode(WASMTIME_LIBRARY) + b"\0"
    return bytearray(library + bytes(-len(library) % 8)) + block
