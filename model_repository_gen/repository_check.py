"""Checks a whole model repository without a server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from ..errors import MissingPart, UsageError
from .ensemble_steps import check_ensemble_steps, cycles
from .pbtxt import CONFIG_FILE, ModelConfig, new_config, read_config
from .rules import check_model_config
from .rules.ensembles import STEP
from .rules.instance_groups import mixed_resources
from .rules.model_folder import MODEL_FILES, version_folders
from .rules.model_platform import unsafe_names
from .rules.rule import ConfigProblem, Problems, error


def check_repository(
    folder: str | os.PathLike[str],
    *,
    auto_complete: bool = True,
    backends: Collection[str] | None = None,
    completed: Mapping[str, ModelConfig] | None = None,
) -> dict[str, list[ConfigProblem]]:
    """The problems of each model of a repository; an empty list for a valid model.

    As for Triton, every directory in `folder` is a model, and other files are ignored. `auto_complete` is whether the
    server completes configurations, which is its default. `backends` are the names of its backends, if they are known.
    `completed` maps model names to configurations to check instead of the files, for example those that a backend
    completed. Raises UsageError if `folder` is not a readable directory.
    """
    repository = Path(folder)
    try:
        models = sorted(path for path in repository.iterdir() if path.is_dir())
        return _check(repository, models, auto_complete, backends, completed or {})
    except OSError as failure:
        raise UsageError(
            f"cannot read the model repository {repository}: {failure.strerror} ({failure.filename})",
            remediation="Name a directory that contains one directory per model.",
        ) from failure


def unsafe_repository_names(folder: str | os.PathLike[str]) -> Iterator[tuple[str, ConfigProblem]]:
    """Unsafe names in a model repository that Triton would pass to a shell, each with its model (see `unsafe_names`).

    All configurations of a model are checked, because any of them can be served. Configurations that cannot be read
    are skipped: the server cannot read them either. Without tritonclient, only directory names are checked. Raises
    OSError.
    """
    for model in sorted(path for path in Path(folder).iterdir() if path.is_dir()):
        configs: list[ModelConfig | None] = [None]
        for file in [model / CONFIG_FILE, *sorted(model.glob("configs/*.pbtxt"))]:
            with contextlib.suppress(UsageError, MissingPart):
                configs.append(read_config(file))
        problems = {str(problem): problem for config in configs for problem in unsafe_names(config, model.name)}
        yield from ((model.name, problem) for problem in problems.values())


def _check(
    repository: Path,
    models: list[Path],
    auto_complete: bool,
    backends: Collection[str] | None,
    completed: Mapping[str, ModelConfig],
) -> dict[str, list[ConfigProblem]]:
    problems: dict[str, list[ConfigProblem]] = {path.name: [] for path in models}
    configs: dict[str, ModelConfig] = {}
    for path in models:
        try:
            config = completed[path.name] if path.name in completed else _read(path, auto_complete)
        except UsageError as failure:
            problems[path.name].append(error(CONFIG_FILE, failure.message, failure.remediation or ""))
            continue
        if config is None:
            problems[path.name] += _no_config(path, auto_complete)
            continue
        configs[path.name] = config
        problems[path.name] += check_model_config(config, path, auto_complete=auto_complete, backends=backends)
    for name, config in configs.items():
        if config.HasField("ensemble_scheduling"):
            problems[name] += check_ensemble_steps(name, configs, repository, auto_complete=auto_complete)
    for name, cycle in cycles(configs).items():
        problems[name].append(error(STEP, f"the ensemble contains itself: {cycle}", "Remove a step of the cycle."))
    _add_mixed_resources(configs, problems)
    return problems


def _read(path: Path, auto_complete: bool) -> ModelConfig | None:
    """A model's configuration; an empty one if Triton does not need the file; None if Triton would reject the model."""
    file = path / CONFIG_FILE
    if file.exists():
        return read_config(file)
    if not auto_complete:
        return None
    first = next(iter(version_folders(path)), None)
    if first is not None and MODEL_FILES & {each.name for each in first.iterdir()}:
        return new_config()
    _, dot, backend = path.name.partition(".")
    if not dot:
        return None
    return new_config(backend=backend, default_model_filename=f"model.{backend}")


def _no_config(path: Path, auto_complete: bool) -> Problems:
    alternative = f", rename the directory to {path.name}.wasm," if auto_complete else ""
    yield error(
        CONFIG_FILE,
        f"directory {path.name!r} has no {CONFIG_FILE}, and Triton treats every directory of a repository as a model",
        f'Write one (backend: "wasm" is enough){alternative} or move the directory elsewhere.',
    )


def _add_mixed_resources(configs: Mapping[str, ModelConfig], problems: dict[str, list[ConfigProblem]]) -> None:
    """Add problems of resources that models declare differently.

    The rate limiter counts resources over all models; the first model by name decides whether one is global.
    """
    names = list(configs)
    for i, name in enumerate(names):
        alone = len(list(mixed_resources([("", configs[name])])))
        if alone:
            continue
        earlier = [(f"model {each!r}, ", configs[each]) for each in names[:i]]
        pairs = [*earlier, ("", configs[name])]
        reported = len(list(mixed_resources(earlier)))
        problems[name] += list(mixed_resources(pairs))[reported:]
