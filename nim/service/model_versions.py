"""The versions of models in requests of the Open Inference Protocol."""

from __future__ import annotations

from .request_errors import RequestError, input_error, not_found

_MAX_VERSION = 2**63 - 1
_WANTED = "version should be an integral value > 0"


def version_number(text: str) -> str:
    """The version `text` without leading zeros. Raises RequestError with status 400 if it is not a number of at most 64
    bits, or is negative."""
    digits = text.removeprefix("-").lstrip("0") or "0"
    if not text.removeprefix("-") or not _is_number(digits):
        string = f"failed to get model version from specified version string '{text[:128]}'"
        raise input_error(f"{string} (details: stol), {_WANTED}")
    if text.startswith("-") and digits != "0":
        raise input_error(f"invalid model version specified '{text[:128]}' , {_WANTED}")
    return digits


def path_version(text: str | None) -> str | None:
    """The version in the path of an HTTP request. Raises RequestError with status 404 unless it has digits only: as on
    Triton, no such path exists."""
    if text is not None and not (text.isascii() and text.isdigit()):
        raise _unknown(text)
    return text


def _is_number(digits: str) -> bool:
    return (
        digits.isascii() and digits.isdigit() and len(digits) <= len(str(_MAX_VERSION)) and int(digits) <= _MAX_VERSION
    )


def _unknown(text: str) -> RequestError:
    return not_found(f"Not Found; the version {text[:128]!r} in the path is not a number")
