"""The passphrase of a private key, from the environment or a file. It is not a command line option, because every user
of a machine can read command lines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ...errors import UsageError

VARIABLE = "PORTALIS_SIGNING_PASSPHRASE"
FILE_VARIABLE = "PORTALIS_SIGNING_PASSPHRASE_FILE"
MAX_BYTES = 1024
HOW_TO_SET = f"Set {VARIABLE}, or set {FILE_VARIABLE} to the path of a file that contains the passphrase."


def signing_passphrase(environment: Mapping[str, str] = os.environ) -> bytes | None:
    """Return the passphrase, or None if neither variable is set.

    Raises UsageError if both variables are set, or if the file cannot be read or is empty.
    """
    value, file = environment.get(VARIABLE), environment.get(FILE_VARIABLE)
    if value and file:
        raise UsageError(
            f"{VARIABLE} and {FILE_VARIABLE} are both set", remediation=f"Unset {VARIABLE} or {FILE_VARIABLE}."
        )
    if value:
        return os.fsencode(value)
    return read_passphrase_file(Path(file)) if file else None


def read_passphrase_file(path: Path) -> bytes:
    """Return the passphrase in a file, without the line break at its end. Raises UsageError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the passphrase file {path} cannot be read: {error.strerror or error}") from None
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    if not data or len(data) > MAX_BYTES:
        reason = "is empty" if not data else f"has more than {MAX_BYTES} bytes"
        raise UsageError(
            f"the passphrase file {path} {reason}", remediation=f"Write the passphrase, and nothing else, into {path}."
        )
    return data
