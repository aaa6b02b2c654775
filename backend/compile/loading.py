"""Reads ``.wasm`` files and compiles modules through the cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
from ctypes import POINTER, byref, c_uint8
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import wasmtime
from wasmtime import _ffi as ffi

from ..errors import ModuleError
from ..limits import Limits
from ..setting_names import TRITON_NAMES, SettingNames
from ..wasm.binary import without_custom_sections
from ..wasm.module_file import check_size, read_file
from .cache import CompileCache, cache_key
from .compiler import compile_module
from .engine import EngineSettings, engine_for

Source = str | os.PathLike[str] | bytes | bytearray | memoryview


def read_source(source: Source, limits: Limits, setting_names: SettingNames = TRITON_NAMES) -> bytes:
    """The module's bytes. Raises ModuleError unless `source` is bytes or a readable regular file within the limit."""
    advice = f"raise {setting_names.limit_name('max_module_bytes')}"
    if isinstance(source, (bytes, bytearray, memoryview)):
        check_size(memoryview(source).nbytes, source_name(source), limits.max_module_bytes, advice)
        return bytes(source)
    return read_file(source, limits.max_module_bytes, advice)


def source_name(source: Source) -> str:
    """The name of a module in errors: its path, or "the module"."""
    return "the module" if isinstance(source, (bytes, bytearray, memoryview)) else os.fspath(source)


class CompiledModule(NamedTuple):
    """A compiled module, and its serialized machine code."""

    module: wasmtime.Module
    code: bytes | memoryview


@dataclass(frozen=True)
class ModuleCompiler:
    """Compiles the modules of one program through the `cache`.

    Errors refer to the module as `name`, and to settings as in `setting_names`.
    """

    limits: Limits
    cache: CompileCache | None
    trusted: bool
    name: str
    setting_names: SettingNames

    def compile(self, wasm: bytes, settings: EngineSettings, *, builtin: bool = False) -> CompiledModule:
        """Compile a module. Only `builtin` modules, generated or shipped with this package, are always trusted.

        Other modules are compiled without their names (see `guest_faults`).
        """
        engine = engine_for(settings)
        if not builtin:
            wasm = without_custom_sections(wasm)
        key = cache_key(hashlib.sha256(wasm).hexdigest(), repr(settings))
        code = self.cache.get(key) if self.cache is not None else None
        if code is not None:
            with contextlib.suppress(ModuleError):  # from a different build of the same version: compiled again below
                return CompiledModule(deserialize_module(engine, code), code)
        fresh = compile_module(
            wasm,
            settings,
            timeout_s=self.limits.compile_timeout_s,
            trusted=builtin or self.trusted,
            name=self.name,
            setting_names=self.setting_names,
        )
        if self.cache is not None:
            self.cache.put(key, fresh)
        return CompiledModule(deserialize_module(engine, fresh), fresh)


def deserialize_module(engine: wasmtime.Engine, code: bytes | bytearray | memoryview) -> wasmtime.Module:
    """The module of serialized machine code, which must come from a trusted source. Raises ModuleError.

    It avoids the copy of the code that wasmtime-py's function makes.
    """
    view = np.frombuffer(code, dtype=np.uint8)
    module = POINTER(ffi.wasmtime_module_t)()
    error: Any = ffi.wasmtime_module_deserialize(
        engine.ptr(), view.ctypes.data_as(POINTER(c_uint8)), view.size, byref(module)
    )
    if error:
        raise ModuleError(f"the compiled module cannot be loaded: {wasmtime.WasmtimeError._from_ptr(error)}")
    return wasmtime.Module._from_ptr(module)
