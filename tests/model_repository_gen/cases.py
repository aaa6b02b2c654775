"""Models for both the rules and a real Triton: valid ones, invalid ones, and ones that load with ignored settings."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import wasmtime

MODULE_FILE = bytes(
    wasmtime.wat2wasm(
        """(module (func (export "add") (param $a f32) (param $b f32) (result f32)
        (f32.add (local.get $a) (local.get $b))))"""
    )
)
WASM = 'backend: "wasm" '
A = 'input { name: "a" data_type: TYPE_FP32 dims: 1 } '
B = 'input { name: "b" data_type: TYPE_FP32 dims: 1 } '
OUT = 'output { name: "result" data_type: TYPE_FP32 dims: 1 } '
PLAIN = WASM + A + B + OUT
PYTHON = 'backend: "python" '
MODEL_PY = b"""
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([]) for _ in requests]
"""
BATCHED = "max_batch_size: 4 " + PLAIN
IN_PYTHON = BATCHED + ' parameters { key: "wasm.engine" value { string_value: "python" } } '
F32_FILE, LONG = struct.pack("<f", 1.5), "x" * 300


@dataclass(frozen=True)
class Case:
    """A model: its configuration, part of our problem (`ours`), part of Triton's error (None if Triton loads it), and
    the files in its directory."""

    config: str | None
    ours: str = ""
    triton: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    versions: tuple[str, ...] = ("1",)
    later: bool = False  # Triton 2.51 loads it, later releases reject it


def write(repository: Path, name: str, case: Case) -> None:
    folder = repository / name
    for version in case.versions:
        (folder / version).mkdir(parents=True)
        if PYTHON in (case.config or ""):  # a model that accepts any input, so that only Triton's checks count
            (folder / version / "model.py").write_bytes(MODEL_PY)
        else:
            (folder / version / "model.wasm").write_bytes(MODULE_FILE)
    folder.mkdir(exist_ok=True)
    if case.config is not None:
        (folder / "config.pbtxt").write_text(case.config, encoding="utf-8")
    for path, data in case.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def changed(old: str, new: str, config: str = BATCHED) -> str:
    assert old in config
    return config.replace(old, new, 1)


def sequences(text: str) -> str:
    return "max_batch_size: 4 " + PYTHON + A + B + OUT + "sequence_batching { " + text + " }"


def control(text: str, name: str = "START") -> str:
    return f'control_input {{ name: "{name}" control {{ {text} }} }} '


START = "kind: CONTROL_SEQUENCE_START "
CORRID = "kind: CONTROL_SEQUENCE_CORRID "


def state(initial: str, more: str = "") -> str:
    described = 'input_name: "s" output_name: "t" data_type: TYPE_FP32 dims: 1'
    return sequences(f"state {{ {described} {initial} }} {more}")


INITIAL = 'initial_state { name: "zero" data_type: TYPE_FP32 dims: 1 zero_data: true } '


def sample(a: str = "data_type: TYPE_FP32 dims: 1 random_data: true", more: str = "", size: int = 1) -> str:
    b = 'inputs { key: "b" value { data_type: TYPE_FP32 dims: 1 zero_data: true } }'
    return f'model_warmup {{ name: "first" batch_size: {size} inputs {{ key: "a" value {{ {a} }} }} {b} {more} }} '


def step(inputs: str = "a:x b:y", outputs: str = "result:z", model: str = "good", version: int = -1) -> str:
    def mapped(side: str, text: str) -> str:
        pairs = (each.split(":") for each in text.split())
        return "".join(f'{side} {{ key: "{key}" value: "{value}" }} ' for key, value in pairs)

    head = f'model_name: "{model}" model_version: {version} '
    return f"step {{ {head}{mapped('input_map', inputs)}{mapped('output_map', outputs)} }} "


def ensemble(*steps: str, inputs: str = "x y", outputs: str = "z", more: str = "", dims: str = "1") -> str:
    io = [(side, name) for side, names in (("input", inputs), ("output", outputs)) for name in names.split()]
    tensors = "".join(f'{side} {{ name: "{name}" data_type: TYPE_FP32 dims: {dims} }} ' for side, name in io)
    return f'platform: "ensemble" {tensors} ensemble_scheduling {{ {"".join(steps)} }} {more}'


def ensemble_case(config: str, ours: str, triton: str) -> Case:
    return Case(config, ours, triton, versions=(), files={"1/.keep": b""})


def group(text: str) -> str:
    return BATCHED + f"instance_group {{ {text} }} "


def resources(*scopes: str, name: str) -> str:
    each = f'resources {{ name: "{name}" count: 1 '
    return BATCHED + "".join(
        f"instance_group {{ kind: KIND_CPU rate_limiter {{ {each} global: {scope} }} }} }} " for scope in scopes
    )


def dynamic(text: str) -> str:
    return BATCHED + f"dynamic_batching {{ {text} }}"


DELAY = "default_timeout_microseconds: 1000 timeout_action: DELAY"
KEPT = {"1/.keep": b""}

GOOD = {
    "good": Case(BATCHED),
    "good_named": Case('name: "good_named" max_batch_size: 0 platform: "mine" ' + PLAIN),
    "good_dynamic": Case(
        dynamic(
            "preferred_batch_size: [ 2, 4 ] max_queue_delay_microseconds: 100 priority_levels: 2 default_priority_level: 1 "
            f"default_queue_policy {{ {DELAY} allow_timeout_override: true max_queue_size: 9 }} "
            "priority_queue_policy { key: 2 value { timeout_action: REJECT } }"
        )
        + "response_cache { enable: true }"
    ),
    "good_ordered": Case(dynamic("preserve_ordering: true priority_levels: 1 default_priority_level: 1")),
    "good_direct": Case(
        sequences(
            "max_sequence_idle_microseconds: 5000 direct { minimum_slot_utilization: 1 } "
            + control(START + "fp32_false_true: [ 0, 1 ]")
            + control("kind: CONTROL_SEQUENCE_READY bool_false_true: [ false, true ]", "READY")
            + control(CORRID + "data_type: TYPE_UINT64", "ID")
        )
    ),
    "good_oldest": Case(
        state(
            'initial_state { name: "file" data_type: TYPE_FP32 dims: 1 data_file: "s.bin" }',
            "oldest { max_candidate_sequences: 4 preferred_batch_size: 4 }",
        ),
        files={"initial_state/s.bin": F32_FILE},
    ),
    "good_reshape": Case(
        "max_batch_size: 4 "
        + PYTHON
        + changed("dims: 1", "dims: [ 2, -1, 6 ] reshape { shape: [ 2, 1, -1, 3, 2 ] }", A)
        + changed("dims: 1", "dims: 1 reshape { }", OUT),
    ),
    "good_instances": Case(
        group("count: 2 kind: KIND_CPU")
        + 'instance_group { kind: KIND_MODEL passive: true host_policy: "model" '
        + 'rate_limiter { priority: 2 resources { name: "R1" global: true count: 2 } } }'
    ),
    "good_files": Case(
        changed('name: "result"', 'name: "result" label_filename: "labels.txt"')
        + 'default_model_filename: "add.wasm" '
        + sample(size=4)
        + sample('data_type: TYPE_FP32 dims: 1 input_data_file: "a.bin"', "count: 2"),
        files={
            "labels.txt": b"one\ntwo\n",
            "warmup/a.bin": F32_FILE + b"more",
            "1/add.wasm": MODULE_FILE,
        },
    ),
    "good_control": Case(
        sequences(control(START + "fp32_false_true: [ 0, 1 ]"))
        + sample(more='inputs { key: "START" value { data_type: TYPE_FP32 dims: 1 zero_data: true } }')
    ),
    "good_all_versions": Case(BATCHED + "version_policy { all {} }", versions=("1", "2", "30")),
    "good_specific": Case(BATCHED + "version_policy { specific { versions: [ 1, 3 ] } }", versions=("1", "2", "3")),
    "good_version_0": Case(BATCHED, versions=("0",)),
    "good_batch_io": Case(
        BATCHED
        + 'batch_input { kind: BATCH_ITEM_SHAPE target_name: "n" data_type: TYPE_INT32 source_input: "a" } '
        + "batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE "
        + 'target_name: "result" source_input: "a" }'
    ),
    "good_more": Case(
        BATCHED
        + "optimization { graph { level: 1 } priority: PRIORITY_MAX input_pinned_memory { enable: false } } "
        + 'metric_tags { key: "team" value: "größe \\"x\\"" } '
        + 'parameters { key: "FORCE_CPU_ONLY_INPUT_TENSORS" value { string_value: "no" } } '
        + "model_transaction_policy { decoupled: false }"
    ),
    "good_ensemble": Case(ensemble(step(), more="max_batch_size: 4"), versions=(), files=KEPT),
    "good_chain": Case(
        ensemble(step(outputs="result:m"), step("a:m b:y", version=1), more="max_batch_size: 2"),
        versions=(),
        files=KEPT,
    ),
    # a model without batches treats the batch dimension as one of its own dims
    "wide": Case(PYTHON + changed("dims: 1", "dims: [ -1, 1 ]", A) + changed("dims: 1", "dims: [ 5, 1 ]", OUT)),
    "good_mixed": Case(
        ensemble(step("a:x", "result:z", "wide"), inputs="x", more="max_batch_size: 9"), versions=(), files=KEPT
    ),
    "good_partial": Case(PYTHON + changed("dims: 1", "dims: 1 optional: true", A) + B + OUT),
    "good_optional": Case(ensemble(step("b:x", "result:z", "good_partial"), inputs="x"), versions=(), files=KEPT),
}

TENSORS = {
    "no_name": Case(changed('name: "a" ', ""), "input[0].name: the tensor has no name", "must specify 'name'"),
    "no_type": Case(
        changed("data_type: TYPE_FP32 ", ""),
        "input[0].data_type: 'a' cannot have the data type TYPE_INVALID",
        "must specify 'data_type'",
    ),
    "no_dims": Case(changed("dims: 1 ", ""), "input[0].dims: 'a' has no dims", "must specify 'dims'"),
    "zero_dim": Case(
        changed("dims: 1 ", "dims: 0 "), "input[0].dims: 'a' cannot have the dim 0", "dimension must be integer >= 1"
    ),
    "below_dim": Case(
        BATCHED.replace(OUT, OUT.replace("dims: 1", "dims: -2")),
        "output[0].dims: 'result' cannot have the dim -2",
        "dimension must be integer >= 1",
    ),
    "twice": Case(BATCHED + A, "input[2].name: two inputs are named 'a'", "inputs has 'a' twice"),
    "twice_out": Case(BATCHED + OUT, "output[1].name: two outputs are named 'result'", "outputs has 'result' twice"),
    "image": Case(
        changed("dims: 1 ", "dims: 1 format: FORMAT_NHWC "),
        "input[0].format: expected 3 dims for 'a' (FORMAT_NHWC), got 1",
        "NHWC/NCHW require 3 dims",
    ),
    "shape_tensor": Case(
        changed("dims: 1 ", "dims: 1 is_shape_tensor: true "),
        "input[0].is_shape_tensor: 'a' has is_shape_tensor, which only TensorRT supports",
        "shape tensors are only supported for TensorRT",
    ),
    "non_linear": Case(
        changed("dims: 1 ", "dims: [ 1, 1, 1 ] is_non_linear_format_io: true "),
        "which only TensorRT supports",
        "Non-linear IO format is only supported",
    ),
    "scalar": Case(
        changed("dims: 1 ", "dims: 1 reshape {} ", PLAIN),
        "input[0].reshape: 'a' cannot be reshaped to a scalar",
        "scalar tensors are not supported",
    ),
    "reshape_zero": Case(
        changed("dims: 1 ", "dims: 1 reshape { shape: 0 } "),
        "input[0].reshape: 'a' cannot be reshaped to [0]",
        "reshape dimensions must be integer >= 1",
    ),
    "reshape_size": Case(
        changed("dims: 1 ", "dims: 4 reshape { shape: [ 2, 3 ] } "),
        "cannot be reshaped from [4] to [2, 3]",
        "different size for dims and reshape",
    ),
    "reshape_empty": Case(
        changed("dims: 1 ", "dims: 4 reshape { } "),
        "cannot be reshaped from [4] to []",
        "different size for dims and reshape",
    ),
    "reshape_count": Case(
        changed("dims: 1 ", "dims: -1 reshape { shape: [ -1, -1 ] } "),
        "cannot be reshaped from [-1] to [-1, -1]",
        "different number of variable-size dimensions",
    ),
    "reshape_runs": Case(
        changed("dims: 1 ", "dims: [ 2, -1, 3 ] reshape { shape: [ 3, -1, 2 ] } "),
        "cannot be reshaped",
        "different size for dims and reshape",
    ),
    "no_labels": Case(
        changed('name: "result"', 'name: "result" label_filename: "no.txt"'),
        "label file 'no.txt' is missing",
        "failed to open text file",
    ),
    "labels_outside": Case(
        changed('name: "result"', 'name: "result" label_filename: "../good/config.pbtxt"'),
        "is outside the model's directory",
        later=True,
    ),
    "batch_source": Case(
        BATCHED + "batch_input { kind: BATCH_ELEMENT_COUNT data_type: TYPE_INT32 }",
        "batch_input[0].source_input: expected one source input for BATCH_ELEMENT_COUNT, got 0",
        "expects 1 source input, got 0",
    ),
    "batch_unknown": Case(
        BATCHED + 'batch_input { source_input: "q" data_type: TYPE_INT32 }',
        "batch_input[0].source_input: the model has no input 'q'",
        "unknown source input name 'q'",
    ),
    "batch_type": Case(
        BATCHED + 'batch_input { source_input: "a" data_type: TYPE_INT64 }',
        "batch_input[0].data_type: a batch input cannot have the data type TYPE_INT64",
        "must be TYPE_INT32 or TYPE_FP32",
    ),
    "scatter_sources": Case(
        BATCHED + 'batch_output { source_input: "a" source_input: "b" kind: BATCH_SCATTER_WITH_INPUT_SHAPE }',
        "expected one source input for BATCH_SCATTER_WITH_INPUT_SHAPE, got 2",
        "expects 1 source input, got 2",
    ),
    "scatter_unknown": Case(
        BATCHED + 'batch_output { source_input: "q" }',
        "batch_output[0].source_input: the model has no input 'q'",
        "unknown source input name 'q'",
    ),
    "scatter_target": Case(
        BATCHED + 'batch_output { source_input: "a" target_name: "q" }',
        "batch_output[0].target_name: the model has no output 'q'",
        "unknown target output name 'q'",
    ),
    "scatter_twice": Case(
        BATCHED + 'batch_output { source_input: "a" target_name: "result" target_name: "result" }',
        "output 'result' is named twice",
        "can only be specified once",
    ),
}

NAMING = {
    "other_name": Case(
        'name: "else" ' + BATCHED,
        "name: the model is named 'else', its directory 'other_name'",
        "directory name must equal model name",
    ),
    "negative": Case(
        "max_batch_size: -1 " + PLAIN, "max_batch_size: expected 0 or more, got -1", "must be non-negative"
    ),
    "no_backend": Case("max_batch_size: 4 " + A + B + OUT, "backend: no backend is set", "Could not determine backend"),
    "no_such_platform": Case(
        'platform: "wasm_abi" ' + A + B + OUT,
        "no backend of Triton serves the platform 'wasm_abi'",
        "unexpected platform type 'wasm_abi'",
    ),
    "no_such_backend": Case(
        changed('"wasm"', '"nosuch"'),
        "the server has no backend 'nosuch'",
        "unable to find backend library for backend 'nosuch'",
    ),
    "wrong_pair": Case(
        'backend: "onnxruntime" platform: "tensorrt_plan" ' + A + OUT,
        "platform: backend 'onnxruntime' does not serve the platform 'tensorrt_plan'",
        "unexpected 'platform' and 'backend' pair",
    ),
    "wrong_runtime": Case(
        'runtime: "libtriton_other.so" ' + BATCHED,
        "runtime: backend 'wasm' has no runtime",
        "unable to find backend library 'libtriton_other.so'",
    ),
    "python_runtime": Case(
        'runtime: "model.py" ' + PYTHON + A + OUT,
        "runtime: backend 'python' has no runtime",
        "unable to find Python backend based backend library",
    ),
    "force": Case(
        IN_PYTHON + 'parameters { key: "FORCE_CPU_ONLY_INPUT_TENSORS" value { string_value: "true" } }',
        "parameters[FORCE_CPU_ONLY_INPUT_TENSORS]: expected yes or no, got 'true'",
        "Incorrect value for FORCE_CPU_ONLY_INPUT_TENSORS",
    ),
    "environment": Case(
        IN_PYTHON
        + 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }',
        "env.tar.gz does not exist",
        "Failed to get the canonical path",
    ),
    "no_steps_at_all": Case(
        'platform: "ensemble" ' + A + OUT, "the ensemble has no steps", "ensemble scheduling must be set"
    ),
    "ensemble_backend": Case(
        ensemble(step(), more=WASM),
        "backend: an ensemble cannot have a backend, got 'wasm'",
        "must have platform type 'ensemble' and empty backend",
    ),
    "unknown_field": Case(BATCHED + "\nmax_batch_sizee: 3", "line 2: Message type", "failed to read text proto"),
    "two_schedulers": Case(
        BATCHED + "dynamic_batching {} sequence_batching {}", "another member of oneof", "failed to read text proto"
    ),
    "metrics": Case(
        BATCHED + "model_metrics { metric_control { } }", "no metric family is set", "failed to read text proto"
    ),
    "metrics_new": Case(
        BATCHED
        + 'model_metrics { metric_control { metric_identifier { family: "f" } histogram_options { buckets: 1 } } }',
        "2.51 and older cannot read",
        "failed to read text proto",
    ),
    "no_config": Case(None, "has no config.pbtxt", "failed to open text file"),
}

BATCHING = {
    "preferred_0": Case(
        dynamic("preferred_batch_size: 0"),
        "dynamic_batching.preferred_batch_size[0]: expected at least 1, got 0",
        "preferred size must be positive",
    ),
    "preferred_9": Case(
        dynamic("preferred_batch_size: [ 4, 9 ]"),
        "preferred_batch_size[1]: expected at most 4 (max_batch_size), got 9",
        "preferred size must be <= max batch size",
    ),
    "no_default": Case(
        dynamic("priority_levels: 2"),
        "default_priority_level: expected a level from 1 to 2 (priority_levels), got 0",
        "default priority level must be in range [1, 2]",
    ),
    "high_default": Case(
        dynamic("priority_levels: 2 default_priority_level: 3"),
        "default_priority_level: expected a level from 1 to 2 (priority_levels), got 3",
        "default priority level must be in range",
    ),
    "policy_level": Case(
        dynamic("priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value {} }"),
        "priority_queue_policy[3]: expected a level from 1 to 2 (priority_levels), got 3",
        "must have priority level in range",
    ),
    "ordered_levels": Case(
        dynamic("preserve_ordering: true priority_levels: 2 default_priority_level: 1"),
        "cannot keep their order with 2 priority levels",
        "Only one priority level is allowed",
    ),
    "ordered_delay": Case(
        dynamic(f"preserve_ordering: true default_queue_policy {{ {DELAY} }}"),
        "default_queue_policy: preserve_ordering does not allow",
        "can not have DELAY",
    ),
    "ordered_policy": Case(
        dynamic(
            f"preserve_ordering: true priority_levels: 1 default_priority_level: 1 priority_queue_policy {{ key: 1 value {{ {DELAY} }} }}"
        ),
        "priority_queue_policy[1]: preserve_ordering does not allow",
        "can not have DELAY",
    ),
    "cached_sequences": Case(
        sequences("") + "response_cache { enable: true }",
        "response_cache: the response cache does not support sequence batching",
        "Response Cache does not currently support",
    ),
    "cached_decoupled": Case(
        BATCHED + "response_cache { enable: true } model_transaction_policy { decoupled: true }",
        "response_cache: the response cache does not support decoupled models",
        "Response Cache does not currently support",
    ),
}

SEQUENCES = {
    "control_no_name": Case(
        sequences(control(START + "fp32_false_true: [ 0, 1 ]", "")),
        "control_input[0].name: the control tensor has no name",
        "must have a name",
    ),
    "control_twice": Case(
        sequences(
            control(START + "fp32_false_true: [ 0, 1 ]")
            + control("kind: CONTROL_SEQUENCE_END fp32_false_true: [ 0, 1 ]")
        ),
        "two control tensors are named 'START'",
        "is specified for multiple control kinds",
    ),
    "control_kinds": Case(
        sequences(control(START + "fp32_false_true: [ 0, 1 ]") + control(START + "fp32_false_true: [ 0, 1 ]", "S")),
        "more than one control is CONTROL_SEQUENCE_START",
        "specifies multiple CONTROL_SEQUENCE_START",
    ),
    "control_empty": Case(
        sequences(control(START)),
        "expected one pair of values for CONTROL_SEQUENCE_START, got none",
        "must specify either 'int32_false_true'",
    ),
    "control_both": Case(
        sequences(control(START + "fp32_false_true: [ 0, 1 ] int32_false_true: [ 0, 1 ]")),
        "got int32_false_true and fp32_false_true",
        "specifies more than one from",
    ),
    "control_single": Case(
        sequences(control(START + "bool_false_true: true")),
        "bool_false_true: expected 2 values, got 1",
        "exactly 2 entries",
    ),
    "corrid_switch": Case(
        sequences(control(CORRID + "data_type: TYPE_UINT64 int32_false_true: [ 0, 1 ]")),
        "CONTROL_SEQUENCE_CORRID cannot have values for false and true",
        "must not specify either",
    ),
    "corrid_type": Case(
        sequences(control(CORRID + "data_type: TYPE_FP32")),
        "CONTROL_SEQUENCE_CORRID cannot have the data type TYPE_FP32",
        "unexpected data type for control",
    ),
    "corrid_no_type": Case(
        sequences(control(CORRID)),
        "CONTROL_SEQUENCE_CORRID cannot have the data type TYPE_INVALID",
        "unexpected data type for control",
    ),
    "oldest_0": Case(
        sequences("oldest { preferred_batch_size: 0 }"),
        "sequence_batching.oldest.preferred_batch_size[0]: expected at least 1, got 0",
        "preferred batch size must be positive",
    ),
    "oldest_9": Case(
        sequences("oldest { preferred_batch_size: 9 }"),
        "expected at most 4 (max_batch_size), got 9",
        "preferred batch size must be <= max batch",
    ),
    "slots": Case(
        sequences("direct { minimum_slot_utilization: 1.5 }"),
        "minimum_slot_utilization: expected a fraction from 0 to 1, got 1.5",
        "minimum slot utilization must be in range",
    ),
    "two_initial": Case(
        state(INITIAL * 2), "state 's' has 2 initial states", "must contain exactly one or zero element"
    ),
    "state_twice": Case(
        state(INITIAL, f'state {{ input_name: "s" data_type: TYPE_FP32 dims: 1 {INITIAL} }}'),
        "two states are named 's'",
        "specified more than once",
    ),
    "initial_no_name": Case(
        state(INITIAL.replace('name: "zero"', "")), "the initial state of 's' has no name", "Field 'name' must be set"
    ),
    "initial_type": Case(
        state(INITIAL.replace("FP32", "INT32")),
        "expected the state's TYPE_FP32, got TYPE_INT32",
        "does not match the state data type",
    ),
    "initial_rank": Case(
        state(INITIAL.replace("dims: 1", "dims: [ 1, 1 ]")),
        "expected the state's dims [1], got [1, 1]",
        "Number of dimensions in 'initial_state'",
    ),
    "initial_dims": Case(
        state(INITIAL.replace("dims: 1", "dims: 2")),
        "expected the state's dims [1], got [2]",
        "doesn't match 'state' dim",
    ),
    "initial_open": Case(
        state(INITIAL.replace("dims: 1", "dims: -1")),
        "cannot have a variable dim, got [-1]",
        "contains variable dimensions",
    ),
    "initial_no_data": Case(
        state(INITIAL.replace("zero_data: true", "")), "the initial state of 's' has no data", "to have state_data set"
    ),
    "initial_no_file": Case(
        state(INITIAL.replace("zero_data: true", 'data_file: "s.bin"')),
        "initial state 's.bin' is missing",
        "failed to open text file",
    ),
    "initial_short": Case(
        state(INITIAL.replace("zero_data: true", 'data_file: "s.bin"')),
        "expected 4 bytes for the tensor, got 3 in s.bin",
        "initial_state setting expects 4 bytes",
        files={"initial_state/s.bin": b"abc"},
    ),
}

INSTANCES = {
    "cpu_gpus": Case(
        group("kind: KIND_CPU gpus: 0"),
        "instance_group[0].gpus: a group of KIND_CPU cannot list GPUs",
        "has kind KIND_CPU but specifies one or more GPUs",
    ),
    "model_gpus": Case(
        group("kind: KIND_MODEL gpus: 0"),
        "a group of KIND_MODEL cannot list GPUs",
        "has kind KIND_MODEL but specifies one or more GPUs",
    ),
    "gpu_negative": Case(
        group("kind: KIND_GPU gpus: -1"),
        "instance_group[0].gpus: expected GPU numbers of 0 or more, got -1",
        "invalid or unsupported gpu id -1",
    ),
    "profile": Case(
        group('kind: KIND_CPU profile: "0"'),
        "instance_group[0].profile: only TensorRT supports profiles",
        "only supported for TensorRT",
    ),
    "mixed_resource": Case(
        resources("true", "false", name="R2"),
        "resource 'R2' is per device here and global in instance_group[0]",
        "present as both global and device-specific",
    ),
}

FILES = {
    "latest_0": Case(
        BATCHED + "version_policy { latest { num_versions: 0 } }",
        "num_versions: the policy serves no version",
        "at least one version must be available",
    ),
    "specific_none": Case(
        BATCHED + "version_policy { specific {} }",
        "specific.versions: the policy serves no version",
        "at least one version must be available",
    ),
    "specific_missing": Case(
        BATCHED + "version_policy { specific { versions: 2 } }",
        "version_policy: no version of the model would be served",
        "at least one version must be available",
    ),
    "no_version": Case(
        BATCHED, "no version of the model would be served", "at least one version must be available", versions=()
    ),
    "zeros": Case(
        BATCHED,
        "Triton ignores version directory '01' because of its leading zeros",
        "at least one version must be available",
        versions=("01",),
    ),
    "below_zero": Case(BATCHED, "version directory '-1' is out of range", "18446744073709551615", versions=("-1",)),
    "letters": Case(
        BATCHED, "Triton interprets directory '1abc' as version 1", "/1/model.wasm is missing", versions=("1abc",)
    ),
    "sign": Case(
        BATCHED, "Triton interprets directory '+3' as version 3", "/3/model.wasm is missing", versions=("+3",)
    ),
    "no_module": Case(
        BATCHED, "1/model.wasm: the model's file is missing", "model.wasm is missing", versions=(), files=KEPT
    ),
    "no_named": Case(
        BATCHED + 'default_model_filename: "m.wasm"', "1/m.wasm: the model's file is missing", "m.wasm is missing"
    ),
    "not_python": Case(
        PYTHON + A + OUT + 'default_model_filename: "m.txt"',
        "expected a Python file, got 'm.txt'",
        "must end with '.py'",
        files={"1/m.txt": MODEL_PY},
    ),
}

WARM = "max_batch_size: 4 " + PYTHON + A + B + OUT
WARMUP = {
    "warm_open": Case(
        WARM + sample("data_type: TYPE_FP32 dims: -1 zero_data: true"),
        "inputs[a].dims: expected a size for every dim of 'a', got [-1]",
        "all variable-size dimensions are specified",
    ),
    "warm_no_data": Case(
        WARM + sample("data_type: TYPE_FP32 dims: 1"), "inputs[a]: 'a' has no data", "to have input_data_type set"
    ),
    "warm_no_file": Case(
        WARM + sample('data_type: TYPE_FP32 dims: 1 input_data_file: "a.bin"'),
        "warm-up data 'a.bin' is missing",
        "failed to open text file",
    ),
    "warm_short": Case(
        WARM + sample('data_type: TYPE_FP32 dims: 1 input_data_file: "a.bin"'),
        "expected 4 bytes for the tensor, got 3 in a.bin",
        "warmup setting expects 4 bytes",
        files={"warmup/a.bin": b"abc"},
    ),
    "warm_type": Case(
        WARM + sample("data_type: TYPE_FP64 dims: 1 zero_data: true"),
        "expected the model's TYPE_FP32 for 'a', got TYPE_FP64",
        "data-type is 'FP64'",
    ),
    "warm_dims": Case(
        WARM + sample("data_type: TYPE_FP32 dims: 2 zero_data: true"),
        "expected the model's dims [1] for 'a', got [2]",
        "unexpected shape for input 'a'",
    ),
    "warm_missing": Case(
        WARM
        + 'model_warmup { name: "first" batch_size: 1 inputs { key: "a" value { data_type: TYPE_FP32 dims: 1 zero_data: true } } }',
        "sample 'first' lacks the input 'b'",
        "expected 2 inputs but got 1 inputs",
    ),
    "warm_size": Case(WARM + sample(size=5), "a batch_size of at most 4 for sample 'first', got 5", "batch size 5 for"),
    "warm_size_0": Case(
        PYTHON + A + B + OUT + sample(size=2), "a batch_size of at most 1 for sample 'first', got 2", "batch size 2 for"
    ),
    "warm_text": Case(
        PLAIN.replace("FP32", "STRING").replace('"wasm"', '"python"').replace("dims: 1", "dims: 2", 1)
        + 'model_warmup { batch_size: 1 inputs { key: "a" value { data_type: TYPE_STRING dims: 2 input_data_file: "t" } } inputs { key: "b" value { data_type: TYPE_STRING dims: 1 zero_data: true } } }',
        "expected 2 elements for the tensor, got 1 in t",
        "got 1",
        files={"warmup/t": b"\x01\0\0\0x"},
    ),
}

ENSEMBLES = {
    "steps_elsewhere": Case(
        BATCHED + f"ensemble_scheduling {{ {step()} }}",
        "platform: expected the platform 'ensemble' for a model with steps, got ''",
        "ensemble scheduling cannot be set for model",
    ),
    "e_group": ensemble_case(
        ensemble(step(), more="instance_group { kind: KIND_CPU }"),
        "instance_group: an ensemble cannot have instance_group",
        "instance group should not be specified",
    ),
    "e_optimization": ensemble_case(
        ensemble(step(), more="optimization {}"),
        "optimization: an ensemble cannot have optimization",
        "optimization should not be specified",
    ),
    "e_warmup": ensemble_case(
        ensemble(step(), more=sample()),
        "model_warmup: an ensemble cannot have model_warmup",
        "model_warmup can not be specified",
    ),
    "e_no_steps": ensemble_case(ensemble(), "expected at least one step, got none", "must specify 'step'"),
    "e_no_model": ensemble_case(
        ensemble(step(model="")), "step[0].model_name: the step names no model", "must specify 'model_name'"
    ),
    "e_no_inputs": ensemble_case(
        'platform: "ensemble" '
        + OUT
        + 'ensemble_scheduling { step { model_name: "good" model_version: -1 output_map { key: "result" value: "result" } } }',
        "the step has no input_map",
        "must specify 'input_map'",
    ),
    "e_no_outputs": ensemble_case(
        'platform: "ensemble" '
        + A
        + 'ensemble_scheduling { step { model_name: "good" model_version: -1 input_map { key: "a" value: "a" } } }',
        "the step has no output_map",
        "must specify 'output_map'",
    ),
    "e_written_twice": ensemble_case(
        ensemble(step(), step()), "tensor 'z' is written twice", "can appear in an output map only once"
    ),
    "e_unused_input": ensemble_case(
        ensemble(step(), inputs="x y w"), "no step uses the ensemble's input 'w'", "ensemble input 'w'"
    ),
    "e_unmapped_output": ensemble_case(
        ensemble(step(), outputs="z w"), "output 'w' is never written", "ensemble output 'w'"
    ),
    "e_stuck": ensemble_case(
        ensemble(step("a:x b:m"), inputs="x"),
        "output 'z' is never written: model 'good' waits for 'm'",
        "'m', is not connected",
    ),
    "e_unused_tensor": ensemble_case(
        ensemble(step(), step(outputs="result:m")), "no step uses tensor 'm'", "ensemble tensor 'm' is unused"
    ),
    "e_circle": ensemble_case(
        ensemble(step(), step("a:x b:m", "result:n"), step("a:n b:y", "result:m")),
        "tensor 'm' is never written",
        "is unused in ensemble",
    ),
    "e_unknown_model": ensemble_case(
        ensemble(step(model="goood")),
        "the repository has no model 'goood' that can be loaded. Did you mean 'good'?",
        "not available or ambiguous: goood",
    ),
    "e_version": ensemble_case(
        ensemble(step(version=7)),
        "version 7 of model 'good' is not served, only [1]",
        "required version 7 is not loaded",
    ),
    "e_version_0": ensemble_case(
        ensemble(step(version=0)), "version 0 of model 'good' is not served", "required version 0 is not loaded"
    ),
    "e_batch": ensemble_case(
        ensemble(step(), more="max_batch_size: 8"),
        "max_batch_size: expected at most 4 (max_batch_size of model 'good'), got 8",
        "allows maximum batch size 8",
    ),
    "e_no_such_input": ensemble_case(
        ensemble(step("a:x b:y c:x")), "model 'good' has no input 'c'", "is mapping to non-existing input c"
    ),
    "e_no_such_output": ensemble_case(
        ensemble(step(outputs="results:z")),
        "model 'good' has no output 'results'",
        "is mapped from non-existing output results",
    ),
    "e_not_mapped": ensemble_case(
        ensemble(step("a:x"), inputs="x"),
        "input 'b' of model 'good' is not mapped",
        "is not mapped to any ensemble tensors",
    ),
    "e_type": ensemble_case(
        ensemble(step()).replace("FP32", "INT32", 1),
        "tensor 'x' is TYPE_FP32 in 'good' and TYPE_INT32 in 'e_type'",
        "inconsistent data type",
    ),
    "e_dims": ensemble_case(
        ensemble(step(), dims="2", more="max_batch_size: 4"),
        "tensor 'x' is [1] in 'good' and [2] in 'e_dims'",
        "inconsistent shape",
    ),
    "e_ring_a": ensemble_case(
        ensemble(step("x:x y:y", "z:z", "e_ring_b")), "e_ring_a -> e_ring_b -> e_ring_a", "circular dependency"
    ),
    "e_ring_b": ensemble_case(
        ensemble(step("x:x y:y", "z:z", "e_ring_a")), "e_ring_b -> e_ring_a -> e_ring_b", "e_ring_b"
    ),
    "e_itself": ensemble_case(
        ensemble(step("x:x y:y", "z:z", "e_itself")), "e_itself -> e_itself", "circular dependency"
    ),
    "e_streams": ensemble_case(
        ensemble(step("a:x", "result:m", "stream"), step("a:m b:y")),
        "gets tensors of different streams",
        "originated from different decoupled models",
    ),
}

WARNED = {
    "dynamic_0": Case(PLAIN + "dynamic_batching {}", "dynamic batching has no effect"),
    "priorities_0": Case(
        dynamic("default_priority_level: 3 priority_queue_policy { key: 7 value {} }"),
        "priority_queue_policy has no effect: priority_levels is not set",
    ),
    "count_negative": Case(
        group("kind: KIND_CPU count: -2"), "instance_group[0].count: expected a positive number, got -2"
    ),
    "all_passive": Case(group("kind: KIND_CPU passive: true"), "every instance group is passive"),
    "warm_none": Case(BATCHED + sample(size=0), "Triton ignores sample 'first': its batch_size is 0"),
    "warm_unknown": Case(
        PYTHON
        + A
        + OUT
        + 'model_warmup { batch_size: 0 inputs { key: "q" value { data_type: TYPE_FP32 dims: 1 zero_data: true } } }',
        "its batch_size is 0",
    ),
    "specific_some": Case(
        BATCHED + "version_policy { specific { versions: [ 1, 3 ] } }",
        "version 3 is listed, but directory 3 is missing",
    ),
    "also_01": Case(
        BATCHED, "Triton ignores version directory '01' because of its leading zeros", versions=("1", "01")
    ),
    "also_1abc": Case(BATCHED, "Triton interprets directory '1abc' as version 1, too", versions=("1", "1abc")),
    "cc_files": Case(BATCHED + 'cc_model_filenames { key: "8.0" value: "no.wasm" }', "ignores cc_model_filenames"),
}

# rejected only by a server without that GPU
AUTO_GPUS = {
    "auto_gpus": Case(
        group("kind: KIND_AUTO gpus: 4096"),
        "rejects KIND_AUTO with gpus",
        "has kind KIND_CPU but specifies one or more GPUs",
    )
}
HELPERS = {"stream": Case(PYTHON + A + OUT + "model_transaction_policy { decoupled: true }")}
BAD = NAMING | TENSORS | BATCHING | SEQUENCES | INSTANCES | FILES | WARMUP | ENSEMBLES
ALL = GOOD | BAD | WARNED | AUTO_GPUS | HELPERS
