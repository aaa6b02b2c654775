"""An image as an engine describes it, and the check of an exported image archive."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import EngineFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One step of an image's history. `layer_id` is "" if the engine does not know it (steps of a base image)."""

    layer_id: str
    size_bytes: int
    created_by: str
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image in an engine.

    `image_id` is ``sha256:`` and the digest of the image's configuration. `digest` is the digest of its manifest in a
    registry, None if the image was neither pushed nor pulled. `size_bytes` includes the base image. `layers` start with
    the oldest. `config` is the engine's own, with ``Labels``, ``Env``, ``Healthcheck`` and other keys.
    """

    image_id: str
    digest: str | None
    size_bytes: int
    created_at: str
    layers: tuple[Layer, ...]
    config: Mapping[str, Any]


def read_image(description: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> Image:
    """Parse the responses of the engine API to ``/images/{name}/json`` and ``/images/{name}/history``."""
    digests = [text.partition("@")[2] for text in description.get("RepoDigests") or () if "@" in text]
    return Image(
        image_id=str(description["Id"]),
        digest=digests[0] if digests else None,
        size_bytes=int(description["Size"]),
        created_at=str(description.get("Created", "")),
        layers=tuple(_layer(step) for step in reversed(history)),  # the API lists the newest first
        config=description.get("Config") or {},
    )


def check_archive(file: Path, image_id: str) -> None:
    """Raise EngineFailed unless `file` is an archive in the format of ``docker save`` that contains the configuration
    and all layers of the image."""
    problem = "it is not an archive of this image"
    try:
        with tarfile.open(file) as archive:
            names = set(archive.getnames())
            manifest = archive.extractfile("manifest.json") if "manifest.json" in names else None
            entries: list[dict[str, Any]] = json.load(manifest) if manifest is not None else []
        config_digest = image_id.removeprefix("sha256:")
        entry = next((each for each in entries if config_digest in each["Config"]), None)
        if entry is not None:
            missing = sorted({entry["Config"], *entry["Layers"]} - names)
            problem = f"{', '.join(missing)} missing" if missing else ""
    except (tarfile.TarError, ValueError, KeyError, OSError) as error:
        problem = str(error)
    if problem:
        raise EngineFailed(
            f"the archive of {image_id} cannot be loaded: {problem}",
            remediation="Free space on the disk, and try again.",
        )


def _layer(step: Mapping[str, Any]) -> Layer:
    layer_id = str(step.get("Id", ""))
    return Layer(
        layer_id="" if layer_id == "<missing>" else layer_id,
        size_bytes=int(step.get("Size", 0)),
        created_by=str(step.get("CreatedBy", "")),
        comment=str(step.get("Comment", "")),
    )
