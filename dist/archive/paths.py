"""Which names can be those of files, on the systems where an archive may be unpacked."""

from __future__ import annotations

import re
import unicodedata

MAX_PATH_BYTES = 4096
_DRIVE = re.compile(r"[A-Za-z]:")
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


def path_trouble(path: str) -> str | None:
    """Why a file of an archive cannot have the path `path`: where it is unpacked, it could come to lie elsewhere."""
    parts = path.split("/")
    if path.startswith("/"):
        return "is an absolute path"
    if ".." in parts:
        return "leads out of the folder that it is unpacked in"
    if "" in parts or "." in parts:
        return "is no plain path: it has an empty part, or one that is a dot"
    if "\\" in path:
        return "has a backslash, which parts folders on Windows"
    if any(_DRIVE.match(part) for part in parts):
        return "names a drive of Windows"
    if any(unicodedata.category(each) in ("Cc", "Cs") for each in path):
        return "has control characters, or is not UTF-8"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    return None


def folded(path: str) -> str:
    """What `path` becomes where capitals, and ways to write an accent, make no difference."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
