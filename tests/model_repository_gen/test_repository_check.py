"""Checks of a repository that need no server: how problems are reported, and files that would crash a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from portalis.errors import UsageError
from portalis.model_repository_gen.pbtxt import from_text
from portalis.model_repository_gen.repository_check import check_repository, unsafe_repository_names
from portalis.model_repository_gen.rules import check_model_config
from portalis.model_repository_gen.rules.model_folder import served_versions
from portalis.model_repository_gen.rules.model_platform import unsafe_names
from portalis.model_repository_gen.rules.rule import ConfigSeverity
from tests.model_repository_gen import cases
from tests.model_repository_gen.cases import OUT, PYTHON, A, B, Case, write


def reported(repository: Path, name: str, **options: bool) -> str:
    return "\n".join(map(str, check_repository(repository, **options)[name]))  # type: ignore[arg-type]


def test_all_problems_of_a_model_are_reported_together_with_remediations() -> None:
    config = from_text(
        'backend: "wasm" input { dims: 0 } dynamic_batching { preferred_batch_size: [ 0, 2 ] priority_levels: 3 }'
    )
    found = check_model_config(config)
    assert [problem.where for problem in found] == [
        "input[0].name",
        "input[0].data_type",
        "input[0].dims",
        "dynamic_batching.preferred_batch_size[0]",
        "dynamic_batching.preferred_batch_size[1]",
        "dynamic_batching",
        "dynamic_batching.default_priority_level",
    ]
    assert all(problem.message and problem.remediation for problem in found)


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ('name: "a;b"', "name"),
        ('instance_group { name: "ok" } instance_group { name: "a`b`" }', "instance_group[1].name"),
        ('default_model_filename: "$(a).wasm"', "default_model_filename"),
        (
            'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/$(a)" } }',
            "parameters[EXECUTION_ENV_PATH]",
        ),
        ('instance_group { name: "a\\001b" }', "instance_group[0].name"),
    ],
)
def test_a_name_with_shell_characters_is_an_error(config: str, where: str) -> None:
    found = [problem.where for problem in unsafe_names(from_text(config), from_text(config).name)]
    assert found == [where]
    assert where in [problem.where for problem in check_model_config(from_text(f'backend: "wasm" {config}'))]


def test_other_names_are_safe() -> None:
    config = from_text(
        """name: "größe-模型" default_model_filename: "my-model_2.wasm" instance_group { name: "größe.0" }
        parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }"""
    )
    assert list(unsafe_names(config, config.name)) == []


def test_unsafe_names_are_found_in_every_directory_and_configuration(tmp_path: Path) -> None:
    for name, files in {"good": ["config.pbtxt"], "named": ["config.pbtxt", "configs/x.pbtxt"], ".h$": []}.items():
        (tmp_path / name / "configs").mkdir(parents=True)
        for file in files:
            group = "g$" if file != "config.pbtxt" else "g"
            (tmp_path / name / file).write_text(f'instance_group {{ name: "{group}" }}')
    (tmp_path / "unreadable").mkdir()
    (tmp_path / "unreadable" / "config.pbtxt").write_bytes(b"\xff{")
    (tmp_path / "a$file").touch()
    assert [(model, problem.where) for model, problem in unsafe_repository_names(tmp_path)] == [
        (".h$", "name"),
        ("named", "instance_group[0].name"),
    ]


def test_a_good_configuration_without_its_directory_has_no_problems() -> None:
    for name, case in cases.GOOD.items():
        assert case.config is not None
        assert check_model_config(from_text(case.config)) == [], name


def test_a_minimal_configuration_is_valid_if_the_server_completes_it(tmp_path: Path) -> None:
    write(tmp_path, "bare", Case('backend: "wasm" input { name: "a" } dynamic_batching {}'))
    write(tmp_path, "bare.wasm", Case(None))
    write(tmp_path, "any", cases.ensemble_case(cases.ensemble(cases.step("q:x r:y", "s:z", "bare.wasm")), "", ""))
    assert check_repository(tmp_path) == {"any": [], "bare": [], "bare.wasm": []}
    strict = check_repository(tmp_path, auto_complete=False)
    assert {problem.where for problem in strict["bare"]} == {"input[0].data_type", "input[0].dims", "dynamic_batching"}
    assert "directory 'bare.wasm' has no config.pbtxt" in str(strict["bare.wasm"][0])


def test_an_ensemble_is_checked_against_completed_configurations(tmp_path: Path) -> None:
    write(tmp_path, "m", Case('backend: "wasm"'))
    write(tmp_path, "e", cases.ensemble_case(cases.ensemble(cases.step("q:x b:y", model="m")), "", ""))
    assert reported(tmp_path, "e") == ""
    full = from_text(cases.BATCHED)
    found = check_repository(tmp_path, completed={"m": full})
    assert "model 'm' has no input 'q'" in "\n".join(map(str, found["e"]))


def test_a_directory_that_is_not_a_model_is_reported(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").touch()
    assert "Triton treats every directory of a repository as a model" in reported(tmp_path, "docs")
    assert list(check_repository(tmp_path)) == ["docs"]


def test_a_version_of_more_than_64_bits_is_rejected(tmp_path: Path) -> None:
    # 2.51 aborts with such a directory, regardless of the other models
    write(tmp_path, "m", Case(cases.BATCHED, versions=("1", "9" * 20)))
    (problem,) = check_repository(tmp_path)["m"]
    assert problem.severity is ConfigSeverity.ERROR and "out of range" in problem.message


def test_a_python_model_without_its_file_is_rejected(tmp_path: Path) -> None:
    # 2.51 waits for its stub and never becomes ready
    write(tmp_path, "m", Case(PYTHON + A + OUT, versions=(), files={"1/.keep": b""}))
    assert "1/model.py: the model's file is missing" in reported(tmp_path, "m")


def test_a_resource_is_global_or_per_device_in_all_models(tmp_path: Path) -> None:
    write(tmp_path, "a", Case(cases.resources("true", name="R")))
    write(tmp_path, "b", Case(cases.resources("false", name="R")))
    assert reported(tmp_path, "a") == ""
    assert "resource 'R' is per device here and global in model 'a', instance_group[0]" in reported(tmp_path, "b")


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", [10]),
        ("version_policy {}", [1, 2, 10]),
        ("version_policy { all {} }", [1, 2, 10]),
        ("version_policy { latest { num_versions: 2 } }", [2, 10]),
        ("version_policy { specific { versions: [ 2, 5 ] } }", [2]),
    ],
)
def test_versions_are_served_by_number_under_the_policy(tmp_path: Path, policy: str, versions: list[int]) -> None:
    write(tmp_path, "m", Case(cases.BATCHED + policy, versions=("1", "2", "10", "03", "warmup", "notes")))
    assert served_versions(from_text(cases.BATCHED + policy), tmp_path / "m") == versions


def test_a_repository_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the model repository"):
        check_repository(tmp_path / "none")


def test_an_unknown_warm_up_input_is_a_warning() -> None:
    more = 'inputs { key: "q" value { data_type: TYPE_FP32 dims: 1 zero_data: true } }'
    (problem,) = check_model_config(from_text("max_batch_size: 4 " + PYTHON + A + B + OUT + cases.sample(more=more)))
    assert problem.severity is ConfigSeverity.WARNING and "the model has no input 'q'" in problem.message


def test_a_directory_that_names_its_backend_needs_no_configuration(tmp_path: Path) -> None:
    """`m.wasm` is a model of the backend wasm; a directory without such an ending and without a model's file is not a model."""
    for name in ("m.wasm", "m.other", "onnx", "neither"):
        (tmp_path / name / "1").mkdir(parents=True)
    (tmp_path / "m.wasm" / "1" / "model.wasm").write_bytes(b"")
    (tmp_path / "m.other" / "1" / "model.other").write_bytes(b"")
    (tmp_path / "onnx" / "1" / "model.onnx").write_bytes(b"")
    found = check_repository(tmp_path)
    assert found["m.wasm"] == found["m.other"] == found["onnx"] == []
    assert "directory 'neither' has no config.pbtxt" in str(found["neither"][0])
