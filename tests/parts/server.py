"""Triton Inference Server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lookup import Missing, part

if TYPE_CHECKING:
    from portalis.tritonserver import TritonInstall


@part("triton")
def tritonserver() -> TritonInstall:
    """An installed Triton server with a Python stub for this interpreter and the libpython of the stub."""
    from portalis.errors import MissingPart
    from portalis.tritonserver import find_tritonserver
    from portalis.tritonserver.backend_layout import find_libpython

    try:
        install = find_tritonserver()
        find_libpython(install)
    except MissingPart as error:
        raise Missing(str(error)) from None
    return install
