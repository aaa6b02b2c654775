"""What a WebAssembly module is, for who wants to deploy it: outside, features used, WASI compliance, interface."""

from __future__ import annotations

from ..backend import WasmError  # what `inspect` raises
from .inspector import inspect
from .result import Finding, Inspection

__all__ = ["Finding", "Inspection", "WasmError", "inspect"]
