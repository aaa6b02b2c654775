"""Triton's own rules for a model's configuration, checked without a server.

The rules are those of Triton's core and of its Python backend, in the order in which a server applies them. Unlike
the server, which stops at the first problem, they report every problem. Each rule is tested against a real server of
release 2.51; a comment notes where the source of later releases (up to spring 2026) differs.
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
    """All parts of one model's configuration that Triton would reject or ignore.

    `folder` is the model's directory; without it, files, versions and the directory's name are not checked. With
    `auto_complete`, tensors can lack data types and dims, as on a server whose backend fills them in. `backends` are
    the names of the server's backends, if they are known. `check_repository` checks an ensemble against the models of
    its steps. Raises OSError if the directory cannot be read.
    """
    context = RuleContext(folder=folder, auto_complete=auto_complete, backends=backends)
    return [problem for rule in RULES for problem in rule(config, context)]
