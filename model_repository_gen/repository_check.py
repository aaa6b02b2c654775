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
    """What is wrong with each model of a repository; an empty list for a model that Triton loads as it says.

    A model is every folder in `folder`, as it is for Triton; files beside them are left alone. `auto_complete` is
    whether the server completes configurations, its default. `backends` are the names of its backends, where known.
    `completed` has configurations by model name to check instead of the files, such as those that a backend completed.
    Raises UsageError when `folder` is no folder or cannot be read.
    """
    repository = Path(folder)
    try:
        models = sorted(path for path in repository.iterdir() if path.is_dir())
        return _check(repository, models, auto_complete, backends, completed or {})
    except OSError as problem:
        raise UsageError(
            f"cannot read the model repository {repository}: {problem.strerror} ({problem.filename})",
            remediation="Name a folder with one folder for each model.",
        ) from problem


def unsafe_repository_names(folder: str | os.PathLike[str]) -> Iterator[tuple[str, ConfigProblem]]:
    """Names in a model repository that Triton would hand to a shell, with the model of each (see `unsafe_names`).

    Every configuration of a model counts, whichever is served. One that cannot be read is left to the server, which
    cannot read it either; nor can anything be read without tritonclient. Raises OSError.
    """
    for model in sorted(path for path in Path(folder).iterdir() if path.is_dir()):
        configs: list[ModelConfig | None] = [None]
        for file in [model / CONFIG_FILE, *sorted(model.glob("configs/*.pbtxt"))]:
            with contextlib.suppress(UsageError, MissingPart):
                configs.append(read_config(file))
        found = {str(problem): problem for config in configs for problem in unsafe_names(config, model.name)}
        yield from ((model.name, problem) for problem in found.values())


def _check(
    repository: Path,
    models: list[Path],
    auto_complete: bool,
    backends: Collection[str] | None,
    completed: Mapping[str, ModelConfig],
) -> dict[str, list[ConfigProblem]]:
    found: dict[str, list[ConfigProblem]] = {path.name: [] for path in models}
    configs: dict[str, ModelConfig] = {}
    for path in models:
        try:
            config = completed[path.name] if path.name in completed else _read(path, auto_complete)
        except UsageError as problem:
            found[path.name].append(error(CONFIG_FILE, problem.message, problem.remediation or ""))
            continue
        if config is None:
            found[path.name] += _no_config(path, auto_complete)
            continue
        configs[path.name] = config
        found[path.name] += check_model_config(config, path, auto_complete=auto_complete, backends=backends)
    for name, config in configs.items():
        if config.HasField("ensemble_scheduling"):
            found[name] += check_ensemble_steps(name, configs, repository, auto_complete=auto_complete)
    for name, way in cycles(configs).items():
        found[name].append(error(STEP, f"the ensemble leads back to itself: {way}", "Break the circle."))
    _add_mixed_resources(configs, found)
    return found


def _read(path: Path, auto_complete: bool) -> ModelConfig | None:
    """A model's configuration; an empty one where Triton makes do without; None where it does not."""
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
    hint = f", call the folder {path.name}.wasm," if auto_complete else ""
    yield error(
        CONFIG_FILE,
        f"folder {path.name!r} has no {CONFIG_FILE}, and Triton takes every folder of a repository for a model",
        f'Write one (backend: "wasm" is enough){hint} or move the folder elsewhere.',
    )


def _add_mixed_resources(configs: Mapping[str, ModelConfig], found: dict[str, list[ConfigProblem]]) -> None:
    """The rate limiter counts resources over all models: the first model in the order of names sets how."""
    names = list(configs)
    for i, name in enumerate(names):
        alone = len(list(mixed_resources([("", configs[name])])))
        if alone:
            continue
        before = [(f"model {each!r}, ", configs[each]) for each in names[:i]]
        pairs = [*before, ("", configs[name])]
        known = len(list(mixed_resources(before)))
        found[name] += list(mixed_resources(pairs))[known:]
