"""The image of Triton with the `wasm` backend: Dockerfile.triton, and what it is built from."""

from .triton_context import triton_context

__all__ = ["triton_context"]
