"""The table of all targets, in the order in which they run (requirements 3.1)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Final, cast

from ..contracts.errors import PackagingStage
from ..target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredTarget:
    """A target: the path of its module, and what is known without the import, which takes time."""

    module: str
    stage: PackagingStage
    title: str

    def load(self) -> Target:
        """Import the module. It imports optional dependencies only when its functions are called."""
        return cast("Target", importlib.import_module(self.module))


TARGETS: Final[dict[str, RegisteredTarget]] = {
    "nim": RegisteredTarget(
        module="portalis.nim.image_target", stage=PackagingStage.NimGeneration, title="NIM containers"
    ),
    "triton": RegisteredTarget(
        module="portalis.model_repository_gen.model_repository_target",
        stage=PackagingStage.TritonConfiguration,
        title="Triton models",
    ),
    "omniverse": RegisteredTarget(
        module="portalis.omniverse.extension_target",
        stage=PackagingStage.OmniversePackaging,
        title="Omniverse extension",
    ),
    "docs": RegisteredTarget(
        module="portalis.proto.documentation_target",
        stage=PackagingStage.DocumentationGeneration,
        title="Documentation",
    ),
    "deployment": RegisteredTarget(
        module="portalis.deploy.deployment_target",
        stage=PackagingStage.DeploymentGeneration,
        title="Deployment manifests",
    ),
    "archive": RegisteredTarget(
        module="portalis.dist.archive_target", stage=PackagingStage.ArchiveCreation, title="Distribution archive"
    ),
    "publish": RegisteredTarget(
        module="portalis.publishing.publishing_target", stage=PackagingStage.Publishing, title="Publishing"
    ),
}
