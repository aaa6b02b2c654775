"""The parameters of a model, its limits, and how its configuration and its module complete and check one another."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.backend import Convention, InterfaceError, Limits, ModuleError, SettingsError, TensorSpec
from portalis.backend.interface.interface import Interface
from portalis.backend.triton.config import (
    batches_freely,
    check_config,
    complete_config,
    model_interface,
    read_model,
    triton_dims,
)
from portalis.backend.triton.engine_selection import Engine
from portalis.backend.triton.model_parameters import KEYS, ModelParameters, parse_parameters, parse_request_timeout
from portalis.backend.wasm.binary import read_module
from tests.backend import guests
from tests.backend.guests import tensor

MIB = 1 << 20


def parameters(**texts: str) -> dict[str, dict[str, str]]:
    """Parameters in Triton's form, their prefix added."""
    return {f"wasm.{key}": {"string_value": text} for key, text in texts.items()}


def refused(given_: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as caught:
        parse_parameters(given_)
    return str(caught.value)


# -- parameters --------------------------------------------------------------------------------------------------------


def test_no_parameters_mean_the_defaults() -> None:
    assert parse_parameters({}) == ModelParameters({}, Limits(), "batch", 1, False, Engine.AUTO)
    assert parse_parameters({"EXECUTION_ENV_PATH": {"string_value": "x"}, "wasmtime": "y"}) == ModelParameters()


def test_every_parameter_reaches_its_place() -> None:
    found = parse_parameters(
        parameters(
            entry="k",
            convention="gufunc",
            signature="(n)->(n)",
            args="x, y, n, 3, 0.5",
            returns="status",
            timeout_ms="250",
            max_memory_bytes="64MiB",
            max_module_bytes="1 gib",
            compile_timeout_ms="1e3",
            max_output_bytes="100",
            max_stdout_bytes="2KiB",
            max_stack_bytes="524288",
            max_tensor_bytes="3MiB",
            max_bytes_elements="77",
            isolation="instance",
            threads="64",
            engine="native",
            trusted="TRUE",
        )
    )
    assert found.declared == {
        "entry": "k",
        "convention": "gufunc",
        "signature": "(n)->(n)",
        "args": ["x", "y", "n", 3, 0.5],
        "returns": "status",
    }
    assert found.limits == Limits(64 * MIB, 0.25, 1 << 30, 1.0, 100, 2048, 524288, 3 * MIB, 77)
    assert (found.isolation, found.threads, found.engine, found.trusted) == ("instance", 64, Engine.NATIVE, True)
    assert len(KEYS) == 18


def test_a_parameter_may_be_plain_text_too() -> None:
    assert parse_parameters({"wasm.threads": "3", "wasm.trusted": "false"}) == ModelParameters(threads=3)


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ('["x", 1, 2.5, "y z"]', ["x", 1, 2.5, "y z"]),
        ("  [1]", [1]),
        ("x", ["x"]),
        ("-1,1e-3 , n", [-1, 0.001, "n"]),
    ],
)
def test_args_are_names_and_numbers_or_json(text: str, args: list[object]) -> None:
    assert parse_parameters(parameters(args=text)).declared == {"args": args}


LIST = ", ".join(KEYS)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("entry", "", "it is empty"),
        ("signature", "", "it is empty"),
        ("convention", "ufunc", "use one of elementwise, gufunc, dlpack, command"),
        ("returns", "void", "use one of value, status"),
        ("isolation", "none", "use one of request, batch, instance"),
        ("engine", "nativ", "use one of auto, native, python"),
        ("engine", "Native", "use one of auto, native, python"),
        ("args", "x,,y", "use names and numbers separated by commas, for example x, y, n"),
        ("args", "[x]", "Expecting value: line 1 column 2 (char 1)"),
        ("timeout_ms", "0", "use a number of milliseconds above 0"),
        ("timeout_ms", "-5", "use a number of milliseconds above 0"),
        ("timeout_ms", "nan", "use a number of milliseconds above 0"),
        ("timeout_ms", "inf", "use a number of milliseconds above 0"),
        ("compile_timeout_ms", "10s", "use a number of milliseconds above 0"),
        ("max_memory_bytes", "0", "use a number of bytes above 0, for example 67108864 or 64MiB"),
        ("max_memory_bytes", "64MB", "use a number of bytes above 0, for example 67108864 or 64MiB"),
        ("max_output_bytes", "1.5MiB", "use a number of bytes above 0, for example 67108864 or 64MiB"),
        ("max_stdout_bytes", "-1", "use a number of bytes above 0, for example 67108864 or 64MiB"),
        ("threads", "0", "use a number from 1 to 64"),
        ("threads", "65", "use a number from 1 to 64"),
        ("threads", "two", "use a number from 1 to 64"),
        ("trusted", "yes", "use true or false"),
    ],
)
def test_a_bad_value_is_quoted_with_what_to_use(key: str, text: str, message: str) -> None:
    assert refused(parameters(**{key: text})) == f"parameter wasm.{key} is {text!r}: {message}"


def test_an_unknown_parameter_is_reported_with_the_nearest_and_the_list() -> None:
    assert refused(parameters(time_out_ms="5")) == (
        f"parameter wasm.time_out_ms is unknown (did you mean wasm.timeout_ms?); the parameters are {LIST}"
    )
    far = "wasm." + "q" * 30
    assert refused({far: ""}) == f"parameter {far} is unknown; the parameters are {LIST}"


def test_all_bad_parameters_are_reported_together() -> None:
    assert refused({**parameters(threads="0", trusted="1"), "wasm.entry": {}}) == (
        "parameter wasm.threads is '0': use a number from 1 to 64; parameter wasm.trusted is '1': use true or false;"
        " parameter wasm.entry is '': it is empty"
    )


def test_a_size_that_the_limits_forbid_is_identified_by_them() -> None:
    assert refused(parameters(max_memory_bytes="5GiB", max_stack_bytes="5MiB")) == (
        "max_memory_bytes must be at most 4 GiB (wasm32), not 5368709120;"
        " max_stack_bytes must be at most 4 MiB, not 5242880"
    )


@given(number=st.integers(1, 4095), unit=st.sampled_from(["", "KiB", "MiB", "kib", " MIB"]))
def test_sizes_have_binary_units(number: int, unit: str) -> None:
    factor = {"": 1, "kib": 1 << 10, "mib": 1 << 20}[unit.strip().lower()]
    assert parse_parameters(parameters(max_memory_bytes=f" {number}{unit} ")).limits.max_memory_bytes == number * factor


@given(key=st.sampled_from(KEYS), text=st.text(max_size=12))
def test_no_text_makes_the_parser_fail(key: str, text: str) -> None:
    try:
        parse_parameters({key: {"string_value": text}})
    except SettingsError as error:
        assert str(error).startswith((f"parameter {key} is {text!r}: ", "max_", "timeout_s", "compile_timeout_s"))  # noqa: PT017


# -- limits ------------------------------------------------------------------------------------------------------------


def test_every_limit_is_set_from_the_start() -> None:
    assert Limits() == Limits(256 * MIB, 10.0, 256 * MIB, 60.0, 64 << 10, 16 * MIB, MIB, 1 << 30, 1 << 20)


def test_limits_reach_to_their_bounds_and_no_further() -> None:
    assert Limits(max_memory_bytes=4 << 30, max_stack_bytes=4 * MIB).max_stack_bytes == 4 * MIB
    with pytest.raises(SettingsError) as caught:
        Limits(max_memory_bytes=(4 << 30) + 1, max_stack_bytes=4 * MIB + 1, timeout_s=-1, max_output_bytes=0)
    assert str(caught.value) == (
        "timeout_s must be greater than 0, not -1; max_output_bytes must be greater than 0, not 0;"
        " max_memory_bytes must be at most 4 GiB (wasm32), not 4294967297;"
        " max_stack_bytes must be at most 4 MiB, not 4194305"
    )


# -- a request's own parameters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "seconds"),
    [
        ({}, None),
        ({"priority": 1}, None),
        ({"note": "wasm.timeout_ms"}, None),
        ({"wasm.timeout_ms": 1500}, 1.5),
        ({"wasm.timeout_ms": "20", "x": True}, 0.02),
    ],
)
def test_a_request_may_set_its_time_limit(given_: dict[str, object], seconds: float | None) -> None:
    assert parse_request_timeout(json.dumps(given_)) == seconds
    assert parse_request_timeout("") is None


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (
            {"wasm.threads": 2},
            "request parameter wasm.threads is unknown: a request can set wasm.timeout_ms",
        ),
        (
            {"wasm.timeout_ms": 1, "wasm.trusted": True},
            "request parameter wasm.trusted is unknown: a request can set wasm.timeout_ms",
        ),
        (
            {"wasm.timeout_ms": "soon"},
            "request parameter wasm.timeout_ms is 'soon': use a number of milliseconds above 0",
        ),
        ({"wasm.timeout_ms": -1}, "request parameter wasm.timeout_ms is -1: use a number of milliseconds above 0"),
    ],
)
def test_a_bad_parameter_of_a_request_is_named(given_: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_request_timeout(json.dumps(given_))
    assert str(caught.value) == message


# -- the model's configuration and its module --------------------------------------------------------------------------


class ModelConfig:
    """The argument of ``auto_complete_config``, with Triton's rules for adding a tensor that exists."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        self.config: dict[str, Any] = {"max_batch_size": 0, "input": [], "output": [], **(config or {})}

    def as_dict(self) -> dict[str, Any]:
        return self.config

    def add_input(self, tensor_: dict[str, Any]) -> None:
        self._add("input", tensor_)

    def add_output(self, tensor_: dict[str, Any]) -> None:
        self._add("output", tensor_)

    def _add(self, side: str, tensor_: dict[str, Any]) -> None:
        assert all(isinstance(d, int) for d in tensor_["dims"])
        for item in self.config[side]:
            if item["name"] == tensor_["name"]:
                item.update(tensor_)
                return
        self.config[side].append(tensor_)

    def set_max_batch_size(self, size: int) -> None:
        self.config["max_batch_size"] = size

    def set_dynamic_batching(self) -> None:
        self.config["dynamic_batching"] = {}


def item(name: str, kind: str = "TYPE_FP32", dims: list[Any] | None = None, **more: object) -> dict[str, Any]:
    """A tensor in a model configuration."""
    return {"name": name, "data_type": kind, "dims": [-1] if dims is None else dims, **more}


def echo(batch: int = 8, **more: object) -> Interface:
    described = {
        "convention": "dlpack",
        "max_batch_size": batch,
        "inputs": [tensor("x", dims=(-1, 3)), tensor("o", "BYTES", (), optional=True)],
        "outputs": [tensor("y", "INT64", (2,))],
    }
    return Interface.from_json({**described, **more}, where="here")


def elementwise() -> Interface:
    described = {"entry": "add", "convention": "elementwise", "max_batch_size": 64}
    return Interface.from_json({**described, "inputs": [tensor("a")], "outputs": [tensor("y")]}, where="here")


def test_a_scalar_is_a_vector_of_one_in_triton() -> None:
    spec = echo().inputs
    assert (triton_dims(spec[0]), triton_dims(spec[1])) == ([-1, 3], [1])


def test_elementwise_and_gufunc_batch_freely() -> None:
    declared: dict[str, Any] = {"inputs": [tensor("x")], "outputs": [tensor("y")], "entry": "f"}
    free = {c: batches_freely(Interface.from_json({**declared, "convention": c.value}, where="")) for c in Convention}
    assert [c.value for c, is_free in free.items() if is_free] == ["elementwise", "gufunc"]


def test_an_empty_configuration_is_completed_whole() -> None:
    target = ModelConfig()
    complete_config(echo(), {}, target)
    assert target.config == {
        "max_batch_size": 8,
        "input": [item("x", dims=[-1, 3]), item("o", "TYPE_STRING", [1], optional=True)],
        "output": [item("y", "TYPE_INT64", [2])],
        "dynamic_batching": {},
    }


def test_what_the_user_wrote_stays() -> None:
    given_ = {"max_batch_size": 4, "input": [item("x", dims=[7, 3])], "output": [item("y", "TYPE_INVALID", [])]}
    target = ModelConfig(copy.deepcopy(given_))
    complete_config(echo(), target.as_dict(), target)
    assert target.config == {
        "max_batch_size": 4,
        "input": [item("x", dims=[7, 3]), item("o", "TYPE_STRING", [1], optional=True)],
        "output": [item("y", "TYPE_INT64", [2])],
        "dynamic_batching": {},
    }


def test_missing_parts_of_a_tensor_are_filled_and_its_own_dims_kept() -> None:
    given_ = {"input": [item("x", "TYPE_INVALID", [7, 3]), item("o", "TYPE_STRING", [], optional=True)]}
    target = ModelConfig(copy.deepcopy(given_))
    complete_config(echo(), given_, target)
    assert target.config["input"] == [item("x", dims=[7, 3]), item("o", "TYPE_STRING", [1], optional=True)]


def test_dynamic_batching_is_only_for_models_that_batch() -> None:
    for interface, config, size, dynamic in (
        (echo(batch=0), {}, 0, False),
        (echo(), {"sequence_batching": {}}, 8, False),
        (echo(), {"ensemble_scheduling": {}}, 8, False),
        (elementwise(), {}, 64, True),
        (elementwise(), {"input": [item("a")], "output": [item("y")]}, 0, False),
        (elementwise(), {"input": [item("a")], "max_batch_size": 3}, 3, True),
        (echo(), {"input": [item("x", dims=[-1, 3])]}, 8, True),
    ):
        target = ModelConfig(copy.deepcopy(config))
        complete_config(interface, config, target)
        assert (target.config["max_batch_size"], "dynamic_batching" in target.config) == (size, dynamic)


def contradiction(interface: Interface, config: dict[str, Any]) -> str:
    with pytest.raises(InterfaceError) as caught:
        check_config(interface, config, "m")
    text = str(caught.value)
    assert text.startswith("m: config.pbtxt does not match the module: ")
    return text.removeprefix("m: config.pbtxt does not match the module: ")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"max_batch_size": 8},
        {"input": [item("x", dims=["5", "3"])], "output": [item("y", "TYPE_INT64", [-1])]},
        {"input": [item("x", "TYPE_INVALID", []), item("o", "TYPE_STRING", [1])]},
        {"output": [item("y", "TYPE_INT64")]},
    ],
)
def test_a_configuration_that_fits_passes(config: dict[str, Any]) -> None:
    check_config(echo(), config, "m")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"input": [item("o", "TYPE_STRING", [1])]}, "input 'x' of the module is missing in config.pbtxt"),
        ({"output": [item("yy", "TYPE_INT64")]}, "the module has no output 'yy' (did you mean 'y'?)"),
        (
            {"input": [item("x", dims=[1, 3]), item("image")]},
            "the module has no input 'image' (x, o)",
        ),
        ({"output": [item("y", "TYPE_INT32")]}, "output 'y' is TYPE_INT32, but the module has TYPE_INT64"),
        ({"input": [item("x", dims=[1, 4])]}, "input 'x' has dims [1, 4], but the module has [-1, 3]"),
        ({"input": [item("x", dims=[3])]}, "input 'x' has dims [3], but the module has [-1, 3]"),
        ({"max_batch_size": 9}, "max_batch_size is 9, but the module accepts batches of at most 8"),
        (
            {"max_batch_size": 9, "input": [{}], "output": [item("y", "TYPE_FP64", [3])]},
            (
                "the module has no input '' (x, o); input 'x' of the module is missing in config.pbtxt; output 'y' is TYPE_FP64,"
                " but the module has TYPE_INT64; output 'y' has dims [3], but the module has [2];"
                " max_batch_size is 9, but the module accepts batches of at most 8"
            ),
        ),
    ],
)
def test_a_configuration_that_contradicts_the_module_is_reported(config: dict[str, Any], message: str) -> None:
    assert contradiction(echo(), config) == message


def test_a_batch_size_needs_a_batch_dimension_or_loops() -> None:
    assert contradiction(echo(batch=0), {"max_batch_size": 2}) == (
        "max_batch_size is 2, but the module's tensors have no batch dimension: set it to 0"
    )
    check_config(elementwise(), {"max_batch_size": 100_000}, "m")


KERNEL = guests.wasm(guests.DOUBLE)
GUFUNC = parameters(convention="gufunc", signature="(n)->(n)")


def test_the_configuration_describes_a_module_that_does_not() -> None:
    config = {
        "parameters": GUFUNC,
        "input": [item("in", dims=["4"])],
        "output": [item("out", "TYPE_FP32", [4])],
        "max_batch_size": 16,
    }
    found = model_interface(read_module(KERNEL), config, parse_parameters(GUFUNC), "m")
    assert (found.entry, found.convention, found.max_batch_size) == ("double", Convention.GUFUNC, 16)
    assert [(s.name, s.dtype.name, s.dims) for s in (*found.inputs, *found.outputs)] == [
        ("in", "FP32", (4,)),
        ("out", "FP32", (4,)),
    ]


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize(
    "broken", [{"data_type": "TYPE_FP32"}, {"name": "x"}, {"name": "x", "data_type": "TYPE_INVALID"}]
)
def test_a_configuration_with_half_a_tensor_describes_nothing(side: str, broken: dict[str, Any]) -> None:
    config: dict[str, Any] = {"input": [item("in")], "output": [item("out")]}
    config[side] = [broken]
    with pytest.raises(InterfaceError, match="^m: the gufunc convention needs inputs and outputs"):
        model_interface(read_module(KERNEL), config, parse_parameters(GUFUNC), "m")


def test_an_optional_input_of_the_configuration_is_optional() -> None:
    text = (
        f'(module {guests.PRELUDE} (func (export "portalis_infer") (param i32 i32 i32 i32) (result i32) (i32.const 0)))'
    )
    config = {"input": [item("x"), item("o", "TYPE_STRING", [], optional=True)], "output": [item("y")]}
    found = model_interface(read_module(guests.wasm(text)), config, ModelParameters(), "m")
    assert [(s.name, s.dims, s.optional) for s in found.inputs] == [("x", (-1,), False), ("o", (), True)]
    assert found.max_batch_size == 0


def test_a_module_that_describes_itself_is_checked_against_the_configuration() -> None:
    info = read_module(guests.echo(batch=8))
    found = model_interface(
        info, {"input": [item("x")], "output": [item("y")], "max_batch_size": 4}, ModelParameters(), "m"
    )
    assert (found.max_batch_size, found.source) == (8, "section")
    with pytest.raises(InterfaceError) as caught:
        model_interface(info, {"input": [item("z")], "output": [item("y")]}, ModelParameters(), "m")
    assert str(caught.value) == (
        "m: config.pbtxt does not match the module: the module has no input 'z' (x);"
        " input 'x' of the module is missing in config.pbtxt"
    )


def test_a_model_is_read_from_its_version_folder(tmp_path: Path) -> None:
    path = tmp_path / "model.wasm"
    path.write_bytes(guests.wasm(guests.ADD))
    found = read_model({"parameters": parameters(threads="2")}, tmp_path)
    assert (found.path, found.settings.threads, found.interface.entry) == (path, 2, "add")
    assert found.interface.inputs[0] == TensorSpec("a", found.interface.outputs[0].dtype, (-1,))
    path.rename(tmp_path / "other.wasm")
    assert read_model({"default_model_filename": "other.wasm"}, tmp_path).path == tmp_path / "other.wasm"


def test_a_missing_model_is_reported_with_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ModuleError) as caught:
        read_model({}, tmp_path)
    assert str(caught.value) == f"{tmp_path / 'model.wasm'} is missing"
    for name in ("b.wasm", "a.wasm", "c.txt"):
        (tmp_path / name).touch()
    with pytest.raises(ModuleError) as caught:
        read_model({"default_model_filename": "m.wasm"}, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'm.wasm'} is missing; the directory has a.wasm, b.wasm (rename it, or set default_model_filename)"
    )


def test_bad_settings_and_bad_modules_of_a_model_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "model.wasm"
    path.write_bytes(b"\0asm\x02\0\0\0")
    with pytest.raises(SettingsError, match="^parameter wasm.threads is 'many'"):
        read_model({"parameters": parameters(threads="many")}, tmp_path)
    with pytest.raises(ModuleError, match=f"^{path} has WebAssembly version 02000000; version 1 is needed$"):
        read_model({"parameters": None}, tmp_path)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("args", "[" * 100_000, "it is nested too deeply"),
        ("threads", "²", "use a number from 1 to 64"),
        ("threads", "9" * 5000, "use a number from 1 to 64"),
    ],
)
def test_hostile_values_are_rejected_like_others(key: str, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_parameters({f"wasm.{key}": {"string_value": text}})
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize("name", ["inf", "nan", "1_0"])
def test_a_name_that_python_takes_for_a_number_stays_a_name(name: str) -> None:
    assert parse_parameters({"wasm.args": {"string_value": f"x, {name}, 3, -2.5, 1e3"}}).declared["args"] == [
        "x",
        name,
        3,
        -2.5,
        1000.0,
    ]


@pytest.mark.parametrize("text", ["wasm.timeout_ms", '["wasm.timeout_ms"]'])
def test_request_parameters_that_are_no_object_are_rejected(text: str) -> None:
    with pytest.raises(SettingsError, match="the request's parameters are not a JSON object"):
        parse_request_timeout(text)
