"""Portalis turns WebAssembly modules into Triton deployments."""

__version__ = "0.1.0"
