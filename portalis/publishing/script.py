"""Writes publish.sh, a script that publishes the package without portalis: with docker or podman, skopeo, oras and
helm."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from ..contracts.published import PublishedKind
from ..oci.image_manifest import canonical_json
from ..output.package_layout import PUBLISH_SCRIPT
from ..templates import render
from .publishing_plan import PlannedArtifact, PublishingPlan

_TEMPLATES = Path(__file__).parent / "templates"


def write_script(plan: PublishingPlan, folder: Path, engine: str = "docker") -> Path:
    """Write the script, executable, into the package's directory. Raises OSError."""
    path = folder / PUBLISH_SCRIPT
    path.write_text(publishing_script(plan, engine), encoding="utf-8")
    path.chmod(path.stat().st_mode | 0o111)
    return path


def remove_script(folder: Path) -> None:
    """Remove the script of an earlier run, if there is one. Raises OSError."""
    (folder / PUBLISH_SCRIPT).unlink(missing_ok=True)


def publishing_script(plan: PublishingPlan, engine: str = "docker") -> str:
    """The text of the script, which changes to its own directory. `engine` (docker, podman) has the images."""
    return render(
        _TEMPLATES,
        "publish.sh.j2",
        (shell_quoted, comment_text, oras_annotations, config_json),
        address=plan.address,
        engine=engine,
        images=[(image, plan.reference(image)) for image in plan.images],
        charts=[each for each in plan.artifacts if each.chart is not None],
        artifacts=[(each, plan.reference(each)) for each in plan.artifacts if each.chart is None],
        module=PublishedKind.Module,
    )


def shell_quoted(value: object) -> str:
    """The value as one word of a shell command."""
    return shlex.quote(str(value))


def comment_text(value: object) -> str:
    """The value on one line, for a comment."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def oras_annotations(planned: PlannedArtifact) -> str:
    """The annotations of an artifact as options of oras."""
    return " ".join(_annotation_options(planned))


def config_json(planned: PlannedArtifact) -> str:
    """The config of a module's artifact."""
    content = planned.manifest.config.blob.content
    return content.decode() if isinstance(content, bytes) else canonical_json({}).decode()


def _annotation_options(planned: PlannedArtifact) -> Iterator[str]:
    for key, value in sorted(planned.manifest.annotations.items()):
        yield f"--annotation {shell_quoted(f'{key}={value}')}"
