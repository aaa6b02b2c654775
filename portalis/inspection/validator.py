"""Validates modules with wasmtime, without a copy. Only this module of `inspection` uses wasmtime's C bindings."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Set
from typing import Any, Final

import numpy as np
import wasmtime
from wasmtime import _ffi as ffi

from ..backend.compile.engine import EngineSettings, engine_config

# The proposals that wasmtime can disable one by one, each with the proposals that it depends on.
PROPOSALS: Final[dict[str, tuple[str, ...]]] = {
    "simd": (),
    "relaxed-simd": ("simd",),
    "bulk-memory": (),
    "reference-types": (),
    "function-references": ("reference-types",),
    "gc": ("function-references",),
    "multi-value": (),
    "wide-arithmetic": ("multi-value",),
    "tail-call": (),
    "threads": (),
    "multi-memory": (),
    "memory64": (),
    "exceptions": (),
}
ALL: Final = frozenset(PROPOSALS)


def with_bases(proposals: Set[str]) -> frozenset[str]:
    """`proposals` with all those that they depend on."""
    found = set(proposals)
    while more := {base for name in found for base in PROPOSALS[name]} - found:
        found |= more
    return frozenset(found)


def all_without(proposal: str) -> frozenset[str]:
    """All proposals except this one and those that depend on it."""
    return frozenset(name for name in PROPOSALS if proposal not in with_bases({name}))


def validation_error(module: bytes | memoryview, proposals: Set[str] = ALL) -> str | None:
    """The reason why `module` is not valid with only `proposals` enabled, or None.

    `proposals` must be closed under `with_bases`. Takes one pass over the module, without a copy or the GIL.
    """
    return _validate(_engine(frozenset(proposals)), module)


def sandbox_error(module: bytes | memoryview) -> str | None:
    """The reason why the runtime's sandbox rejects `module`, or None. Modules that it accepts are valid."""
    return _validate(_sandbox(), module)


def _validate(engine: wasmtime.Engine, module: bytes | memoryview) -> str | None:
    # wasmtime.Module.validate copies the module twice
    raw = np.frombuffer(module, np.uint8)
    start = raw.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
    error: Any = ffi.wasmtime_module_validate(engine.ptr(), start, raw.size)
    return str(wasmtime.WasmtimeError._from_ptr(error)) if error else None


@functools.lru_cache(maxsize=64)
def _engine(proposals: frozenset[str]) -> wasmtime.Engine:
    config = wasmtime.Config()
    # a feature of components: while it is enabled, reference types cannot be disabled
    ffi.wasmtime_config_wasm_component_model_async_set(config.ptr(), False)
    for name in PROPOSALS:
        setattr(config, f"wasm_{name.replace('-', '_')}", name in proposals)
    return wasmtime.Engine(config)


@functools.cache
def _sandbox() -> wasmtime.Engine:
    return wasmtime.Engine(engine_config(EngineSettings()))
