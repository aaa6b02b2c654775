"""What an engine tells of an image, and how it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import MissingPart, PortalisError

SHOWN_LINES = 15


class EngineUnavailable(MissingPart):
    """No container engine answers."""


class EngineFailed(PortalisError):
    """An engine could not do what it was asked. `log` has every line that it wrote on the way."""

    def __init__(self, message: str, *, remediation: str, log: Sequence[str] = ()) -> None:
        self.log = tuple(log)
        tail = "".join(f"\n  {line}" for line in self.log[-SHOWN_LINES:])
        super().__init__(message + tail, remediation=remediation)


class BuildTimedOut(EngineFailed):
    """A build took longer than its limit and was given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One step of an image's history. `layer_id` is "" where the engine does not know it (steps of a base image)."""

    layer_id: str
    size_bytes: int
    created_by: str
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image in an engine.

    `image_id` is ``sha256:`` and the digest of its configuration. `digest` is that of its manifest in a registry, None
    before it was pushed or where it was not pulled. `size_bytes` counts the base image too. `layers` begin with the
    oldest. `config` is the engine's own, with ``Labels``, ``Env``, ``Healthcheck`` and so on.
    """

    image_id: str
    digest: str | None
    size_bytes: int
    created_at: str
    layers: tuple[Layer, ...]
    config: Mapping[str, Any]


def read_image(found: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> Image:
    """The image of the engine API's answers to ``/images/{name}/json`` and ``/images/{name}/history``."""
    pushed = [text.partition("@")[2] for text in found.get("RepoDigests") or () if "@" in text]
    return Image(
        image_id=str(found["Id"]),
        digest=pushed[0] if pushed else None,
        size_bytes=int(found["Size"]),
        created_at=str(found.get("Created", "")),
        layers=tuple(_layer(step) for step in reversed(history)),  # the engine tells the newest first
        config=found.get("Config") or {},
    )


def _layer(step: Mapping[str, Any]) -> Layer:
    known = str(step.get("Id", ""))
    return Layer(
        layer_id="" if known == "<missing>" else known,
        size_bytes=int(step.get("Size", 0)),
        created_by=str(step.get("CreatedBy", "")),
        comment=str(step.get("Comment", "")),
    )
