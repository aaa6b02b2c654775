"""Constants shared by several modules: sizes, bounds, data types and the supported version of wasmtime.

This module imports nothing of this package, so that generators can use it without the runtime. ``adapter/control.h``
repeats the constants that C needs (a test compares them).
"""

from __future__ import annotations

from typing import Final, NamedTuple

WASMTIME_MAJOR: Final = 50
"""The major version of wasmtime that the native libraries are built for."""
WASMTIME_REQUIREMENT: Final = f"wasmtime>={WASMTIME_MAJOR},<{WASMTIME_MAJOR + 1}"
"""The requirement for pip, as in pyproject.toml (a test compares them)."""

PAGE: Final = 65536
"""Size of a page of linear memory, in bytes."""
MAX_PAGES: Final = 65536
"""Maximum size of a memory in pages (4 GiB)."""
ALIGN: Final = 64
"""Alignment of tensors in linear memory, in bytes: a cache line, and the alignment that DLPack requires."""
MAX_TENSORS: Final = 128
"""Maximum number of inputs and outputs of an entry."""
MAX_RANK: Final = 8
"""Maximum rank of a tensor, the batch dimension included."""
MAX_OUT_RANK: Final = 16
"""Maximum rank of a gufunc's output before it is checked: loop and core dimensions together."""
MAX_OPERANDS: Final = 16
"""Maximum number of parameters and results of an elementwise entry."""

# Capacity of the engine's pool per module; enforced when a module is loaded, with or without the pool.
MAX_MEMORIES: Final = 2
MAX_TABLES: Final = 4
MAX_TABLE_ELEMENTS: Final = 100_000
MAX_INSTANCE_BYTES: Final = 8 << 20
"""Maximum size of wasmtime's data of an instance: 16 bytes per global, 32 per exported or table function."""
GLOBAL_BYTES: Final = 16
FUNCTION_BYTES: Final = 32
INSTANCE_BASE_BYTES: Final = 64 << 10
"""Upper bound for the remaining data of an instance: imports, memories, tables, the header."""
CHECKED_SLOT_BYTES: Final = 256 << 20
"""Address space reserved for a memory whose code checks its addresses itself."""

SPARE_BYTES: Final = 256 << 10
"""An instance that served larger tensors is reused for a call that needs up to this many bytes less."""
MAX_IDLE_SIZES: Final = 4
"""Maximum number of idle instances with tensor blocks of unsuitable sizes; beyond it one of them is replaced."""

INT, UINT, FLOAT, BFLOAT, BOOL = 0, 1, 2, 4, 6
"""DLPack's type codes (``DLDataTypeCode``, DLPack 1.0)."""


class DataTypeRow(NamedTuple):
    """A data type of tensors."""

    name: str
    number: int
    """Triton's number (``DataType`` in model_config.proto, `TRITONSERVER_DataType`)."""
    size: int
    """Size of an element in bytes; 0 for BYTES, whose elements vary in length."""
    code: int
    """DLPack's type code."""
    wasm: str
    """The value type of an element in an elementwise call; "" if it has none."""
    numpy: str
    """The dtype of its arrays; for BF16, which NumPy lacks, that of its raw bits."""


DATA_TYPES: Final = {
    row.name: row
    for row in (
        DataTypeRow("BOOL", 1, 1, BOOL, "i32", "bool"),
        DataTypeRow("UINT8", 2, 1, UINT, "i32", "uint8"),
        DataTypeRow("UINT16", 3, 2, UINT, "i32", "uint16"),
        DataTypeRow("UINT32", 4, 4, UINT, "i32", "uint32"),
        DataTypeRow("UINT64", 5, 8, UINT, "i64", "uint64"),
        DataTypeRow("INT8", 6, 1, INT, "i32", "int8"),
        DataTypeRow("INT16", 7, 2, INT, "i32", "int16"),
        DataTypeRow("INT32", 8, 4, INT, "i32", "int32"),
        DataTypeRow("INT64", 9, 8, INT, "i64", "int64"),
        DataTypeRow("FP16", 10, 2, FLOAT, "f32", "float16"),
        DataTypeRow("FP32", 11, 4, FLOAT, "f32", "float32"),
        DataTypeRow("FP64", 12, 8, FLOAT, "f64", "float64"),
        DataTypeRow("BF16", 14, 2, BFLOAT, "f32", "uint16"),
        DataTypeRow("BYTES", 13, 0, UINT, "", "object"),
    )
}
"""Data types by name, in the order of lists in messages and documents."""
