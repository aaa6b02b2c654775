"""An archive that an engine has written: whether all is in it that another engine loads."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from .image import EngineFailed


def check_archive(file: Path, image_id: str) -> None:
    """Raise EngineFailed unless `file` is an archive of the image, with its configuration and all layers, in the form
    of ``docker save``."""
    missing = "it is no archive of images"
    try:
        with tarfile.open(file) as archive:
            names = set(archive.getnames())
            manifest = archive.extractfile("manifest.json") if "manifest.json" in names else None
            entries: list[dict[str, Any]] = json.load(manifest) if manifest is not None else []
        wanted = image_id.removeprefix("sha256:")
        entry = next((each for each in entries if wanted in each["Config"]), None)
        if entry is not None:
            missing = ", ".join(sorted({entry["Config"], *entry["Layers"]} - names))
    except (tarfile.TarError, ValueError, KeyError, OSError) as problem:
        missing = str(problem)
    if missing:
        raise EngineFailed(
            f"the archive of {image_id} cannot be loaded: {missing}",
            remediation="Make room on the disk, and try again.",
        )
