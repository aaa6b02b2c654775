"""Problems of a spec's models, found before a model is built: names, steps, and each module's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portalis.model_repository_gen.spec_rules import model_problems
from tests.model_repository_gen import jobs

IN, OUT = {"name": "in", "data_type": "FP32", "dims": [1]}, {"name": "out", "data_type": "FP32", "dims": [1]}


def ensemble(name: str, *models: str, **more: Any) -> dict[str, Any]:
    steps = [{"model_name": each, "input_map": {"x": "in"}, "output_map": {"y": "out"}} for each in models]
    return {"name": name, "inputs": [IN], "outputs": [OUT], "steps": steps, **more}


def problems(folder: Path, *modules: Any, **triton: Any) -> list[str]:
    return [str(problem) for problem in model_problems(jobs.make(folder, *modules, **triton))]


def test_a_plain_spec_has_no_problems(tmp_path: Path) -> None:
    assert problems(tmp_path, "add") == []
    assert (
        problems(tmp_path, "add", "echo", ensembles=[ensemble("chain", "add", "demo_echo"), ensemble("e", "chain")])
        == []
    )


def test_several_modules_cannot_share_a_model_name(tmp_path: Path) -> None:
    found = problems(tmp_path, "add", "echo", model_name="m")
    assert found == [
        (
            "triton_config.model_name: 2 modules cannot share the model name 'm'."
            " Set model_name in each module's own triton_config, or remove it."
        )
    ]
    assert problems(tmp_path, "add", model_name="m") == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a/b", "contains a slash or unprintable characters"),
        ("..", "is empty or begins with a dot"),
        (".m", "is empty or begins with a dot"),
        ("a\nb", "contains a slash or unprintable characters"),
        ("a\x1b[31mb", "contains a slash or unprintable characters"),
        ("a\x01b", "contains a slash or unprintable characters"),
        ("a;reboot", "contains ';', and Triton passes the name unquoted to a shell"),
        ("a$(reboot)", "contains '$', and Triton passes the name unquoted to a shell"),
        ("a b", "contains ' ', and Triton passes the name unquoted to a shell"),
        ("ä" * 101, "is longer than 200 bytes"),
    ],
)
def test_a_name_that_is_not_a_valid_directory_name_is_rejected(tmp_path: Path, name: str, why: str) -> None:
    (alone,) = problems(tmp_path, "add", model_name=name)
    (own,) = problems(tmp_path, "echo", {"path": "add", "triton_config": {"model_name": name}})
    (chained,) = problems(tmp_path, "add", ensembles=[ensemble(name, "add")])
    places = ("wasm_binaries[0]", "wasm_binaries[1]", "triton_config.ensembles[0].name")
    for place, reported in zip(places, (alone, own, chained)):
        assert reported.startswith(f"{place}: the name of the Triton model, {name!r}, {why}")
        assert reported.endswith("Set a different model_name.")
        assert reported.isprintable()


def test_two_models_of_one_name_are_reported_with_both_locations(tmp_path: Path) -> None:
    found = problems(tmp_path, "add", "echo", ensembles=[ensemble("demo_add", "echo")])
    assert found == [
        (
            "triton_config.ensembles[0].name: 2 Triton models are named 'demo_add'"
            " (wasm_binaries[0], triton_config.ensembles[0].name). Set a different model_name."
        )
    ]


def test_a_step_names_a_model_or_a_module_of_the_package(tmp_path: Path) -> None:
    (reported,) = problems(tmp_path, "add", ensembles=[ensemble("chain", "add", "demo_ad")])
    assert reported == (
        "triton_config.ensembles[0].steps[1].model_name: the package has no model 'demo_ad'. Did you mean 'demo_add'?"
    )


def test_an_ambiguous_step_is_rejected(tmp_path: Path) -> None:
    modules = [{"path": "add", "triton_config": {"model_name": "echo"}}, "echo"]
    (reported,) = problems(tmp_path, *modules, ensembles=[ensemble("chain", "echo")])
    assert reported == (
        "triton_config.ensembles[0].steps[0].model_name: 'echo' is ambiguous: it names a model, and the module of"
        " model 'demo_echo'. Rename the module or the model."
    )
    assert problems(tmp_path, *modules, ensembles=[ensemble("chain", "add")]) == []
    same = {"path": "add", "triton_config": {"model_name": "add"}}
    assert problems(tmp_path, same, ensembles=[ensemble("chain", "add")]) == []


def test_the_packages_settings_are_checked_for_modules_that_inherit_them(tmp_path: Path) -> None:
    both: dict[str, Any] = {"dynamic_batching": {}, "sequence_batching": {}}
    own = {"path": "add", "triton_config": {"platform": "Python", "sequence_batching": None}}
    (reported,) = problems(tmp_path, own, "echo", **both)
    assert reported.startswith("triton_config: dynamic_batching and sequence_batching")
    assert problems(tmp_path, own, **both) == []
    (reported,) = problems(tmp_path, "echo", {**own, "triton_config": both})
    assert reported.startswith("wasm_binaries[1].triton_config: dynamic_batching")


def test_label_files_of_an_ensemble_are_checked_too(tmp_path: Path) -> None:
    (tmp_path / "warmup").write_text("labels")
    outputs = [{**OUT, "label_filename": "warmup"}]
    (reported,) = problems(tmp_path, "add", ensembles=[ensemble("chain", "add", outputs=outputs)])
    assert reported.startswith(
        "triton_config.ensembles[0].outputs[0].label_filename: a label file cannot be named warmup"
    )


def test_a_modules_own_settings_are_read_with_their_arrays(tmp_path: Path) -> None:
    tensors = {
        "inputs": [{"name": "x", "dtype": "FP32", "dims": [-1]}],
        "outputs": [{"name": "y", "dtype": "FP32", "dims": [2]}],
    }
    groups = {"instance_groups": [{"kind": "GPU", "gpus": [0, 1]}]}
    (module,) = jobs.make(tmp_path, {"path": "add", "interface": tensors, "triton_config": groups}).wasm_binaries
    assert module.interface.model_dump(mode="json", exclude_none=True) == tensors
    assert module.triton_config is not None
    assert module.triton_config.instance_groups[0].gpus == (0, 1)
