"""All problems of a spec are reported together, each once, at its location and with a remediation."""

from __future__ import annotations

from typing import Any

import pytest

from portalis.problems import InputProblems, Problem, did_you_mean, independent_problems
from portalis.spec.read import make_spec

from .conftest import SMALLEST, Folder


@pytest.mark.parametrize(
    ("changes", "where", "near"),
    [
        ({"packge_name": 1}, "packge_name", "package_name"),
        ({"package-version": 1}, "package-version", "package_version"),
        ({"container_config": {"Service_Port": 1}}, "container_config.Service_Port", "service_port"),
        ({"wasm_binaries": [{"path": "add.wasm", "nam": 1}]}, "wasm_binaries[0].nam", "name"),
        (
            {"triton_config": {"inputs": [{"name": "x", "data_type": "FP32", "dims": [1], "formt": 1}]}},
            "triton_config.inputs[0].formt",
            "format",
        ),
        (
            {"triton_config": {"platform": {"Custom": "x", "custon": 1}}},
            "triton_config.platform.custon",
            "Custom",
        ),
        (
            {
                "triton_config": {
                    "warmup": [{"name": "w", "inputs": {"x y": {"data_type": "FP32", "dims": [1], "zero": 1}}}]
                }
            },
            'triton_config.warmup[0].inputs["x y"].zero',
            "zero_data",
        ),
        (
            {"distribution_config": {"publish_metadata": {"key_words": ["x"]}}},
            "distribution_config.publish_metadata.key_words",
            "keywords",
        ),
        (
            {"wasm_binaries": [{"path": "add.wasm", "triton_config": {"optimization": {"graph": True}}}]},
            "wasm_binaries[0].triton_config.optimization.graph",
            "graph_level",
        ),
    ],
)
def test_an_unknown_key_is_reported_with_the_nearest_at_every_depth(
    folder: Folder, changes: dict[str, Any], where: str, near: str
) -> None:
    (problem,) = folder.problems(**changes).problems
    assert problem.where == where
    assert problem.remediation == f"Did you mean {near!r}?"


@pytest.mark.parametrize(
    ("changes", "where", "message"),
    [
        (
            {"triton_config": {"platform": "Wasm"}},
            "triton_config.platform",
            "expected one of 'WasmABI', 'Python', or a table { Custom = … }, got 'Wasm'",
        ),
        (
            {"triton_config": {"version_policy": {"policy": 3}}},
            "triton_config.version_policy.policy",
            "expected one of 'All', 'Specific', or a table { Latest = … }, got 3",
        ),
        ({"triton_config": {"platform": {"Custom": 3}}}, "triton_config.platform.Custom", "expected a string, got 3"),
        (
            {"triton_config": {"version_policy": {"policy": {"Latest": 0}}}},
            "triton_config.version_policy.policy.Latest",
            "0 is less than 1",
        ),
        ({"wasm_binaries": [3]}, "wasm_binaries[0]", "3 is neither a path nor a table"),
        ({"wasm_binaries": []}, "wasm_binaries", "expected at least one item, got none"),
        ({"wasm_binaries": "add.wasm"}, "wasm_binaries", "expected a list, got 'add.wasm'"),
        ({"container_config": 3}, "container_config", "expected a table, got 3"),
        ({"container_config": {"labels": []}}, "container_config.labels", "expected a table, got []"),
        ({"enable_nim_packaging": "yes"}, "enable_nim_packaging", "expected true or false, got 'yes'"),
        (
            {"container_config": {"service_port": "8000"}},
            "container_config.service_port",
            "expected an integer, got '8000'",
        ),
        ({"container_config": {"service_port": 70000}}, "container_config.service_port", "70000 is more than 65535"),
        ({"container_config": {"gpu_count": True}}, "container_config.gpu_count", "expected an integer, got true"),
        ({"description": None}, "description", "expected a string, got null"),
        ({"package_name": ""}, "package_name", "it is empty"),
        ({"container_config": {"labels": {"": "x"}}}, 'container_config.labels[""]', "it is empty"),
        ({"package_name": "a\0b"}, "package_name", r"'a\x00b' has a NUL character"),
        ({"description": "\ud800"}, "description", r"'\ud800' has half of a surrogate pair"),
        (
            {"triton_config": {"model_version": float("nan")}},
            "triton_config.model_version",
            "expected a finite number, got nan",
        ),
        (
            {"triton_config": {"model_version": 10**5000}},
            "triton_config.model_version",
            "the number has more than 64 bits",
        ),
        (
            {"container_config": {"health_check_interval": "soon"}},
            "container_config.health_check_interval",
            "expected a number of seconds, or a duration such as 30s, 2m or 1h30m, got 'soon'",
        ),
        (
            {"package_version": "1.0.0\n"},
            "package_version",
            r"expected a semantic version such as 1.0.0 or 1.2.0-rc.1, got '1.0.0\n'",
        ),
        (
            {"wasm_binaries": [{"path": "add.wasm", "interface": {"args": ["x", True]}}]},
            "wasm_binaries[0].interface.args[1]",
            "true is neither a name nor a number",
        ),
    ],
)
def test_an_invalid_value_is_reported_with_the_words_of_a_spec(
    folder: Folder, changes: dict[str, Any], where: str, message: str
) -> None:
    assert folder.wrong(**changes) == [(where, message)]


def test_all_problems_of_schema_and_rules_are_reported_together(folder: Folder) -> None:
    found = folder.wrong(
        package_name="",
        package_version="1.0",
        wasm_binaries=[
            {"pth": "add.wasm"},
            "missing.wasm",
            {"path": "add.wasm", "name": "x"},
            {"path": "add.wasm", "name": "x"},
        ],
        container_config={"service_port": 9090, "labels": {"a": float("inf")}},
        triton_config={"model_version": 0, "version_policy": {"policy": "Specific"}, "inputs": [{"dims": [0]}]},
        test_results="report.json",
        registri_url="x",
    )
    assert sorted(where for where, _ in found) == sorted(
        [
            "package_name",
            "package_version",
            "wasm_binaries[0].path",
            "wasm_binaries[0].pth",
            "wasm_binaries[1].path",
            "wasm_binaries[3]",
            "container_config.labels.a",
            "container_config.metrics_port",
            "triton_config.model_version",
            "triton_config.version_policy.versions",
            "triton_config.inputs[0].name",
            "triton_config.inputs[0].data_type",
            "triton_config.inputs[0].dims[0]",
            "test_results",
            "registri_url",
        ]
    )


@pytest.mark.parametrize(
    ("changes", "locations"),
    [
        # the default that replaces the invalid port is the other port's value
        ({"container_config": {"service_port": "x", "metrics_port": 8000}}, ["container_config.service_port"]),
        ({"container_config": {"gpu_required": 1, "gpu_count": 2}}, ["container_config.gpu_required"]),
        (
            {"triton_config": {"version_policy": {"policy": "specific", "versions": [1]}}},
            ["triton_config.version_policy.policy"],
        ),
        (
            {
                "enable_triton_integration": 0,
                **dict.fromkeys(
                    ("enable_nim_packaging", "enable_omniverse_packaging", "enable_distribution_archive"), False
                ),
            },
            ["enable_triton_integration"],
        ),
        (
            {"wasm_binaries": [3, {"path": 4}, {}]},
            ["wasm_binaries[0]", "wasm_binaries[1].path", "wasm_binaries[2].path"],
        ),
        ({"output_directory": 3}, ["output_directory"]),
        (
            {"output_directory": None, "wasm_binaries": ["unnamed/add.wasm"]},
            ["output_directory", "wasm_binaries[0].path"],
        ),
        ({"wasm_binaries": [{"path": "add.wasm", "name": 1}, "add.wasm"]}, ["wasm_binaries[0].name"]),
    ],
)
def test_what_follows_from_a_problem_is_no_second_problem(
    folder: Folder, changes: dict[str, Any], locations: list[str]
) -> None:
    assert [where for where, _ in folder.wrong(**changes)] == locations


@pytest.mark.parametrize("key", SMALLEST)
def test_a_missing_required_key_is_reported(folder: Folder, key: str) -> None:
    rest = {name: value for name, value in SMALLEST.items() if name != key}
    with pytest.raises(InputProblems) as caught:
        make_spec(rest, base=folder.path, source="the spec")
    assert [(each.where, each.message) for each in caught.value.problems] == [(key, "it is missing")]


def test_a_problem_is_one_line_whatever_is_in_it(folder: Folder) -> None:
    error = folder.problems(**{"a\n  - b": 1, "package_name": "x\x1b[31m\0", "wasm_binaries": ["no\nsuch.wasm"]})
    assert len(error.message.splitlines()) == 4
    assert "\x1b" not in error.message


def test_the_nearest_name_is_found_in_any_case_or_all_are_listed() -> None:
    assert did_you_mean("Tritn", ["triton", "nim"]) == "Did you mean 'triton'?"
    assert did_you_mean("xyzzy", ["triton", "nim"]) == "The choices are: triton, nim."


def test_only_problems_at_or_below_a_reported_location_depend_on_it() -> None:
    problems = [Problem(where=where, message="") for where in ("a", "a.b", "a[0].c", "ab", "")]
    assert [each.where for each in independent_problems(problems, {"a"})] == ["ab", ""]
    assert list(independent_problems([Problem(where="", message="", also=("x.y",))], {"x"})) == []
