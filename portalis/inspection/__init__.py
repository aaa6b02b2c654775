"""Inspection of WebAssembly modules for deployment: metadata, features, WASI compliance and interface."""

from __future__ import annotations

from ..backend import WasmError  # raised by `inspect_module`
from ..backend.wasm.producers import Producer
from .inspector import inspect_module, producers
from .result import Finding, Inspection

__all__ = ["Finding", "Inspection", "Producer", "WasmError", "inspect_module", "producers"]
