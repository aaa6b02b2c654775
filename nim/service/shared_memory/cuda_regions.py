"""CUDA shared memory, which the service does not have: the answers are those of a Triton without GPUs."""

from __future__ import annotations

from ..request_errors import RequestError, input_error, not_found
from .region_registry import MAX_NAME_CHARACTERS, RegionRegistry


def check_cuda_region(regions: RegionRegistry, name: str) -> None:
    """Check a request for the status of the CUDA region `name`; "" stands for all, of which there are none. Raises
    RequestError with status 404."""
    if not name:
        return
    shown = name[:MAX_NAME_CHARACTERS]
    if any(status.name == name for status in regions.status()):
        text = f"The region named '{shown}' is registered as system shared memory, not CUDA shared memory"
        raise not_found(text)
    raise not_found(f"Unable to find cuda shared memory region: '{shown}'")


def refuse_cuda_region(name: str) -> RequestError:
    """The error for the registration of a CUDA region."""
    shown = name[:MAX_NAME_CHARACTERS]
    return input_error(f"failed to register CUDA shared memory region: '{shown}', GPUs not supported")
