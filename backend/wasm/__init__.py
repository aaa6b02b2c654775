"""Reader and writer of the WebAssembly binary format."""
