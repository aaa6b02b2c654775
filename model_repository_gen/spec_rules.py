"""What in a spec Triton models cannot be made of, told before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..naming import triton_trouble
from ..output.package_layout import model_name
from ..problems import Problem, did_you_mean
from ..spec import PackageSpec
from .config_rules import config_problems, label_problems
from .package_settings import resolve_settings


def model_problems(spec: PackageSpec) -> Iterator[Problem]:
    """Everything."""
    yield from _names(spec)
    shared = spec.triton_config.model_name
    if shared is not None and len(spec.wasm_binaries) > 1:
        yield Problem(
            where="triton_config.model_name",
            message=f"{len(spec.wasm_binaries)} modules cannot all be the model {shared!r}",
            remediation="Set model_name in each module's own triton_config, or leave it out.",
        )
    if any(module.triton_config is None for module in spec.wasm_binaries):
        yield from config_problems(spec.triton_config, "triton_config")
    for i, module in enumerate(spec.wasm_binaries):
        if module.triton_config is not None:
            yield from config_problems(resolve_settings(spec, module)[0], f"wasm_binaries[{i}].triton_config")
    for i, ensemble in enumerate(spec.triton_config.ensembles):
        yield from label_problems(ensemble.outputs, f"triton_config.ensembles[{i}].outputs")
    yield from _steps(spec)


def _names(spec: PackageSpec) -> Iterator[Problem]:
    places = [(f"wasm_binaries[{i}]", model_name(spec, module)) for i, module in enumerate(spec.wasm_binaries)]
    places += [(f"triton_config.ensembles[{i}].name", each.name) for i, each in enumerate(spec.triton_config.ensembles)]
    for where, name in places:
        trouble = triton_trouble(name)
        if trouble:
            yield Problem(
                where=where,
                message=f"the name of the Triton model, {name!r}, {trouble}",
                remediation="Set another model_name.",
            )
    for name, count in Counter(name for _, name in places).items():
        if count > 1:
            same = [where for where, each in places if each == name]
            yield Problem(
                where=same[-1],
                message=f"{count} Triton models are called {name!r} ({', '.join(same)})",
                remediation="Set another model_name.",
            )


def _steps(spec: PackageSpec) -> Iterator[Problem]:
    by_module = {module.module_name: model_name(spec, module) for module in spec.wasm_binaries}
    models = [*by_module.values(), *(ensemble.name for ensemble in spec.triton_config.ensembles)]
    names = [*models, *by_module]
    for i, ensemble in enumerate(spec.triton_config.ensembles):
        for j, step in enumerate(ensemble.steps):
            where = f"triton_config.ensembles[{i}].steps[{j}].model_name"
            other = by_module.get(step.model_name, step.model_name)
            if other != step.model_name and step.model_name in models:
                yield Problem(
                    where=where,
                    message=f"{step.model_name!r} is a model, and the name of the module of {other!r}, too",
                    remediation="Give the module or the model another name.",
                )
            if step.model_name not in names:
                yield Problem(
                    where=where,
                    message=f"the package has no model {step.model_name!r}",
                    remediation=did_you_mean(step.model_name, list(dict.fromkeys(names))),
                )
