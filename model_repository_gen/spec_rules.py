"""Problems of a spec from which no valid Triton models can be built, found before files are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..naming import triton_problem
from ..output.package_layout import model_name
from ..problems import Problem, did_you_mean
from ..spec import PackageSpec
from .config_rules import config_problems, label_problems
from .package_settings import resolve_settings


def model_problems(spec: PackageSpec) -> Iterator[Problem]:
    """All problems of the spec's models and ensembles."""
    yield from _names(spec)
    name = spec.triton_config.model_name
    if name is not None and len(spec.wasm_binaries) > 1:
        yield Problem(
            where="triton_config.model_name",
            message=f"{len(spec.wasm_binaries)} modules cannot share the model name {name!r}",
            remediation="Set model_name in each module's own triton_config, or remove it.",
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
    names = [(f"wasm_binaries[{i}]", model_name(spec, module)) for i, module in enumerate(spec.wasm_binaries)]
    names += [(f"triton_config.ensembles[{i}].name", each.name) for i, each in enumerate(spec.triton_config.ensembles)]
    for where, name in names:
        reason = triton_problem(name)
        if reason:
            yield Problem(
                where=where,
                message=f"the name of the Triton model, {name!r}, {reason}",
                remediation="Set a different model_name.",
            )
    for name, count in Counter(name for _, name in names).items():
        if count > 1:
            same = [where for where, each in names if each == name]
            yield Problem(
                where=same[-1],
                message=f"{count} Triton models are named {name!r} ({', '.join(same)})",
                remediation="Set a different model_name.",
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
                    message=f"{step.model_name!r} is ambiguous: it names a model, and the module of model {other!r}",
                    remediation="Rename the module or the model.",
                )
            if step.model_name not in names:
                yield Problem(
                    where=where,
                    message=f"the package has no model {step.model_name!r}",
                    remediation=did_you_mean(step.model_name, list(dict.fromkeys(names))),
                )
