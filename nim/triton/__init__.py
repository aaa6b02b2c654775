"""The Triton image with the `wasm` backend: the build context of Dockerfile.triton, its build and its smoke test."""

from .triton_context import triton_context

__all__ = ["triton_context"]
