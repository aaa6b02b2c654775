"""Where the passphrase of a private key comes from: the environment or a file, never the command line, which every user
of a machine can read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ...errors import UsageError

VARIABLE = "PORTALIS_SIGNING_PASSPHRASE"
FILE_VARIABLE = "PORTALIS_SIGNING_PASSPHRASE_FILE"
MAX_BYTES = 1024
HOW = f"Set {VARIABLE}, or {FILE_VARIABLE} to the path of a file that holds it."


def passphrase(environment: Mapping[str, str] = os.environ) -> bytes | None:
    """The passphrase that is given, or None. A file's line break at the end does not belong to it.

    Raises UsageError where both variables are set, or where the file cannot be read or holds none.
    """
    given, file = environment.get(VARIABLE), environment.get(FILE_VARIABLE)
    if given and file:
        raise UsageError(
            f"{VARIABLE} and {FILE_VARIABLE} are both set", remediation=f"Unset {VARIABLE} or {FILE_VARIABLE}."
        )
    if given:
        return os.fsencode(given)
    return from_file(Path(file)) if file else None


def from_file(path: Path) -> bytes:
    """The passphrase in a file. Raises UsageError."""
    try:
        with path.open("rb") as file:
            found = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the passphrase's file {path} cannot be read: {error.strerror or error}") from None
    found = found.removesuffix(b"\n").removesuffix(b"\r")
    if not found or len(found) > MAX_BYTES:
        what = "is empty" if not found else f"has more than {MAX_BYTES} bytes"
        raise UsageError(
            f"the passphrase's file {path} {what}", remediation=f"Write the passphrase, alone, into {path}."
        )
    return found
