"""The one table of targets, in the order in which they run (requirements 3.1)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Final, cast

from ..contracts.errors import PackagingStage
from ..target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A target: where its module is, and what can be said of it without importing that, which takes time."""

    module: str
    stage: PackagingStage
    title: str

    def load(self) -> Target:
        """The module. What it needs beyond portalis's own dependencies it imports when it is used."""
        return cast("Target", importlib.import_module(self.module))


TARGETS: Final[dict[str, Registered]] = {
    "nim": Registered(module="portalis.nim.image_target", stage=PackagingStage.NimGeneration, title="NIM containers"),
    "triton": Registered(
        module="portalis.model_repository_gen.model_repository_target",
        stage=PackagingStage.TritonConfiguration,
        title="Triton models",
    ),
    "omniverse": Registered(
        module="portalis.omniverse.extension_target",
        stage=PackagingStage.OmniversePackaging,
        title="Omniverse extension",
    ),
    "docs": Registered(
        module="portalis.proto.documentation_target",
        stage=PackagingStage.DocumentationGeneration,
        title="Documentation",
    ),
    "deployment": Registered(
        module="portalis.deploy.deployment_target",
        stage=PackagingStage.DeploymentGeneration,
        title="Deployment manifests",
    ),
    "archive": Registered(
        module="portalis.dist.archive_target", stage=PackagingStage.ArchiveCreation, title="Distribution archive"
    ),
    "publish": Registered(
        module="portalis.publishing.publishing_target", stage=PackagingStage.Publishing, title="Publishing"
    ),
}
