"""WASI programs in a runtime of another process: Wasmer or WasmEdge."""
