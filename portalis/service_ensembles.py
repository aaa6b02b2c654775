"""The ensembles of a spec as the service runs them: their steps call models by the names of the service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from .naming import service_problem
from .output.package_layout import model_name
from .spec import PackageSpec
from .spec.triton import Ensemble, EnsembleStep


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEnsembles:
    """The ensembles that a service runs, and those that it does not, with the reasons."""

    served: tuple[Ensemble, ...] = ()
    """Each step has the name of a module or ensemble of the service, and the version -1: the service has one of
    each."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Name and reason."""


def service_ensembles(spec: PackageSpec, modules: Collection[str]) -> ServiceEnsembles:
    """The ensembles of `spec` in a service of `modules`, by name.

    A step can name a module or its Triton model. An ensemble with a step that is not served is not served either.
    """
    names = {model_name(spec, binary): binary.module_name for binary in spec.wasm_binaries}
    names |= {binary.module_name: binary.module_name for binary in spec.wasm_binaries}
    ensembles = {each.name: each for each in spec.triton_config.ensembles}
    names |= {name: name for name in ensembles if name not in names}
    versions = {each.module_name: spec.triton_for(each).model_version for each in spec.wasm_binaries}
    versions |= {name: each.version for name, each in ensembles.items() if name not in versions}
    skipped: dict[str, str] = {}
    counts = Counter(each.name for each in spec.triton_config.ensembles)
    for name, ensemble in ensembles.items():
        if counts[name] > 1:
            skipped[name] = f"{counts[name]} ensembles have this name"
        elif reason := _own_problem(ensemble, modules) or _step_problem(ensemble, names, versions):
            skipped[name] = reason
    remaining = {name: each for name, each in ensembles.items() if name not in skipped}
    while dropped := _without_model(remaining, names, modules):
        skipped |= dropped
        remaining = {name: each for name, each in remaining.items() if name not in dropped}
    return ServiceEnsembles(
        served=tuple(_renamed(each, names) for each in remaining.values()), skipped=tuple(skipped.items())
    )


def _own_problem(ensemble: Ensemble, modules: Collection[str]) -> str:
    if problem := service_problem(ensemble.name):
        return f"its name {problem}"
    if ensemble.name in modules:
        return "a module has the same name, which is that of a model of the service"
    return ""


def _step_problem(ensemble: Ensemble, names: dict[str, str], versions: dict[str, int]) -> str:
    for step in ensemble.steps:
        model = names.get(step.model_name)
        if model is None:
            return f"its model {step.model_name!r} is neither a module nor an ensemble of the package"
        if step.model_version not in (-1, versions[model]):
            return f"it calls version {step.model_version} of {model!r}, and the service has {versions[model]}"
    return ""


def _without_model(ensembles: dict[str, Ensemble], names: dict[str, str], modules: Collection[str]) -> dict[str, str]:
    """The ensembles with a step whose model is not served, with the reason."""
    found = {}
    for name, ensemble in ensembles.items():
        missing = [model for step in ensemble.steps if (model := names[step.model_name]) not in {*modules, *ensembles}]
        if missing:
            found[name] = f"its model {missing[0]!r} is not served"
    return found


def _renamed(ensemble: Ensemble, names: dict[str, str]) -> Ensemble:
    def renamed(step: EnsembleStep) -> EnsembleStep:
        return step.model_copy(update={"model_name": names[step.model_name], "model_version": -1})

    return ensemble.model_copy(update={"steps": tuple(map(renamed, ensemble.steps))})
