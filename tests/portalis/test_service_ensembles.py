"""The ensembles of a spec that a service runs, with the names that the service has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portalis.service_ensembles import ServiceEnsembles, service_ensembles
from portalis.spec.read import make_spec


def ensemble(name: str, *models: str, **others: Any) -> dict[str, Any]:
    tensors = [f"t{i}" for i in range(len(models) + 1)]
    return {
        "name": name,
        "inputs": [{"name": tensors[0], "data_type": "FP32", "dims": [-1]}],
        "outputs": [{"name": tensors[-1], "data_type": "FP32", "dims": [-1]}],
        "steps": [
            {"model_name": model, "input_map": {"x": one}, "output_map": {"y": other}}
            for model, one, other in zip(models, tensors, tensors[1:])
        ],
        **others,
    }


def found(tmp_path: Path, *ensembles: dict[str, Any], modules: tuple[str, ...] = ("a", "b")) -> ServiceEnsembles:
    binaries: list[Any] = [{"path": "a.wasm", "triton_config": {"model_version": 3, "model_name": "first"}}, "b.wasm"]
    data = {
        "package_name": "demo",
        "package_version": "1.0.0",
        "output_directory": "out",
        "wasm_binaries": binaries,
        "triton_config": {"ensembles": list(ensembles)},
    }
    for name in "ab":
        (tmp_path / f"{name}.wasm").write_bytes(b"\0asm\1\0\0\0")
    return service_ensembles(make_spec(data, base=tmp_path, source="the spec"), modules)


def steps(each: ServiceEnsembles) -> list[list[str]]:
    assert all(step.model_version == -1 for one in each.served for step in one.steps)
    return [[step.model_name for step in one.steps] for one in each.served]


def test_steps_that_name_modules_models_and_ensembles_get_the_names_of_the_service(tmp_path: Path) -> None:
    all_found = found(tmp_path, ensemble("e", "first", "a", "demo_b", "b"), ensemble("f", "e"))
    assert steps(all_found) == [["a", "a", "b", "b"], ["e"]] and not all_found.skipped


def test_an_ensemble_without_its_modules_is_skipped_with_those_that_contain_it(tmp_path: Path) -> None:
    one = found(tmp_path, ensemble("e", "b"), ensemble("f", "e"), ensemble("g", "a"), modules=("a",))
    assert steps(one) == [["a"]]
    assert dict(one.skipped) == {"e": "its model 'b' is not served", "f": "its model 'e' is not served"}


def test_a_step_can_name_only_the_version_that_the_service_has(tmp_path: Path) -> None:
    good, bad = ensemble("e", "a", version=5), ensemble("f", "e")
    good["steps"][0]["model_version"], bad["steps"][0]["model_version"] = 3, 4
    both = found(tmp_path, good, bad)
    assert [each.name for each in both.served] == ["e"]
    assert both.skipped == (("f", "it calls version 4 of 'e', and the service has 5"),)


def test_names_that_the_service_cannot_have_are_skipped_with_the_reason(tmp_path: Path) -> None:
    both = found(tmp_path, ensemble("b", "a"), ensemble("ä", "a"), ensemble("e", "a"), ensemble("e", "b"))
    (same, ours), (strange, invalid), twice = both.skipped
    assert twice == ("e", "2 ensembles have this name")
    assert (same, strange) == ("b", "ä") and not both.served
    assert ours == "a module has the same name, which is that of a model of the service"
    assert invalid.startswith("its name is not a model name that the service accepts")
