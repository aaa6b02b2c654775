"""What in a spec Triton models cannot be made of, told before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from portalis.model_repository_gen.message.model import runs_wasm
from portalis.model_repository_gen.names import model_name
from portalis.naming import triton_trouble
from portalis.problems import Problem, did_you_mean
from portalis.spec import PackageSpec
from portalis.spec.triton import TritonConfiguration


def spec_problems(spec: PackageSpec) -> Iterator[Problem]:
    """Everything."""
    yield from _names(spec)
    shared = spec.triton_config.model_name
    if shared is not None and len(spec.wasm_binaries) > 1:
        yield Problem(
            where="triton_config.model_name",
            message=f"{len(spec.wasm_binaries)} modules cannot all be the model {shared!r}",
            remediation="Set model_name in each module's own triton_config, or leave it out.",
        )
    for i, module in enumerate(spec.wasm_binaries):
        where = "triton_config" if module.triton_config is None else f"wasm_binaries[{i}].triton_config"
        if i == 0 or module.triton_config is not None:
            yield from _python_based(spec.triton_for(module), where)
            yield from _file_names(spec.triton_for(module), where)
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


def _python_based(given: TritonConfiguration, at: str) -> Iterator[Problem]:
    """What Triton's Python backend, on which `wasm` and `python` models run, takes from a config and does not do."""
    if not runs_wasm(given):
        return
    asked = {
        "model_transaction_policy.decoupled": given.model_transaction_policy is not None
        and given.model_transaction_policy.decoupled,
        "batch_inputs": bool(given.batch_inputs),
        "batch_outputs": bool(given.batch_outputs),
        "sequence_batching.states": given.sequence_batching is not None and bool(given.sequence_batching.states),
        "sequence_batching.iterative_sequence": given.sequence_batching is not None
        and given.sequence_batching.iterative_sequence,
    }
    for key, wanted in asked.items():
        if wanted:
            yield Problem(
                where=f"{at}.{key}",
                message=f"a model of the platform {given.platform} cannot do that, though a server loads it",
                remediation='Leave it out, or use a platform of your own: platform = { Custom = "name" }.',
            )


def _file_names(given: TritonConfiguration, at: str) -> Iterator[Problem]:
    """Label, warm-up and state files are copied next to each other under their own names."""
    states = given.sequence_batching.states if given.sequence_batching is not None else ()
    kinds = {
        "outputs": [each.label_filename for each in given.outputs],
        "warmup": [t.input_data_file for sample in given.warmup for t in sample.inputs.values()],
        "sequence_batching.states": [each.initial_state_file for each in states],
    }
    for kind, files in kinds.items():
        different = Counter(path.name for path in {path for path in files if path is not None})
        for name, count in different.items():
            if count > 1:
                yield Problem(
                    where=f"{at}.{kind}",
                    message=f"{count} different files are called {name}, and a model holds them in one folder",
                    remediation="Rename one of them.",
                )


def _steps(spec: PackageSpec) -> Iterator[Problem]:
    names = [model_name(spec, module) for module in spec.wasm_binaries]
    names += [module.module_name for module in spec.wasm_binaries]
    names += [ensemble.name for ensemble in spec.triton_config.ensembles]
    for i, ensemble in enumerate(spec.triton_config.ensembles):
        for j, step in enumerate(ensemble.steps):
            if step.model_name not in names:
                yield Problem(
                    where=f"triton_config.ensembles[{i}].steps[{j}].model_name",
                    message=f"the package has no model {step.model_name!r}",
                    remediation=did_you_mean(step.model_name, list(dict.fromkeys(names))),
                )
