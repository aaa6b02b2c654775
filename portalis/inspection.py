"""What a WebAssembly module is, for who wants to deploy it: outside, features used, WASI compliance, interface."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

from .backend import Interface, WasmError
from .backend.binary import Export, FuncType, Import, MemoryType, read_module
from .backend.discovery import discover
from .backend.engine import EngineSettings, engine_config

WASI = "wasi_snapshot_preview1"
ABORT = "env.abort"  # AssemblyScript's; not of WASI, but the host provides it
# Proposals that wasmtime can switch off one at a time; each with what must go along.
_SWITCHES: dict[str, tuple[str, ...]] = {
    "simd": ("simd", "relaxed_simd"),
    "relaxed-simd": ("relaxed_simd",),
    "bulk-memory": ("bulk_memory",),
    "reference-types": ("reference_types", "function_references", "gc"),
    "function-references": ("function_references", "gc"),
    "multi-value": ("multi_value", "wide_arithmetic"),
    "tail-call": ("tail_call",),
    "threads": ("threads",),
    "multi-memory": ("multi_memory",),
    "memory64": ("memory64",),
    "exceptions": ("exceptions",),
    "gc": ("gc",),
    "wide-arithmetic": ("wide_arithmetic",),
}
_EXTRA = ("threads", "memory64", "exceptions", "gc", "function_references", "wide_arithmetic", "multi_memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A module's properties. ``memory_pages`` are pages of 64 KiB; ``invalid`` is the validator's message, or None;
    ``refused`` says why the sandbox does not take a valid module; ``interface`` is None where ``no_interface`` says
    why."""

    name: str
    size_bytes: int
    sha256: str
    exports: tuple[Export, ...]
    imports: tuple[Import, ...]
    memories: tuple[MemoryType, ...]
    tables: int
    start: bool
    custom_sections: tuple[tuple[str, int], ...]
    features: tuple[str, ...]
    wasi_compliant: bool
    not_wasi: tuple[str, ...]
    stateless: bool
    invalid: str | None
    refused: str | None
    interface: Interface | None
    no_interface: str | None

    @property
    def memory_pages(self) -> int:
        """The pages that the module starts with."""
        return sum(memory.minimum for memory in self.memories)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "name": self.name,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "valid": self.invalid is None,
            "invalid": self.invalid,
            "refused": self.refused,
            "exports": [{"name": e.name, "kind": e.kind, "type": _type_json(e.type)} for e in self.exports],
            "imports": [
                {"module": i.module, "name": i.name, "kind": i.kind, "type": _type_json(i.type)} for i in self.imports
            ],
            "memory_pages": self.memory_pages,
            "memories": [_type_json(memory) for memory in self.memories],
            "tables": self.tables,
            "start_function": self.start,
            "custom_sections": [{"name": name, "size_bytes": size} for name, size in self.custom_sections],
            "features": list(self.features),
            "wasi_compliant": self.wasi_compliant,
            "not_wasi": list(self.not_wasi),
            "stateless": self.stateless,
            "interface": self.interface.to_json() if self.interface else None,
            "interface_source": self.interface.source if self.interface else None,
            "no_interface": self.no_interface,
        }


def _type_json(kind: object) -> dict[str, Any] | None:
    if isinstance(kind, FuncType):
        return {"params": list(kind.params), "results": list(kind.results)}
    if isinstance(kind, MemoryType):
        limits = {"minimum": kind.minimum, "maximum": kind.maximum}
        return {**limits, "shared": kind.shared, "memory64": kind.memory64}
    return None if kind is None else {"type": str(kind)}


def inspect(path: Path, declared: Mapping[str, Any] | None = None) -> Inspection:
    """Inspect a file; `declared` are interface keys as in the ``portalis`` section.

    Raises ModuleError where the file is no module at all; what is only unusable is told in the result.
    """
    info = read_module(path)
    data = path.read_bytes()
    invalid = _validate(data, ())
    interface, why = None, None
    try:
        interface = discover(info, declared, where=str(path))
    except WasmError as error:
        why = str(error)
    not_wasi = tuple(f"{i.module}.{i.name}" for i in info.imports if not _is_wasi(i))
    return Inspection(
        name=path.name,
        size_bytes=info.size,
        sha256=hashlib.sha256(data).hexdigest(),
        exports=info.exports,
        imports=info.imports,
        memories=info.memories,
        tables=info.tables,
        start=info.start is not None,
        custom_sections=info.custom_sections,
        features=_features(data, invalid),
        wasi_compliant=not not_wasi,
        not_wasi=not_wasi,
        stateless=info.is_stateless(),
        invalid=invalid,
        refused=None if invalid else _refusal(data, not_wasi),
        interface=interface,
        no_interface=why,
    )


def _features(data: bytes, invalid: str | None) -> tuple[str, ...]:
    """Proposals that the module does not validate without."""
    if invalid is not None:
        return ()
    return tuple(sorted(name for name, off in _SWITCHES.items() if _validate(data, off) is not None))


def _refusal(data: bytes, not_wasi: tuple[str, ...]) -> str | None:
    """Why the sandbox would not load a valid module, or None."""
    missing = [name for name in not_wasi if name != ABORT]
    if missing:
        return (
            f"it imports what the host does not provide: {', '.join(missing)}. Provided are the functions of {WASI} and"
            f" {ABORT}; build the module without the others"
        )
    try:
        wasmtime.Module.validate(_sandbox(), data)
    except wasmtime.WasmtimeError as error:
        return f"it uses what the sandbox leaves out: {error}"
    return None


def _is_wasi(wanted: Import) -> bool:
    return wanted.module == WASI and wanted.type is not None and wanted.type == _wasi_functions().get(wanted.name)


@functools.cache
def _wasi_functions() -> dict[str, FuncType]:
    """The functions of WASI preview 1 that wasmtime knows, found by asking its linker."""
    engine = wasmtime.Engine()
    linker, store = wasmtime.Linker(engine), wasmtime.Store(engine)
    linker.define_wasi()
    found = {}
    for name in _PREVIEW_1.split():
        try:
            function = linker.get(store, WASI, name)
        except (KeyError, wasmtime.WasmtimeError):
            continue
        assert isinstance(function, wasmtime.Func)
        kind = function.type(store)
        found[name] = FuncType(tuple(map(str, kind.params)), tuple(map(str, kind.results)))
    return found


_PREVIEW_1 = """
args_get args_sizes_get clock_res_get clock_time_get environ_get environ_sizes_get fd_advise fd_allocate fd_close
fd_datasync fd_fdstat_get fd_fdstat_set_flags fd_fdstat_set_rights fd_filestat_get fd_filestat_set_size
fd_filestat_set_times fd_pread fd_prestat_dir_name fd_prestat_get fd_pwrite fd_read fd_readdir fd_renumber fd_seek
fd_sync fd_tell fd_write path_create_directory path_filestat_get path_filestat_set_times path_link path_open
path_readlink path_remove_directory path_rename path_symlink path_unlink_file poll_oneoff proc_exit proc_raise
random_get sched_yield sock_accept sock_recv sock_send sock_shutdown
"""


@functools.cache
def _engine(off: tuple[str, ...]) -> wasmtime.Engine:
    config = wasmtime.Config()
    # of components, which are no matter here, but reference types cannot be switched off while it is on
    ffi.wasmtime_config_wasm_component_model_async_set(config.ptr(), False)
    for name in _EXTRA:
        setattr(config, f"wasm_{name}", name not in off)
    for name in off:
        setattr(config, f"wasm_{name}", False)
    return wasmtime.Engine(config)


@functools.cache
def _sandbox() -> wasmtime.Engine:
    return wasmtime.Engine(engine_config(EngineSettings(pooling=False)))


def _validate(data: bytes, off: tuple[str, ...]) -> str | None:
    try:
        wasmtime.Module.validate(_engine(off), data)
    except wasmtime.WasmtimeError as error:
        return str(error).replace("\n", " ")
    return None
