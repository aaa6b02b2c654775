"""Reads and writes the WebAssembly binary format."""
