"""Every field of a model's spec, and its exact value in config.pbtxt, read back by protobuf (requirements 2.3, 6.3)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portalis.backend import Interface
from portalis.model_repository_gen.message import ModelSource, build_ensemble_config, build_model_config
from portalis.model_repository_gen.pbtxt import ModelConfig, from_text, to_text
from portalis.spec.package_spec import ModuleInterface
from portalis.spec.triton import Ensemble, TritonConfiguration

INTERFACE = Interface.from_json(
    {
        "entry": "f",
        "convention": "dlpack",
        "max_batch_size": 8,
        "inputs": [
            {"name": "x", "dtype": "FP32", "dims": [-1, 3]},
            {"name": "o", "dtype": "BYTES", "dims": [], "optional": True},
        ],
        "outputs": [{"name": "y", "dtype": "BF16", "dims": [2]}],
    },
    where="the test",
)
# The default configuration, in parts that a case can replace.
PARTS = {
    "name": 'name: "m"',
    "backend": 'backend: "wasm"',
    "batch": "max_batch_size: 8",
    "inputs": 'input { name: "x" data_type: TYPE_FP32 dims: [-1, 3] }'
    ' input { name: "o" data_type: TYPE_STRING dims: [1] optional: true }',
    "outputs": 'output { name: "y" data_type: TYPE_BF16 dims: [2] }',
    "groups": "instance_group { kind: KIND_CPU count: 1 }",
    "scheduler": "dynamic_batching { }",
    "versions": "version_policy { latest { num_versions: 1 } }",
}
X, Y = {"name": "x", "data_type": "FP32", "dims": [4]}, {"name": "y", "data_type": "FP32", "dims": [4]}
X_TEXT = 'input { name: "x" data_type: TYPE_FP32 dims: 4 '
Y_TEXT = 'output { name: "y" data_type: TYPE_FP32 dims: 4 '
CUSTOM = {"platform": {"Custom": "mine"}}
CUSTOM_PARTS = {"backend": 'backend: "mine"', "groups": "", "scheduler": ""}
IDLE = "max_sequence_idle_microseconds: 1000000 iterative_sequence: false"


def given(**fields: Any) -> TritonConfiguration:
    return TritonConfiguration.model_validate_json(json.dumps(fields))


def made(fields: dict[str, Any], *, interface: Interface | None = INTERFACE, **declared: Any) -> ModelConfig:
    interface_keys = ModuleInterface.model_validate_json(json.dumps(declared))
    return build_model_config(ModelSource(name="m", interface=interface, declared=interface_keys), given(**fields))


def says(config: ModelConfig, text: str) -> None:
    """`config`, and its own text read back, both equal the message in `text`."""
    expected = from_text(text)
    assert to_text(config) == to_text(expected)
    assert config == expected
    assert from_text(to_text(config)) == expected


def sequence(text: str) -> dict[str, str]:
    return {"scheduler": f"sequence_batching {{ {text} }}"}


def warm(name: str, text: str, more: str = "batch_size: 1") -> dict[str, str]:
    head = f'model_warmup {{ name: "{name}" {more} inputs {{ key: "x" value {{ data_type: TYPE_FP32 dims: 4 {text} }} }} }}'
    return {"more": head}


def sample(**source: Any) -> dict[str, Any]:
    return {"name": "first", "inputs": {"x": {"data_type": "FP32", "dims": [4], **source}}}


CASES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "nothing": ({}, {}),
    "platform_wasm": ({"platform": "WasmABI"}, {}),
    "platform_python": ({"platform": "Python"}, {"backend": 'backend: "python"'}),
    "platform_custom": (CUSTOM, CUSTOM_PARTS),
    "no_batching": ({"max_batch_size": 0}, {"batch": "max_batch_size: 0", "scheduler": ""}),
    "batch_size": ({"max_batch_size": 4}, {"batch": "max_batch_size: 4"}),
    "inputs": ({"inputs": [X]}, {"inputs": X_TEXT + "}"}),
    "outputs": ({"outputs": [Y]}, {"outputs": Y_TEXT + "}"}),
    "variable_dims": ({"inputs": [{**X, "dims": [-1, 2, -1]}]}, {"inputs": 'input { name: "x" data_type: TYPE_FP32 dims: [-1, 2, -1] }'}),
    "huge_dim": ({"inputs": [{**X, "dims": [2**63 - 1]}]}, {"inputs": 'input { name: "x" data_type: TYPE_FP32 dims: 9223372036854775807 }'}),
    "linear": ({"inputs": [{**X, "format": "Linear"}]}, {"inputs": X_TEXT + "format: FORMAT_NONE }"}),
    "nhwc": ({"inputs": [{**X, "format": "NHWC"}]}, {"inputs": X_TEXT + "format: FORMAT_NHWC }"}),
    "nchw": ({"inputs": [{**X, "format": "NCHW"}]}, {"inputs": X_TEXT + "format: FORMAT_NCHW }"}),
    "optional": ({"inputs": [{**X, "optional": True}]}, {"inputs": X_TEXT + "optional: true }"}),
    "reshape": (
        {"inputs": [{**X, "reshape": [2, -1]}], "outputs": [{**Y, "reshape": [2, 2]}]},
        {"inputs": X_TEXT + "reshape { shape: [2, -1] } }", "outputs": Y_TEXT + "reshape { shape: [2, 2] } }"},
    ),
    "reshape_to_a_scalar": (
        {"inputs": [{**X, "reshape": []}], "outputs": [{**Y, "reshape": []}]},
        {"inputs": X_TEXT + "reshape { } }", "outputs": Y_TEXT + "reshape { } }"},
    ),
    "ragged": ({"inputs": [{**X, "allow_ragged_batch": True}]}, {"inputs": X_TEXT + "allow_ragged_batch: true }"}),
    "shape_tensors": (
        {"inputs": [{**X, "is_shape_tensor": True}], "outputs": [{**Y, "is_shape_tensor": True}]},
        {"inputs": X_TEXT + "is_shape_tensor: true }", "outputs": Y_TEXT + "is_shape_tensor: true }"},
    ),
    "labels": ({"outputs": [{**Y, "label_filename": "/some/where/labels.txt"}]}, {"outputs": Y_TEXT + 'label_filename: "labels.txt" }'}),
    "group": (
        {"instance_groups": [{"name": "two", "kind": "CPU", "count": 2, "passive": True, "host_policy": "numa0"}]},
        {"groups": 'instance_group { name: "two" kind: KIND_CPU count: 2 passive: true host_policy: "numa0" }'},
    ),
    "groups": (
        {"instance_groups": [{"kind": "GPU", "gpus": [0, 2]}, {"kind": "AUTO"}, {"kind": "MODEL", "count": 3}, {"kind": "GPU"}]},
        {
            "groups": "instance_group { kind: KIND_GPU count: 1 gpus: [0, 2] } instance_group { kind: KIND_AUTO count: 1 }"
            " instance_group { kind: KIND_MODEL count: 3 } instance_group { kind: KIND_GPU count: 1 }"
        },
    ),
    "rate_limiter": (
        {"instance_groups": [{"rate_limiter": {"resources": [{"name": "R", "count": 2}, {"name": "S", "count": 1, "is_global": True}], "priority": 3}}]},
        {
            "groups": "instance_group { kind: KIND_CPU count: 1 rate_limiter { priority: 3"
            ' resources { name: "R" count: 2 } resources { name: "S" count: 1 global: true } } }'
        },
    ),
    "empty_rate_limiter": (
        {"instance_groups": [{"rate_limiter": {}}]},
        {"groups": "instance_group { kind: KIND_CPU count: 1 rate_limiter { } }"},
    ),
    "dynamic_batching": (
        {
            "dynamic_batching": {
                "preferred_batch_size": [4, 8],
                "max_queue_delay_microseconds": 2**64 - 1,
                "preserve_ordering": True,
                "priority_levels": 3,
                "default_priority_level": 2,
                "default_queue_policy": {"timeout_action": "DELAY", "default_timeout_microseconds": 5, "allow_timeout_override": True, "max_queue_size": 7},
                "priority_queue_policy": {"1": {"max_queue_size": 9}, "3": {"timeout_action": "DELAY"}},
            }
        },
        {
            "scheduler": "dynamic_batching { preferred_batch_size: [4, 8] max_queue_delay_microseconds: 18446744073709551615"
            " preserve_ordering: true priority_levels: 3 default_priority_level: 2"
            " default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 5 allow_timeout_override: true max_queue_size: 7 }"
            " priority_queue_policy { key: 1 value { max_queue_size: 9 } }"
            " priority_queue_policy { key: 3 value { timeout_action: DELAY } } }"
        },
    ),
    "reject_is_the_default": (
        {"dynamic_batching": {"default_queue_policy": {"timeout_action": "REJECT"}}},
        {"scheduler": "dynamic_batching { default_queue_policy { timeout_action: REJECT } }"},
    ),
    "sequence_batching": ({"sequence_batching": {}}, sequence(IDLE)),
    "sequence_controls": (
        {
            "sequence_batching": {
                "max_sequence_idle_microseconds": 5,
                "control_inputs": [
                    {"name": "S", "control_type": "Start"},
                    {"name": "R", "control_type": "Ready", "data_type": "FP32"},
                    {"name": "E", "control_type": "End", "data_type": "BOOL"},
                    {"name": "I", "control_type": "Start", "data_type": "INT32"},
                    {"name": "C", "control_type": "CorrelationId"},
                    {"name": "T", "control_type": "CorrelationId", "data_type": "STRING"},
                ],
            }
        },
        sequence(
            "max_sequence_idle_microseconds: 5"
            ' control_input { name: "S" control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } }'
            ' control_input { name: "R" control { kind: CONTROL_SEQUENCE_READY fp32_false_true: [0, 1] } }'
            ' control_input { name: "E" control { kind: CONTROL_SEQUENCE_END bool_false_true: [false, true] } }'
            ' control_input { name: "I" control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } }'
            ' control_input { name: "C" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }'
            ' control_input { name: "T" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } }'
        ),
    ),
    "sequence_states": (
        {
            **CUSTOM,
            "sequence_batching": {
                "iterative_sequence": True,
                "states": [
                    {"name": "s", "data_type": "FP32", "dims": [-1, 2]},
                    {"name": "in", "data_type": "INT8", "dims": [3], "output_name": "out", "initial_state_file": "/a/b/first"},
                ],
            },
        },
        {
            **CUSTOM_PARTS,
            **sequence(
                "max_sequence_idle_microseconds: 1000000 iterative_sequence: true"
                ' state { input_name: "s" output_name: "s" data_type: TYPE_FP32 dims: [-1, 2]'
                ' initial_state { name: "initial s" data_type: TYPE_FP32 dims: [1, 2] zero_data: true } }'
                ' state { input_name: "in" output_name: "out" data_type: TYPE_INT8 dims: 3'
                ' initial_state { name: "initial in" data_type: TYPE_INT8 dims: 3 data_file: "first" } }'
            ),
        },
    ),
    "oldest": (
        {"sequence_batching": {"oldest": {"max_candidate_sequences": 6, "preferred_batch_size": [2], "max_queue_delay_microseconds": 9, "preserve_ordering": True}}},
        sequence(
            f"{IDLE} oldest {{ max_candidate_sequences: 6 preferred_batch_size: 2 max_queue_delay_microseconds: 9 preserve_ordering: true }}"
        ),
    ),
    "direct": (
        {"sequence_batching": {"direct": {"max_queue_delay_microseconds": 9, "minimum_slot_utilization": 0.25}}},
        sequence(f"{IDLE} direct {{ max_queue_delay_microseconds: 9 minimum_slot_utilization: 0.25 }}"),
    ),
    "direct_by_default": ({"sequence_batching": {"direct": {}}}, sequence(f"{IDLE} direct {{ }}")),
    "backend_parameters": (
        {"backend_parameters": {"wasm.threads": "2", "other": "x"}},
        {"more": 'parameters { key: "other" value { string_value: "x" } } parameters { key: "wasm.threads" value { string_value: "2" } }'},
    ),
    "graph": ({"optimization": {"graph_optimization": True}}, {"more": "optimization { graph { level: 1 } }"}),
    "optimization": (
        {"optimization": {"graph_optimization": True, "graph_level": 2, "cuda_graphs": True, "gather_kernel_buffer_threshold": 7, "eager_batching": True}},
        {"more": "optimization { graph { level: 2 } cuda { graphs: true } gather_kernel_buffer_threshold: 7 eager_batching: true }"},
    ),
    "cuda_graphs_alone": ({"optimization": {"cuda_graphs": True}}, {"more": "optimization { cuda { graphs: true } }"}),
    "latest": ({"version_policy": {"policy": {"Latest": 3}}}, {"versions": "version_policy { latest { num_versions: 3 } }"}),
    "all": ({"version_policy": {"policy": "All"}}, {"versions": "version_policy { all { } }"}),
    "specific": (
        {"version_policy": {"policy": "Specific", "versions": [1, 4]}},
        {"versions": "version_policy { specific { versions: [1, 4] } }"},
    ),
    "batch_tensors": (
        {
            **CUSTOM,
            "batch_inputs": [{"kind": "BATCH_ACCUMULATED_ELEMENT_COUNT", "target_name": ["N"], "data_type": "INT32", "source_input": ["x"]}],
            "batch_outputs": [{"target_name": ["y"], "source_input": ["x"]}],
        },
        {
            **CUSTOM_PARTS,
            "more": 'batch_input { kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "N" data_type: TYPE_INT32 source_input: "x" }'
            ' batch_output { target_name: "y" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "x" }',
        },
    ),
    "warm_with_zeros": ({"warmup": [sample(zero_data=True)]}, warm("first", "zero_data: true")),
    "warm_without_a_source": ({"warmup": [sample()]}, warm("first", "zero_data: true")),
    "warm_with_random_data": ({"warmup": [sample(random_data=True)]}, warm("first", "random_data: true")),
    "warm_with_a_file": ({"warmup": [sample(input_data_file="/a/b/x.raw")]}, warm("first", 'input_data_file: "x.raw"')),
    "warm_often": (
        {"warmup": [{**sample(zero_data=True), "batch_size": 4, "count": 9}]},
        warm("first", "zero_data: true", "batch_size: 4 count: 9"),
    ),
    "response_cache": ({"response_cache": True}, {"more": "response_cache { enable: true }"}),
    "decoupled": ({"model_transaction_policy": {"decoupled": True}}, {"more": "model_transaction_policy { decoupled: true }"}),
    "coupled": ({"model_transaction_policy": {}}, {"more": "model_transaction_policy { decoupled: false }"}),
    "metrics": (
        {"metrics": [{"metric_family": "nv_inference_first_response_histogram_ms", "buckets": [0.5, 2]}]},
        {
            "more": 'model_metrics { metric_control { metric_identifier { family: "nv_inference_first_response_histogram_ms" }'
            " histogram_options { buckets: [0.5, 2] } } }"
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_field_reaches_config_pbtxt_and_nothing_else_does(name: str) -> None:
    fields, parts = CASES[name]
    says(made(fields), " ".join({**PARTS, **parts}.values()))


def test_the_table_has_every_field_of_a_model() -> None:
    elsewhere = {"model_repository_path", "model_name", "model_version", "keep_versions", "ensembles"}
    assert set(TritonConfiguration.model_fields) == elsewhere | {key for fields, _ in CASES.values() for key in fields}


@pytest.mark.parametrize(
    "data_type", ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BF16", "STRING", "BYTES"]
)  # fmt: skip
def test_each_data_type_has_its_triton_name(data_type: str) -> None:
    config = made({"inputs": [{**X, "data_type": data_type}]})
    named = "TYPE_STRING" if data_type in ("STRING", "BYTES") else f"TYPE_{data_type}"
    assert f"data_type: {named}\n" in to_text(config)


@pytest.mark.parametrize(
    "kind",
    [
        "BATCH_ELEMENT_COUNT",
        "BATCH_ACCUMULATED_ELEMENT_COUNT",
        "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO",
        "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE",
        "BATCH_ITEM_SHAPE",
        "BATCH_ITEM_SHAPE_FLATTEN",
    ],
)
def test_each_kind_of_batch_input_keeps_its_name(kind: str) -> None:
    added = {"kind": kind, "target_name": ["N"], "data_type": "FP32", "source_input": ["x"]}
    (found,) = made({**CUSTOM, "batch_inputs": [added]}).batch_input
    assert found.DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_number[found.kind].name == kind


def test_declared_interface_keys_become_parameters_that_the_models_own_override() -> None:
    declared: dict[str, Any] = {
        "entry": "f",
        "convention": "gufunc",
        "signature": "(n)->(n)",
        "args": ["x", "n", 3, 0.5],
        "returns": "status",
        "description": "no",
    }
    config = made({"backend_parameters": {"wasm.entry": "g"}}, **declared)
    assert {key: value.string_value for key, value in config.parameters.items()} == {
        "wasm.entry": "g",
        "wasm.convention": "gufunc",
        "wasm.signature": "(n)->(n)",
        "wasm.args": '["x", "n", 3, 0.5]',
        "wasm.returns": "status",
    }


def test_controls_and_states_of_sequences_are_not_inputs_or_outputs() -> None:
    tensors = [{"name": name, "dtype": "FP32", "dims": [1]} for name in ("x", "S", "a", "b")]
    entry = {"entry": "f", "convention": "dlpack", "max_batch_size": 0}
    interface = Interface.from_json({**entry, "inputs": tensors[:3], "outputs": tensors[2:]}, where="the test")
    states = [{"name": "a", "data_type": "FP32", "dims": [1], "output_name": "b"}]
    batching = {"control_inputs": [{"name": "S", "control_type": "Start"}], "states": states}
    config = made({"sequence_batching": batching}, interface=interface)
    assert [tensor.name for tensor in config.input] == ["x"]
    assert [tensor.name for tensor in config.output] == []
    assert config.max_batch_size == 0


def test_a_module_without_an_interface_has_the_tensors_of_the_spec() -> None:
    config = made({"inputs": [X], "outputs": [Y]}, interface=None)
    parts = {**PARTS, "batch": "max_batch_size: 0", "scheduler": "", "inputs": X_TEXT + "}", "outputs": Y_TEXT + "}"}
    says(config, " ".join(parts.values()))


def test_steps_of_an_ensemble_name_modules_or_models() -> None:
    fields = {
        "name": "chain",
        "max_batch_size": 4,
        "inputs": [{"name": "in", "data_type": "FP32", "dims": [-1], "reshape": [2]}],
        "outputs": [{"name": "out", "data_type": "INT8", "dims": [1], "label_filename": "/a/b/labels"}],
        "steps": [
            {"model_name": "module", "input_map": {"x": "in"}, "output_map": {"y": "mid", "z": "rest"}},
            {"model_name": "other", "model_version": 3, "input_map": {"x": "mid"}, "output_map": {"y": "out"}},
        ],
    }
    config = build_ensemble_config(Ensemble.model_validate_json(json.dumps(fields)), {"module": "demo_module"})
    says(
        config,
        """name: "chain" platform: "ensemble" max_batch_size: 4
        input { name: "in" data_type: TYPE_FP32 dims: -1 reshape { shape: 2 } }
        output { name: "out" data_type: TYPE_INT8 dims: 1 label_filename: "labels" }
        ensemble_scheduling {
          step { model_name: "demo_module" model_version: -1 input_map { key: "x" value: "in" }
            output_map { key: "y" value: "mid" } output_map { key: "z" value: "rest" } }
          step { model_name: "other" model_version: 3 input_map { key: "x" value: "mid" }
            output_map { key: "y" value: "out" } }
        }""",
    )
