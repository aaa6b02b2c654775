"""The script that publishes by hand what portalis could not: with docker or podman, skopeo, oras and helm."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from ..contracts.published import PublishedKind
from ..oci.image_manifest import encode
from ..output.package_layout import PUBLISH_SCRIPT
from ..templates import render
from .publishing_plan import PlannedArtifact, PublishingPlan

_TEMPLATES = Path(__file__).parent / "templates"


def write_script(plan: PublishingPlan, folder: Path, engine: str = "docker") -> Path:
    """Write the script into the package's folder. Raises OSError."""
    place = folder / PUBLISH_SCRIPT
    place.write_text(publishing_script(plan, engine), encoding="utf-8")
    place.chmod(place.stat().st_mode | 0o111)
    return place


def quoted(text: object) -> str:
    """One word of a shell."""
    return shlex.quote(str(text))


def publishing_script(plan: PublishingPlan, engine: str = "docker") -> str:
    """The script, which works in its own folder, that of the package; `engine` (docker, podman) has the images."""
    return render(
        _TEMPLATES,
        "publish.sh.j2",
        (quoted, commented, annotated, config_of),
        address=plan.address,
        engine=engine,
        images=[(image, f"{plan.address.reference(image.repository)}:{image.tag}") for image in plan.images],
        charts=[each for each in plan.artifacts if each.chart is not None],
        artifacts=[
            (each, f"{plan.address.reference(each.repository)}:{each.tag}")
            for each in plan.artifacts
            if each.chart is None
        ],
        module=PublishedKind.Module,
    )


def commented(text: object) -> str:
    """Words of a comment, which end with their line."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def annotated(planned: PlannedArtifact) -> str:
    """The annotations of an artifact as options of oras."""
    return " ".join(_options(planned))


def _options(planned: PlannedArtifact) -> Iterator[str]:
    for key, value in sorted(planned.manifest.annotations.items()):
        yield f"--annotation {quoted(f'{key}={value}')}"


def config_of(planned: PlannedArtifact) -> str:
    """The config of a module's artifact."""
    content = planned.manifest.config.blob.content
    return content.decode() if isinstance(content, bytes) else encode({}).decode()
