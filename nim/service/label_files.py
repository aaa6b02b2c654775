"""Label files: the labels of the classes of an output, one per line, as in Triton's model repositories."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .runtime_api import Interface, SettingsError

MAX_LABEL_BYTES = 16 << 20
"""Maximum size of a label file, which is kept in memory."""


def load_labels(folder: Path, files: Mapping[str, str], interface: Interface) -> dict[str, tuple[bytes, ...]]:
    """The labels in `folder` for the outputs that `files` names, by output.

    Raises SettingsError for an output that `interface` does not have, and for a file that is too large; OSError for a
    file that cannot be read.
    """
    outputs = [spec.name for spec in interface.outputs]
    labels = {}
    for output, name in files.items():
        if output not in outputs:
            raise SettingsError(f"labels: output {output[:128]!r} does not exist; the outputs are {', '.join(outputs)}")
        with (folder / name).open("rb") as file:
            content = file.read(MAX_LABEL_BYTES + 1)
        if len(content) > MAX_LABEL_BYTES:
            raise SettingsError(f"labels: {name} has more than {MAX_LABEL_BYTES} bytes")
        labels[output] = split_labels(content)
    return labels


def split_labels(content: bytes) -> tuple[bytes, ...]:
    """The lines of a label file. An empty line is a class without a label; the end of the last line is optional."""
    lines = content.split(b"\n")
    return tuple(lines[:-1] if not lines[-1] else lines)
