"""The real tritonserver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lookup import Missing, part

if TYPE_CHECKING:
    from portalis.tritonserver import TritonInstall


@part("triton")
def tritonserver() -> TritonInstall:
    """The real server, with a stub for this interpreter and a libpython for that stub."""
    from portalis.errors import MissingPart
    from portalis.tritonserver import find_tritonserver
    from portalis.tritonserver.backend_layout import find_libpython

    try:
        install = find_tritonserver()
        find_libpython(install)
    except MissingPart as problem:
        raise Missing(str(problem)) from None
    return install
