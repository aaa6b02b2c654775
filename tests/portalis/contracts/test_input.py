"""The input contract (requirements 4.1): what is read of it, and what is wrong with it in its own terms."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import wasmtime

from portalis.contracts.input import PackagingAgentInput, in_contract, read_input
from portalis.contracts.json_schemas import schema_text
from portalis.errors import UsageError
from portalis.problems import InputProblems, Problem
from portalis.spec.package_spec import OperationMode
from tests.portalis.conftest import ADD


@pytest.fixture
def contract(tmp_path: Path) -> dict[str, Any]:
    """The contract of a package of two modules, whose files lie in the folder."""
    module = wasmtime.wat2wasm(ADD)
    for name in ("add", "more"):
        (tmp_path / f"{name}.wasm").write_bytes(module)
    for name in ("tests", "parity", "benchmarks"):
        (tmp_path / f"{name}.json").write_text("{}")
    return {
        "wasm_binaries": {
            "binaries": [
                {"crate_name": "add", "file_path": "add.wasm", "size_bytes": len(module), "exports": ["add"]},
                {"crate_name": "more", "file_path": "more.wasm", "description": "adds more"},
            ],
            "metadata": {"rust_version": "1.83.0", "anything": ["else"]},
        },
        "test_results": {
            "results_path": "tests.json",
            "parity_report_path": "parity.json",
            "benchmarks_path": "benchmarks.json",
        },
        "packaging_configuration": {
            "package_name": "demo",
            "package_version": "1.0.0",
            "output_directory": "out",
            "triton_config": {"max_batch_size": 8},
        },
        "context": {"pipeline_id": "run-7", "previous_agent": "TestAgent", "mode": "script"},
    }


def written(folder: Path, contract: dict[str, Any]) -> Path:
    path = folder / "packaging-input.json"
    path.write_text(json.dumps(contract))
    return path


def wrong(folder: Path, contract: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InputProblems) as caught:
        read_input(written(folder, contract))
    return [(problem.where, problem.message) for problem in caught.value.problems]


def test_the_contract_becomes_a_spec(tmp_path: Path, contract: dict[str, Any]) -> None:
    jsonschema.validate(contract, json.loads(schema_text("input")))
    spec = read_input(written(tmp_path, contract))
    assert [(m.module_name, m.path) for m in spec.wasm_binaries] == [
        ("add", tmp_path / "add.wasm"),
        ("more", tmp_path / "more.wasm"),
    ]
    assert spec.wasm_binaries[1].description == "adds more"
    assert (spec.package_name, spec.output_directory) == ("demo", tmp_path / "out")
    assert (spec.run_id, spec.mode, spec.triton_config.max_batch_size) == ("run-7", OperationMode.Script, 8)
    assert (spec.test_results, spec.parity_report, spec.benchmarks) == tuple(
        tmp_path / f"{name}.json" for name in ("tests", "parity", "benchmarks")
    )
    assert getattr(spec.build_metadata, "rust_version", None) == "1.83.0"


def test_all_problems_have_the_keys_of_the_contract(tmp_path: Path, contract: dict[str, Any]) -> None:
    first, second = contract["wasm_binaries"]["binaries"]
    first |= {"size_bytes": 1, "crate": "x"}
    second |= {"file_path": "gone.wasm"}
    contract["test_results"] = {"results_path": "gone.json"}
    contract["context"] |= {"previous_agent": "BuildAgent", "mode": "both"}
    contract["packaging_configuration"] |= {
        "package_version": "1",
        "container_config": {"service_port": 9090},
        "wasm_binaries": [],
    }
    assert sorted(where for where, _ in wrong(tmp_path, contract)) == [
        "context.mode",
        "context.previous_agent",
        "packaging_configuration.container_config.metrics_port",
        "packaging_configuration.package_version",
        "packaging_configuration.wasm_binaries",
        "test_results.parity_report_path",
        "test_results.results_path",
        "wasm_binaries.binaries[0].crate",
        "wasm_binaries.binaries[0].size_bytes",
        "wasm_binaries.binaries[1].file_path",
    ]


def test_two_modules_of_one_name_are_reported_with_the_contracts_keys(tmp_path: Path, contract: dict[str, Any]) -> None:
    contract["wasm_binaries"]["binaries"][1]["crate_name"] = "add"
    with pytest.raises(InputProblems) as caught:
        read_input(written(tmp_path, contract))
    (problem,) = caught.value.problems
    assert str(problem) == (
        "wasm_binaries.binaries[1]: 2 modules are named 'add' (wasm_binaries.binaries[0], wasm_binaries.binaries[1])."
        " Give each a unique `crate_name`."
    )


@pytest.mark.parametrize(
    ("in_spec", "there"),
    [
        ("wasm_binaries[0].path", "wasm_binaries.binaries[0].file_path"),
        ("wasm_binaries[12].name", "wasm_binaries.binaries[12].crate_name"),
        ("wasm_binaries[0].triton_config.inputs", "wasm_binaries.binaries[0].triton_config.inputs"),
        ("package_name", "packaging_configuration.package_name"),
        ("triton_config.inputs[0].name", "packaging_configuration.triton_config.inputs[0].name"),
        ("test_results", "test_results.results_path"),
        ("parity_report", "test_results.parity_report_path"),
        ("benchmarks", "test_results.benchmarks_path"),
        ("build_metadata.workspace_root", "wasm_binaries.metadata.workspace_root"),
        ("pipeline_id", "context.pipeline_id"),
        ("mode", "context.mode"),
        ("", ""),
    ],
)
def test_every_place_of_a_spec_has_one_in_the_contract(in_spec: str, there: str) -> None:
    assert in_contract(Problem(where=in_spec, message="")).where == there


@pytest.mark.parametrize("part", ["wasm_binaries", "test_results", "packaging_configuration", "context"])
@pytest.mark.parametrize("instead", ["missing", 3, None, []])
def test_a_part_that_is_not_there_is_one_problem(
    tmp_path: Path, contract: dict[str, Any], part: str, instead: Any
) -> None:
    if instead == "missing":
        del contract[part]
    else:
        contract[part] = instead
    assert [where for where, _ in wrong(tmp_path, contract)] == [part]


@pytest.mark.parametrize("binaries", [[], [3], [{}], "x"])
def test_invalid_modules_are_reported(tmp_path: Path, contract: dict[str, Any], binaries: Any) -> None:
    contract["wasm_binaries"]["binaries"] = binaries
    assert all(where.startswith("wasm_binaries.binaries") for where, _ in wrong(tmp_path, contract))


def test_a_contract_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "packaging-input.json").write_text("[]")
    with pytest.raises(UsageError, match="expected a table, got a list"):
        read_input(tmp_path / "packaging-input.json")


def test_the_test_agent_may_say_more_than_is_read(tmp_path: Path, contract: dict[str, Any]) -> None:
    output = copy.deepcopy(contract)
    output |= {"status": "success", "coverage": {"lines": 90}}
    output["context"] = {"pipeline_id": "run-7", "mode": "library", "started_at": "today"}
    output["test_results"]["seconds"] = 3
    output["wasm_binaries"]["target"] = "wasm32-wasip1"
    output["wasm_binaries"]["binaries"][0]["optimized"] = True
    given = PackagingAgentInput.from_test_output(output, base=tmp_path)
    assert given.context.previous_agent == "TestAgent"
    assert len(given.wasm_binaries.binaries) == 2
    assert given.to_spec().run_id == "run-7"
    jsonschema.validate(json.loads(given.model_dump_json()), json.loads(schema_text("input")))
    assert PackagingAgentInput.model_validate_json(given.model_dump_json()) == given


def test_the_settings_of_the_test_agents_output_are_ours_and_strict(tmp_path: Path, contract: dict[str, Any]) -> None:
    contract["packaging_configuration"]["packge"] = 1
    with pytest.raises(InputProblems, match="packaging_configuration.packge: the key 'packge' is unknown"):
        PackagingAgentInput.from_test_output(contract, base=tmp_path)
