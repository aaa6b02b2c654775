"""WASI commands run by Wasmer or WasmEdge, each in a separate process."""

from .process_runner import load_program

__all__ = ["load_program"]
