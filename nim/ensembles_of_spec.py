"""The ensembles of a spec as settings of the service."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from ..service_ensembles import service_ensembles
from ..spec import PackageSpec
from ..spec.triton import Ensemble
from .model_labels import label_files
from .service.ensemble_checks import ensemble_problems
from .service.ensemble_settings import EnsembleSettings
from .service.settings import describe_settings_error

_TENSOR_KEYS: Final = {"name", "data_type", "dims", "reshape", "optional"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsemblesOfSpec:
    """The ensembles that a service runs, and those that it does not."""

    settings: tuple[EnsembleSettings, ...] = ()
    label_files: Mapping[str, Path] = field(default_factory=dict)
    """The label files of the settings, by their names in the directory of the modules."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """The reason for each ensemble that is not served, by name."""


def ensembles_of_spec(spec: PackageSpec, modules: Collection[str]) -> EnsemblesOfSpec:
    """The ensembles of `spec` in a service of `modules`, by name."""
    found = service_ensembles(spec, modules)
    settings, files, skipped = dict[str, EnsembleSettings](), dict[str, dict[str, Path]](), dict(found.skipped)
    for ensemble in found.served:
        labels, files[ensemble.name] = label_files(ensemble.name, ensemble.outputs)
        try:
            settings[ensemble.name] = EnsembleSettings.model_validate({**_document(ensemble), "labels": labels})
        except ValidationError as error:
            skipped[ensemble.name] = describe_settings_error(error)
    while problems := _problems(settings, modules):
        skipped |= problems
        settings = {name: each for name, each in settings.items() if name not in problems}
    return EnsemblesOfSpec(
        settings=tuple(settings.values()),
        label_files={file: path for name in settings for file, path in files[name].items()},
        skipped=skipped,
    )


def _problems(settings: Mapping[str, EnsembleSettings], modules: Collection[str]) -> dict[str, str]:
    """The problems of each ensemble that the service would reject."""
    versions = dict.fromkeys(modules, "1") | {name: each.version for name, each in settings.items()}
    found: dict[str, str] = {}
    for problem in ensemble_problems(tuple(settings.values()), versions):
        position, _, text = problem.removeprefix("ensembles[").partition("].")
        name = list(settings)[int(position)]
        found[name] = f"{found[name]}; {text}" if name in found else text
    return found


def _document(ensemble: Ensemble) -> dict[str, Any]:
    document = ensemble.model_dump(mode="json")
    document["version"] = str(ensemble.version)
    for side in ("inputs", "outputs"):
        keys = _TENSOR_KEYS if side == "inputs" else _TENSOR_KEYS - {"optional"}
        document[side] = [{key: value for key, value in each.items() if key in keys} for each in document[side]]
    return document
