"""The one table of targets, in the order in which they run (requirements 3.1)."""

from __future__ import annotations

import importlib
from typing import Final, cast

from ..target import Target

TARGETS: Final[dict[str, str]] = {
    "nim": "portalis.nim.target",
    "triton": "portalis.model_repository_gen.target",
    "omniverse": "portalis.omniverse.target",
    "docs": "portalis.proto.target",
    "deployment": "portalis.deploy.target",
    "archive": "portalis.dist.target",
    "publish": "portalis.pipeline.publishing",
}


def load(name: str) -> Target:
    """The target's module. What it needs beyond portalis's own dependencies it imports when it is used."""
    return cast("Target", importlib.import_module(TARGETS[name]))
