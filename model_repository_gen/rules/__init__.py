"""Triton's own rules for a model's configuration, checked without a server.

They are those of Triton's core and of its Python backend, in the order in which a server would meet them, but all
problems are told, not the first. Every rule is tested against a real server of release 2.51; where the source of later
releases (up to spring 2026) says something else, a comment tells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from ..pbtxt import ModelConfig
from ..problem import Problem, Problems
from . import batching, ensembles, sequences, tensors, warmup
from . import instance_groups as instances
from . import model_folder as files
from . import model_platform as naming
from .context import Context

RULES: tuple[Callable[[ModelConfig, Context], Problems], ...] = (
    naming.check,
    tensors.check,
    batching.check,
    sequences.check,
    ensembles.check,
    instances.check,
    files.check,
    warmup.check,
)

__all__ = ["RULES", "Context", "problems"]


def problems(
    config: ModelConfig,
    folder: Path | None = None,
    *,
    auto_complete: bool = False,
    backends: Collection[str] | None = None,
) -> list[Problem]:
    """Everything in one model's configuration that Triton would refuse, or would not do as it says.

    `folder` is the model's folder; without it nothing is said about files, versions and the name. With `auto_complete`
    tensors may lack data types and dims, as they may on a server whose backend fills them in. `backends` are the names
    of the server's backends, where they are known. What other models have to say about an ensemble is
    `check_repository`'s. Raises OSError when the folder cannot be read.
    """
    context = Context(folder=folder, auto_complete=auto_complete, backends=backends)
    return [problem for check in RULES for problem in check(config, context)]
