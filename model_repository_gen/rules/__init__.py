"""Triton's own rules for a model's configuration, checked without a server.

They are those of Triton's core and of its Python backend, in the order in which a server would meet them, but all
problems are told, not the first. Every rule is tested against a real server of release 2.51; where the source of later
releases (up to spring 2026) says something else, a comment tells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from ..pbtxt import ModelConfig
from .batching import check_batching
from .ensembles import check_ensemble
from .instance_groups import check_instance_groups
from .model_folder import check_model_folder
from .model_platform import check_platform
from .rule import ConfigProblem, Problems, RuleContext
from .sequences import check_sequences
from .tensors import check_tensors
from .warmup import check_warmup

RULES: tuple[Callable[[ModelConfig, RuleContext], Problems], ...] = (
    check_platform,
    check_tensors,
    check_batching,
    check_sequences,
    check_ensemble,
    check_instance_groups,
    check_model_folder,
    check_warmup,
)

__all__ = ["RULES", "RuleContext", "check_model_config"]


def check_model_config(
    config: ModelConfig,
    folder: Path | None = None,
    *,
    auto_complete: bool = False,
    backends: Collection[str] | None = None,
) -> list[ConfigProblem]:
    """Everything in one model's configuration that Triton would refuse, or would not do as it says.

    `folder` is the model's folder; without it nothing is said about files, versions and the name. With `auto_complete`
    tensors may lack data types and dims, as they may on a server whose backend fills them in. `backends` are the names
    of the server's backends, where they are known. What other models have to say about an ensemble is
    `check_repository`'s. Raises OSError when the folder cannot be read.
    """
    context = RuleContext(folder=folder, auto_complete=auto_complete, backends=backends)
    return [problem for check in RULES for problem in check(config, context)]
