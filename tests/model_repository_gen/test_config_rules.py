"""Settings of a model's triton_config that Triton would reject or ignore silently."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest

from portalis.model_repository_gen.config_rules import config_problems
from portalis.spec.triton import TritonConfiguration

X, Y = {"name": "x", "data_type": "FP32", "dims": [1]}, {"name": "y", "data_type": "FP32", "dims": [1]}
STATE = {"name": "s", "data_type": "FP32", "dims": [1]}
CUSTOM = {"platform": {"Custom": "mine"}}


def problems(**fields: Any) -> list[str]:
    return [
        str(problem) for problem in config_problems(TritonConfiguration.model_validate_json(json.dumps(fields)), "t")
    ]


def sample(**source: Any) -> dict[str, Any]:
    return {"name": "w", "inputs": {"x": {"data_type": "FP32", "dims": [1], **source}}}


def control(kind: str, data_type: str) -> dict[str, Any]:
    return {"control_inputs": [{"name": "C", "control_type": kind, "data_type": data_type}]}


ELSEWHERE = (
    "a model of the platform {} does not support this, although a server loads it."
    ' Remove it, or use a custom platform: platform = {{ Custom = "name" }}.'
)
FOR_A_PLATFORM_OF_ONES_OWN: dict[str, dict[str, Any]] = {
    "model_transaction_policy.decoupled": {"model_transaction_policy": {"decoupled": True}},
    "batch_inputs": {"batch_inputs": [{"kind": "BATCH_ELEMENT_COUNT", "target_name": ["N"], "data_type": "FP32", "source_input": ["x"]}]},
    "batch_outputs": {"batch_outputs": [{"target_name": ["y"], "source_input": ["x"]}]},
    "sequence_batching.states": {"sequence_batching": {"states": [STATE]}},
    "sequence_batching.iterative_sequence": {"sequence_batching": {"iterative_sequence": True}},
    "inputs[1].reshape": {"inputs": [X, {**X, "reshape": []}]},
    "outputs[0].reshape": {"outputs": [{**Y, "reshape": []}]},
}  # fmt: skip


@pytest.mark.parametrize("where", FOR_A_PLATFORM_OF_ONES_OWN)
@pytest.mark.parametrize("platform", ["WasmABI", "Python"])
def test_a_setting_that_the_python_backend_lacks_requires_a_custom_platform(where: str, platform: str) -> None:
    fields = FOR_A_PLATFORM_OF_ONES_OWN[where]
    assert problems(platform=platform, **fields) == [f"t.{where}: {ELSEWHERE.format(platform)}"]
    assert problems(**CUSTOM, **fields) == []


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "schedulers": (
        {"dynamic_batching": {}, "sequence_batching": {}},
        ("t: dynamic_batching and sequence_batching exclude each other. Remove dynamic_batching or sequence_batching."),
    ),
    "strategies": (
        {"sequence_batching": {"oldest": {"max_candidate_sequences": 1}, "direct": {}}},
        "t.sequence_batching: oldest and direct exclude each other. Remove oldest or direct.",
    ),
    "sources": (
        {"warmup": [sample(), sample(zero_data=True, random_data=True)]},
        (
            "t.warmup[1].inputs.x: expected one source of data, got zero_data and random_data."
            " Keep only one of zero_data, random_data."
        ),
    ),
    "sources_and_a_file": (
        {"warmup": [sample(random_data=True, input_data_file="/x")]},
        (
            "t.warmup[0].inputs.x: expected one source of data, got random_data and input_data_file."
            " Keep only one of random_data, input_data_file."
        ),
    ),
    "level": (
        {"optimization": {"graph_level": 1}},
        (
            "t.optimization.graph_level: graph_level is set, but graph_optimization is false."
            " Set graph_optimization = true, or remove graph_level."
        ),
    ),
    "flag": (
        {"sequence_batching": control("Ready", "INT64")},
        (
            "t.sequence_batching.control_inputs[0].data_type: the control Ready cannot have the data type INT64."
            " Use INT32, FP32 or BOOL; only a CorrelationId can have other types."
        ),
    ),
    "preferred": (
        {"dynamic_batching": {"preferred_batch_size": [1, 2**31]}},
        "t.dynamic_batching.preferred_batch_size: expected at most 2147483647, got 2147483648. Use 2147483647 at most.",
    ),
    "preferred_oldest": (
        {"sequence_batching": {"oldest": {"max_candidate_sequences": 1, "preferred_batch_size": [2**31]}}},
        "t.sequence_batching.oldest.preferred_batch_size: expected at most 2147483647, got 2147483648. Use 2147483647 at most.",
    ),
    "candidates": (
        {"sequence_batching": {"oldest": {"max_candidate_sequences": 2**31}}},
        "t.sequence_batching.oldest.max_candidate_sequences: expected at most 2147483647, got 2147483648. Use 2147483647 at most.",
    ),
    "threshold": (
        {"optimization": {"gather_kernel_buffer_threshold": 2**32}},
        "t.optimization.gather_kernel_buffer_threshold: expected at most 4294967295, got 4294967296. Use 4294967295 at most.",
    ),
    "level_number": (
        {"dynamic_batching": {"priority_queue_policy": {"1" + "0" * 5000: {}}}},
        f"t.dynamic_batching.priority_queue_policy: expected at most {2**64 - 1}, got {2**64}. Use {2**64 - 1} at most.",
    ),
    "dims": (
        {"warmup": [{"name": "w", "inputs": {"x": {"data_type": "FP32", "dims": [1, 2**63]}}}]},
        f"t.warmup[0].inputs.x.dims: expected at most {2**63 - 1}, got {2**63}. Use {2**63 - 1} at most.",
    ),
    "labels": (
        {"outputs": [{**Y, "label_filename": "/a/l"}, {**Y, "label_filename": "/b/l"}]},
        (
            "t.outputs: 2 different files are named l, and a model stores them in one directory."
            " Rename one of the files named l."
        ),
    ),
    "samples": (
        {"warmup": [sample(input_data_file="/a/x"), sample(input_data_file="/b/x")]},
        (
            "t.warmup: 2 different files are named x, and a model stores them in one directory."
            " Rename one of the files named x."
        ),
    ),
    "states": (
        {**CUSTOM, "sequence_batching": {"states": [{**STATE, "initial_state_file": f"/{each}/s"} for each in "abc"]}},
        (
            "t.sequence_batching.states: 3 different files are named s, and a model stores them in one directory."
            " Rename one of the files named s."
        ),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_would_be_lost_is_rejected(name: str) -> None:
    fields, reported = REFUSED[name]
    assert problems(**fields) == [reported]


@pytest.mark.parametrize("character", [*sorted(set(string.punctuation) - set("@%^_-+=:,./")), " ", "\t"])
def test_the_name_of_a_group_is_safe_in_a_shell(character: str) -> None:
    name = f"a{character}b"
    for platform in ("WasmABI", {"Custom": "mine"}):
        (reported,) = problems(platform=platform, instance_groups=[{}, {"name": name}])
        assert reported == (
            f"t.instance_groups[1].name: the name {name!r} contains {character!r}, and Triton passes the name"
            " unquoted to a shell. Use letters, digits, dots, dashes and underscores."
        )
    assert "contains unprintable characters" in problems(instance_groups=[{"name": "a\x1b"}])[0]


@pytest.mark.parametrize("name", ["config.pbtxt", "warmup", "initial_state", "configs", "1"])
def test_a_label_file_cannot_replace_a_file_of_the_model(name: str) -> None:
    (reported,) = problems(outputs=[Y, {**Y, "label_filename": f"/a/{name}"}])
    assert reported == (
        f"t.outputs[1].label_filename: a label file cannot be named {name}: the model's directory uses that name."
        f" Rename the label file {name}."
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dynamic_batching": {"preferred_batch_size": [2**31 - 1], "priority_queue_policy": {str(2**64 - 1): {}}}},
        {"sequence_batching": {"oldest": {"max_candidate_sequences": 2**31 - 1, "preferred_batch_size": [2**31 - 1]}}},
        {"sequence_batching": {"direct": {}}},
        {"sequence_batching": control("Start", "INT32")},
        {"sequence_batching": control("Start", "FP32")},
        {"sequence_batching": control("End", "BOOL")},
        {"sequence_batching": control("CorrelationId", "STRING")},
        {"instance_groups": [{"name": "a.b-c_d:é@1%+=,/^"}, {}]},
        {"optimization": {"graph_optimization": True, "graph_level": 2}},
        {"optimization": {"cuda_graphs": True, "gather_kernel_buffer_threshold": 2**32 - 1}},
        {"model_transaction_policy": {"decoupled": False}},
        {"inputs": [{**X, "reshape": [1]}], "outputs": [{**Y, "reshape": [1, 1]}]},
        {"warmup": [sample(), sample(zero_data=True), sample(random_data=True), sample(input_data_file="/x")]},
        {"warmup": [{"name": "w", "inputs": {"x": {"data_type": "FP32", "dims": [0, 2**63 - 1]}}}]},
        {"outputs": [{**Y, "label_filename": "/a/labels"}, {**Y, "label_filename": "/a/labels"}]},
    ],
)
def test_a_valid_configuration_has_no_problems(fields: dict[str, Any]) -> None:
    assert problems(**fields) == []
