"""The tensors of the sequence batcher, and reshapes, between a model's configuration and its module."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from portalis.backend import InterfaceError
from portalis.backend.interface.interface import Interface
from portalis.backend.triton.config import check_config, complete_config, controls, model_interface, read_model
from portalis.backend.triton.model_parameters import parse_parameters
from portalis.backend.wasm.binary import read_module
from tests.backend import guests
from tests.backend.guests import tensor

X = {"name": "x", "data_type": "TYPE_FP32", "dims": ["1"]}
Y = {"name": "y", "data_type": "TYPE_FP32", "dims": ["1"]}
# as in Triton's configuration, which also contains fields without a value
EMPTY = {"int32_false_true": [], "fp32_false_true": [], "bool_false_true": [], "data_type": "TYPE_INVALID"}


def control(name: str, *kinds: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "control": [{"kind": "CONTROL_SEQUENCE_START", **EMPTY, **kind} for kind in kinds]}


def sequences(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"sequence_batching": {"control_input": list(items)}, **more}


INT32 = {"int32_false_true": [0, 1]}
START = control("START", INT32)


class Target:
    """The part of Triton's configuration object that the backend uses."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = copy.deepcopy(config)

    def as_dict(self) -> dict[str, Any]:
        return self.config

    def add_input(self, item: dict[str, Any]) -> None:
        self.config.setdefault("input", []).append(item)

    def add_output(self, item: dict[str, Any]) -> None:
        self.config.setdefault("output", []).append(item)

    def set_max_batch_size(self, size: int) -> None:
        self.config["max_batch_size"] = size

    def set_dynamic_batching(self) -> None:
        self.config["dynamic_batching"] = {}


def module(*inputs: dict[str, object], batch: int = 0) -> bytes:
    return guests.dlpack(guests.ECHO_BODY, inputs=list(inputs), outputs=[tensor("y", dims=(1,))], batch=batch)


def interface(config: dict[str, Any], wasm: bytes) -> Interface:
    return model_interface(read_module(wasm), config, parse_parameters({}), "m")


RUNNING = module(tensor("x", dims=(1,)), tensor("START", "INT32", (1,)), batch=4)


@pytest.mark.parametrize(
    ("given", "data_type"),
    [
        (INT32, "TYPE_INT32"),
        ({"fp32_false_true": [0.0, 1.0]}, "TYPE_FP32"),
        ({"bool_false_true": [False, True]}, "TYPE_BOOL"),
        ({"data_type": "TYPE_UINT64"}, "TYPE_UINT64"),
        ({"data_type": "TYPE_STRING"}, "TYPE_STRING"),
        ({}, "TYPE_INT32"),
    ],
)
def test_a_control_is_a_vector_of_one_with_its_data_type(given: dict[str, Any], data_type: str) -> None:
    assert controls(sequences(control("C", given))) == [{"name": "C", "data_type": data_type, "dims": [1]}]


def test_several_controls_in_one_tensor_are_one_input() -> None:
    assert [each["name"] for each in controls(sequences(control("A", INT32, INT32), START))] == ["A", "START"]


@pytest.mark.parametrize(
    "config", [{}, {"sequence_batching": None}, {"sequence_batching": {}}, sequences(), sequences({"name": "C"})]
)
def test_without_controls_there_are_none(config: dict[str, Any]) -> None:
    assert controls(config) == []


def test_a_control_counts_as_declared() -> None:
    found = interface(sequences(START, input=[X], output=[Y]), RUNNING)
    assert [spec.name for spec in found.inputs] == ["x", "START"]
    with pytest.raises(InterfaceError, match="input 'START' of the module is missing in config.pbtxt"):
        interface({"input": [X], "output": [Y]}, RUNNING)


def test_a_control_has_to_be_an_input_of_the_module_with_its_data_type() -> None:
    with pytest.raises(InterfaceError, match=r"the module has no input 'STRAT' \(did you mean 'START'\?\)"):
        interface(sequences(control("STRAT", INT32), START, input=[X], output=[Y]), RUNNING)
    with pytest.raises(InterfaceError, match="input 'START' is TYPE_FP32, but the module has TYPE_INT32"):
        interface(sequences(control("START", {"fp32_false_true": [0, 1]}), input=[X], output=[Y]), RUNNING)


def test_a_control_is_checked_where_the_inputs_are_left_to_the_backend() -> None:
    with pytest.raises(InterfaceError, match="the module has no input 'END'"):
        interface(sequences(START, control("END", INT32)), RUNNING)
    assert len(interface(sequences(START), RUNNING).inputs) == 2


def test_auto_completion_omits_controls() -> None:
    config = sequences(START)
    target = Target(config)
    complete_config(interface(config, RUNNING), config, target)
    assert [item["name"] for item in target.config["input"]] == ["x"]
    assert [item["name"] for item in target.config["output"]] == ["y"]
    assert target.config["max_batch_size"] == 4
    assert "dynamic_batching" not in target.config


def test_an_output_may_have_the_name_of_a_control() -> None:
    wasm = guests.dlpack(
        guests.ECHO_BODY, inputs=[tensor("START", "INT32", (1,))], outputs=[tensor("START", "INT32", (1,))]
    )
    config = sequences(START)
    target = Target(config)
    complete_config(interface(config, wasm), config, target)
    assert "input" not in target.config
    assert [item["name"] for item in target.config["output"]] == ["START"]


def test_controls_are_inputs_of_a_module_without_a_section() -> None:
    section = RUNNING.rindex(b"\x08portalis")
    undescribed = RUNNING[: RUNNING.rindex(b"\0", 0, section)]  # a custom section's id, then its size
    found = interface(sequences(START, input=[X], output=[Y], max_batch_size=4), undescribed)
    assert [(spec.name, spec.dtype.name, spec.dims) for spec in found.inputs] == [
        ("x", "FP32", (1,)),
        ("START", "INT32", (1,)),
    ]
    assert found.max_batch_size == 4


RESHAPED = {"name": "x", "data_type": "TYPE_FP32", "dims": ["2", "2"], "reshape": {"shape": ["4"]}}


def test_the_module_receives_the_shape_after_the_reshape() -> None:
    four = module(tensor("x", dims=(4,)))
    check_config(interface({}, four), {"input": [RESHAPED]}, "m")
    with pytest.raises(InterfaceError, match=r"input 'x' has dims \[2\], but the module has \[4\]"):
        check_config(interface({}, four), {"input": [{**RESHAPED, "dims": ["4"], "reshape": {"shape": ["2"]}}]}, "m")
    undescribed = guests.wasm(guests.DOUBLE)
    config = {
        "input": [RESHAPED],
        "output": [{**RESHAPED, "name": "y"}],
        "parameters": {
            f"wasm.{key}": {"string_value": text} for key, text in (("convention", "gufunc"), ("signature", "(n)->(n)"))
        },
    }
    found = model_interface(read_module(undescribed), config, parse_parameters(config["parameters"]), "m")  # type: ignore[arg-type]
    assert [spec.dims for spec in (*found.inputs, *found.outputs)] == [(4,), (4,)]


def test_a_model_of_the_python_backend_runs_the_module_next_to_its_script(tmp_path: Path) -> None:
    (tmp_path / "model.wasm").write_bytes(RUNNING)
    (tmp_path / "model.py").write_text("a script")
    # Triton sets the name of the script
    found = read_model({"backend": "python", "default_model_filename": "model.py"}, tmp_path)
    assert found.path == tmp_path / "model.wasm"
    (tmp_path / "other.wasm").write_bytes(RUNNING)
    assert read_model({"backend": "wasm", "default_model_filename": "other.wasm"}, tmp_path).path.name == "other.wasm"
    assert read_model({"backend": "wasm", "default_model_filename": ""}, tmp_path).path.name == "model.wasm"
