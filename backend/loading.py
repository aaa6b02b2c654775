"""From a ``.wasm`` file to a compiled module, through the cache."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import wasmtime

from . import native
from .cache import CompileCache, cache_key
from .compiler import compile_module
from .engine import EngineSettings, engine_for
from .errors import ModuleError
from .limits import Limits
from .names import without_custom_sections


def read_source(source: str | os.PathLike[str] | bytes, limits: Limits) -> bytes:
    """The module's bytes. Raises ModuleError for what is not a readable regular file within the size limit."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        _check_size(len(data), "the module", limits)
        return data
    path = Path(source)
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise ModuleError(f"{path} is not a regular file")
        _check_size(info.st_size, str(path), limits)
        return path.read_bytes()
    except OSError as error:
        raise ModuleError(f"{path} cannot be read: {error.strerror or error}") from None


def _check_size(size: int, name: str, limits: Limits) -> None:
    if size > limits.max_module_bytes:
        raise ModuleError(
            f"{name} has {size} bytes, more than the limit of {limits.max_module_bytes} (raise wasm.max_module_bytes)"
        )


def load(
    wasm: bytes, settings: EngineSettings, limits: Limits, cache: CompileCache | None, *, trusted: bool, name: str
) -> wasmtime.Module:
    """The compiled module: from the cache where its authentic code lies there, else compiled and put there.

    It is compiled without its names (`faults` says why). Errors call it `name`."""
    engine = engine_for(settings)
    wasm = without_custom_sections(wasm)
    key = cache_key(hashlib.sha256(wasm).hexdigest(), settings.key())
    code = cache.get(key) if cache is not None else None
    if code is not None:
        try:
            return native.deserialize(engine, code)
        except ModuleError:
            pass  # made by another build of the same version: compile anew and replace it
    fresh = compile_module(wasm, settings, timeout_s=limits.compile_timeout_s, trusted=trusted, name=name)
    if cache is not None:
        cache.put(key, fresh)
    return native.deserialize(engine, fresh)
