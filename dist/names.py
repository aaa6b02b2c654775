"""Which names can be those of files, on the systems where an archive may be unpacked."""

from __future__ import annotations

_SPECIAL = '/\\:*?"<>|'  # what Windows does not take; and tar takes what is before a colon for a host


def file_name_trouble(name: str) -> str | None:
    """Why `name` cannot be the name of a file."""
    if not name or name.startswith((".", "-", " ")) or name.endswith((".", " ")):
        return "is no file name (one that does not begin with a dot or dash, or end with a dot)"
    if any(each in _SPECIAL for each in name) or not name.isprintable():
        return f"is no file name (one without control characters and {' '.join(_SPECIAL)})"
    if len(name.encode()) > 200:
        return "is longer than the 200 bytes that a file name can well have"
    return None
