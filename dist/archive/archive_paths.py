"""Rules for file names and paths in an archive: valid on every operating system that can unpack it."""

from __future__ import annotations

import re
import unicodedata

MAX_NAME_BYTES = 200  # file systems allow 255; the rest is for the endings of sidecar files
MAX_PATH_BYTES = 4096
_DRIVE = re.compile(r"[A-Za-z]:")
_SPECIAL = '/\\:*?"<>|'  # invalid on Windows; tar also reads the part before a colon as a host name


def file_name_problem(name: str) -> str | None:
    """Return the reason why `name` is not a valid file name, or None."""
    if not name or name.startswith((".", "-", " ")) or name.endswith((".", " ")):
        return "is not a valid file name: it is empty, begins with a dot, dash or space, or ends with a dot or space"
    if any(each in _SPECIAL for each in name) or not name.isprintable():
        return f"is not a valid file name: it contains control characters or one of {' '.join(_SPECIAL)}"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"is not a valid file name: it is longer than {MAX_NAME_BYTES} bytes"
    return None


def path_problem(path: str) -> str | None:
    """Return the reason why `path` is not allowed in an archive, or None. Unpacking such a path could write outside the
    target directory, or to different paths on different systems."""
    parts = path.split("/")
    if path.startswith("/"):
        return "is an absolute path"
    if ".." in parts:
        return "points outside the directory that it is unpacked in"
    if "" in parts or "." in parts:
        return "is not a normalized path: a component is empty or a dot"
    if "\\" in path:
        return "contains a backslash, which separates directories on Windows"
    if any(_DRIVE.match(part) for part in parts):
        return "contains a Windows drive letter"
    if any(unicodedata.category(each) in ("Cc", "Cs") for each in path):
        return "contains control characters, or is not UTF-8"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    return None


def fold_path(path: str) -> str:
    """Normalize `path` (case folding and Unicode NFC): two paths with the same result are the same file on a file
    system that ignores case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
