"""Engines with a pool of memories, as in the native core. Modules that such an engine rejects must be rejected earlier."""

from __future__ import annotations

import functools

import wasmtime
from wasmtime import _ffi as ffi

from portalis.backend import constants
from portalis.backend.compile.engine import EngineSettings, engine_config

MEMORIES = 16


def pool(config: wasmtime.Config, **other: int) -> wasmtime.Config:
    """`config` with a pool of the bounds in `facts`, or of `other` ones."""
    made = ffi.wasmtime_pooling_allocation_config_new()
    bounds = {
        "total_memories": MEMORIES,
        "total_core_instances": 4 * MEMORIES,
        "total_tables": 4 * MEMORIES,
        "max_memories_per_module": constants.MAX_MEMORIES,
        "max_tables_per_module": constants.MAX_TABLES,
        "table_elements": constants.MAX_TABLE_ELEMENTS,
        "max_core_instance_size": constants.MAX_INSTANCE_BYTES,
        "max_memory_size": 4 << 30,
    }
    for name, value in (bounds | other).items():
        getattr(ffi, f"wasmtime_pooling_allocation_config_{name}_set")(made, value)
    ffi.wasmtime_pooling_allocation_strategy_set(config.ptr(), made)
    ffi.wasmtime_pooling_allocation_config_delete(made)
    return config


@functools.cache
def engine(settings: EngineSettings = EngineSettings()) -> wasmtime.Engine:  # noqa: B008  # it is frozen
    """An engine with a pool."""
    return wasmtime.Engine(pool(engine_config(settings)))
