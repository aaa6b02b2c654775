"""WASI commands run by Wasmer or WasmEdge, in a process of their own."""

from .process_runner import load_program

__all__ = ["load_program"]
