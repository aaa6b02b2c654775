"""What the engine's pool has room for in one module: enforced when a module is loaded, with or without the pool."""

from __future__ import annotations

PAGE = 65536  # bytes of a page of linear memory
MAX_MEMORIES = 2
MAX_TABLES = 4
MAX_TABLE_ELEMENTS = 100_000
MAX_INSTANCE_BYTES = 8 << 20
"""Of wasmtime's own data of an instance: 16 bytes a global, 32 a function that is exported or in a table."""
GLOBAL_BYTES, FUNCTION_BYTES = 16, 32
INSTANCE_BASE_BYTES = 64 << 10
"""All the rest of an instance, generously: imports, memories, tables, the header."""
