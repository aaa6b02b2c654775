"""Numbers and tables on which several parts must agree: sizes, bounds and data types.

This module imports nothing of ours, so that generators can use it without the runtime. ``adapter/control.h`` has those
that C needs, too (a test compares them).
"""

from __future__ import annotations

from typing import Final, NamedTuple

PAGE: Final = 65536
"""Bytes of a page of linear memory."""
MAX_PAGES: Final = 65536
"""Of a memory: 4 GiB."""
ALIGN: Final = 64
"""Bytes to which tensors are aligned in linear memory: a cache line, and what DLPack asks for."""
MAX_TENSORS: Final = 128
"""Inputs and outputs of an entry."""
MAX_RANK: Final = 8
"""Of a tensor, the batch dimension included."""
MAX_OUT_RANK: Final = 16
"""Of what a gufunc gives before it is checked: loop dimensions and core dimensions together."""
MAX_OPERANDS: Final = 16
"""Parameters and results of an elementwise entry."""

# What the engine's pool has room for in one module: enforced when a module is loaded, with or without the pool.
MAX_MEMORIES: Final = 2
MAX_TABLES: Final = 4
MAX_TABLE_ELEMENTS: Final = 100_000
MAX_INSTANCE_BYTES: Final = 8 << 20
"""Of wasmtime's own data of an instance: 16 bytes a global, 32 a function that is exported or in a table."""
GLOBAL_BYTES: Final = 16
FUNCTION_BYTES: Final = 32
INSTANCE_BASE_BYTES: Final = 64 << 10
"""All the rest of an instance, generously: imports, memories, tables, the header."""
CHECKED_SLOT_BYTES: Final = 256 << 20
"""Of address space, for a memory whose code checks its addresses itself."""

SPARE_BYTES: Final = 256 << 10
"""So much more than the tensors of a call need is always worth clearing in an instance that served larger ones."""
SIZES_KEPT: Final = 4
"""Idle instances with blocks of other sizes than a call needs, before one of them is replaced."""

INT, UINT, FLOAT, BFLOAT, BOOL = 0, 1, 2, 4, 6
"""DLPack's type codes (``DLDataTypeCode``, DLPack 1.0)."""


class DataTypeRow(NamedTuple):
    """A data type of tensors. ``number`` is Triton's (``DataType`` in model_config.proto, `TRITONSERVER_DataType`);
    ``size`` is the bytes of an element, 0 for BYTES, whose elements have a length of their own; ``wasm`` is the value
    type that carries an element through an elementwise call, "" where none can; ``numpy`` is the type of its arrays:
    raw bits for BF16, which NumPy lacks."""

    name: str
    number: int
    size: int
    code: int
    wasm: str
    numpy: str


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
"""By name. The order is that of lists for people."""
