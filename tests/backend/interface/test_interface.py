"""Interfaces of modules: the JSON form, gufunc signatures, derivation and checks."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portalis.backend import Convention, Interface, InterfaceError, Program, TensorSpec
from portalis.backend.constants import MAX_OPERANDS
from portalis.backend.interface.checks import check_interface, describe_exports, find_entry
from portalis.backend.interface.discovery import discover, entry_candidates, parse_section
from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.signature import Signature
from portalis.backend.wasm.binary import ModuleInfo, read_module
from tests.backend import guests
from tests.backend.guests import tensor

FOLDER = Path(__file__).resolve().parents[3] / "examples"
MODULES = sorted(FOLDER.glob("*/*.wasm"))
Declared = dict[str, Any]
X, Y = [tensor("x")], [tensor("y")]


def module(text: str, *entries: Declared) -> ModuleInfo:
    return read_module(guests.wasm(f"(module {text})", *entries))


def refused(info: ModuleInfo, declared: Declared | None = None) -> str:
    """The message of the error that ends discovery."""
    with pytest.raises(InterfaceError) as caught:
        discover(info, declared, where="m.wasm")
    return str(caught.value)


def not_read(obj: Declared) -> str:
    """The message of the error that ends the reading of the JSON form."""
    with pytest.raises(InterfaceError) as caught:
        Interface.from_json(obj, where="here")
    return str(caught.value)


# -- signatures --------------------------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,4}", fullmatch=True).filter(lambda name: name != "batch")
SIDES = st.lists(st.lists(NAMES | st.integers(1, 99), max_size=4).map(tuple), min_size=1, max_size=4).map(tuple)


@settings(deadline=None, max_examples=50)
@given(inputs=SIDES, outputs=SIDES)
def test_a_signature_round_trips_through_text(
    inputs: tuple[tuple[str | int, ...], ...], outputs: tuple[tuple[str | int, ...], ...]
) -> None:
    signature = Signature(inputs, outputs)
    assert Signature.parse(str(signature)) == signature
    assert Signature.parse(f" {signature} ".replace(",", " , ").replace("(", "( ")) == signature
    assert signature.names == tuple(dict.fromkeys(d for g in (*inputs, *outputs) for d in g if isinstance(d, str)))


def test_a_signature_has_its_names_in_order_of_appearance() -> None:
    signature = Signature.parse("(m, n),(n,p),(),(3)->(m,p)")
    assert signature.inputs == (("m", "n"), ("n", "p"), (), (3,)) and signature.outputs == (("m", "p"),)
    assert signature.names == ("m", "n", "p")
    assert str(signature) == "(m,n),(n,p),(),(3)->(m,p)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(n)", "must have one '->', as in (m,n),(n,p)->(m,p)"),
        ("(n)->(n)->(n)", "must have one '->', as in (m,n),(n,p)->(m,p)"),
        ("->(n)", "needs at least one input and one output"),
        ("(n)->", "needs at least one input and one output"),
        ("n->n", "is invalid: expected a form like (m,n),(n,p)->(m,p)"),
        ("(n),->(n)", "is invalid: expected a form like (m,n),(n,p)->(m,p)"),
        ("(n|1)->(n)", "has an invalid core dimension 'n|1': use names or sizes above 0"),
        ("(n?)->(n)", "has an invalid core dimension 'n?': use names or sizes above 0"),
        ("((n))->(n)", "is invalid: expected a form like (m,n),(n,p)->(m,p)"),
        ("(0)->(n)", "has an invalid core dimension '0': use names or sizes above 0"),
        ("(n,,m)->(n)", "has an invalid core dimension '': use names or sizes above 0"),
        ("(2n)->(n)", "has an invalid core dimension '2n': use names or sizes above 0"),
        ("(n)->(batch)", "has an invalid core dimension 'batch': use names or sizes above 0"),
    ],
)
def test_an_invalid_signature_is_quoted_with_a_remediation(text: str, message: str) -> None:
    with pytest.raises(InterfaceError) as caught:
        Signature.parse(text)
    assert str(caught.value) == f"signature {text!r} {message}"


# -- the JSON form -----------------------------------------------------------------------------------------------------

GOOD: Declared = {"entry": "f", "convention": "gufunc", "signature": "(n)->(n)", "inputs": X, "outputs": Y}
TENSORS = st.builds(
    TensorSpec,
    st.text(min_size=1, max_size=8),
    st.sampled_from(list(DTYPES.values())),
    st.lists(st.just(-1) | st.integers(1, 1 << 40), max_size=8).map(tuple),
    st.booleans(),
)


def sides() -> st.SearchStrategy[tuple[TensorSpec, ...]]:
    return st.lists(TENSORS, min_size=1, max_size=4, unique_by=lambda spec: spec.name).map(tuple)


@settings(deadline=None, max_examples=50)
@given(
    interface=st.builds(
        Interface,
        entry=st.text(min_size=1),
        convention=st.sampled_from(list(Convention)),
        inputs=sides(),
        outputs=sides(),
        signature=st.none() | st.builds(Signature, SIDES, SIDES),
        args=st.lists(st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)).map(tuple),
        returns=st.sampled_from(["value", "status"]),
        max_batch_size=st.integers(0, (1 << 31) - 1),
        description=st.text(),
    )
)
def test_an_interface_round_trips_through_json(interface: Interface) -> None:
    text = json.dumps(interface.to_json())
    assert Interface.from_json(json.loads(text), where="here") == interface


def test_the_json_omits_defaults() -> None:
    short = Interface.from_json({**GOOD, "convention": "dlpack", "signature": ""}, where="here")
    assert short.to_json() == {"abi": 1, "entry": "f", "convention": "dlpack", "inputs": X, "outputs": Y}
    full = {**GOOD, "args": ["x", 2, 0.5], "returns": "status", "max_batch_size": 4, "description": "Does."}
    full["inputs"] = [tensor("x", optional=True)]
    assert Interface.from_json(full, where="here", source="section").to_json() == {"abi": 1, **full}


def test_a_dlpack_entry_has_a_name_by_default() -> None:
    found = Interface.from_json({"convention": "dlpack", "inputs": X, "outputs": Y}, where="here", source="section")
    assert (found.entry, found.source, found.max_batch_size) == ("portalis_infer", "section", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entri": 1}, "unknown key 'entri' (did you mean 'entry'?)"),
        (
            {"zzz": 1},
            "unknown key 'zzz' (known: abi, entry, convention, signature, args, returns, max_batch_size, inputs, outputs, description)",
        ),
        ({"convention": "gufun"}, "convention must be one of elementwise, gufunc, dlpack, command, not 'gufun'"),
        ({"convention": None}, "convention must be one of elementwise, gufunc, dlpack, command"),
        ({"convention": ["gufunc"]}, "convention must be one of elementwise, gufunc, dlpack, command, not ['gufunc']"),
        ({"abi": 2}, "abi is 2; this version reads 1"),
        ({"entry": ""}, "entry is missing: the name of the exported function"),
        ({"entry": 7}, "entry is missing: the name of the exported function"),
        ({"signature": "n"}, "signature 'n' must have one '->', as in (m,n),(n,p)->(m,p)"),
        ({"signature": 5}, "signature '5' must have one '->', as in (m,n),(n,p)->(m,p)"),
        ({"max_batch_size": -1}, "max_batch_size must be an integer of at least 0, not -1"),
        ({"max_batch_size": True}, "max_batch_size must be an integer of at least 0, not True"),
        ({"max_batch_size": 1 << 31}, "max_batch_size must be an integer of at least 0, not 2147483648"),
        ({"max_batch_size": "8"}, "max_batch_size must be an integer of at least 0, not '8'"),
        ({"args": "x"}, "args must be a list of names and numbers, not 'x'"),
        ({"args": [["x"]]}, "args must be a list of names and numbers, not [['x']]"),
        ({"returns": "void"}, "returns must be one of value, status, not 'void'"),
        ({"description": 3}, "description must be a string"),
        (
            {"inputs": []},
            "inputs is missing: a list of tensors such as {'name': 'x', 'dtype': 'FP32', 'dims': [-1]}",
        ),
        (
            {"outputs": {"name": "y"}},
            "outputs is missing: a list of tensors such as {'name': 'x', 'dtype': 'FP32', 'dims': [-1]}",
        ),
        ({"inputs": ["x"]}, "inputs[0] must be an object with name, dtype and dims"),
        ({"inputs": [*X, tensor("z"), *X]}, "inputs has 'x' twice"),
        ({"inputs": [tensor("x", dim=[1])]}, "inputs[0]: unknown key 'dim' (did you mean 'dims'?)"),
        ({"outputs": [*Y, tensor("")]}, "outputs[1] has no name"),
        ({"inputs": [{"name": "x", "dims": [1]}]}, "inputs[0] has no dtype"),
        (
            {"inputs": [tensor("x", "float")]},
            "inputs[0]: unknown data type 'float': use one of " + ", ".join(DTYPES),
        ),
        ({"inputs": [tensor("x", dims=(1,) * 9)]}, "inputs[0]: dims has rank 9; at most 8 is allowed"),
        ({"inputs": [tensor("x", dims=(0,))]}, "inputs[0]: dims must be -1 or above 0, not [0]"),
        ({"inputs": [tensor("x", dims=(3, -2))]}, "inputs[0]: dims must be -1 or above 0, not [3, -2]"),
        ({"inputs": [{"name": "x", "dtype": "FP32"}]}, "inputs[0]: dims must be a list of integers, not None"),
        (
            {"inputs": [{"name": "x", "dtype": "FP32", "dims": [True]}]},
            "inputs[0]: dims must be a list of integers, not [True]",
        ),
        ({"inputs": [tensor("x", optional="yes")]}, "inputs[0]: optional must be true or false"),
        (
            {"inputs": [tensor(f"x{i}") for i in range(128)]},
            "it has 129 inputs and outputs; at most 128 are allowed",
        ),
    ],
)
def test_each_problem_of_the_json_is_named(change: Declared, message: str) -> None:
    Interface.from_json(GOOD, where="here")
    assert not_read({**GOOD, **change}) == f"here: {message}"


def test_the_maximum_number_of_tensors_is_passed_to_the_guest() -> None:
    inputs = [tensor(f"x{i}", dims=(1,)) for i in range(127)]
    wasm = guests.dlpack(guests.ECHO_BODY, inputs=inputs, outputs=[tensor("y", dims=(1,))], batch=8)
    with Program.load(wasm, cache=None) as program:
        made = program.run({f"x{i}": np.full((1, 1), i + 1, np.float32) for i in range(127)})
    assert made["y"].tolist() == [[1]]


def test_all_problems_of_the_json_are_reported_together() -> None:
    message = not_read(
        {"convention": "dlpack", "abi": 3, "inputs": [tensor("x", dims=(0,)), {}], "outputs": Y, "args": 1}
    )
    assert message == (
        "here: abi is 3; this version reads 1; inputs[0]: dims must be -1 or above 0, not [0]; inputs[1] has no name;"
        " inputs[1] has no dtype; inputs[1]: dims must be a list of integers, not None; args must be a list of names and numbers, not 1"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text("abnxy(),->?", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "dtype", "dims"]), inner),
    max_leaves=6,
)


@settings(deadline=None)
@given(changes=st.dictionaries(st.sampled_from([*GOOD, "abi", "args", "returns", "description"]), JSON, max_size=4))
def test_any_json_is_read_or_rejected(changes: Declared) -> None:
    try:
        found = Interface.from_json({**GOOD, **changes}, where="here")
    except InterfaceError as error:
        assert str(error).startswith("here: ")  # noqa: PT017
    else:
        assert Interface.from_json(found.to_json(), where="here").to_json() == found.to_json()


# -- the section -------------------------------------------------------------------------------------------------------


def with_section(payload: bytes, text: str = "(module)") -> ModuleInfo:
    from portalis.backend.wasm import assembler as emit

    return read_module(guests.wasm(text) + emit.section(0, emit.name("portalis") + payload))


def test_entries_that_a_linker_concatenated_are_read() -> None:
    info = with_section(b'\0{"entry": "a"}\n{"entry": "b"}\0\0\t{"entry": "c"} \r\n')
    assert [entry["entry"] for entry in parse_section(info, "m.wasm")] == ["a", "b", "c"]
    assert parse_section(with_section(b"\0\0"), "m.wasm") == []
    assert parse_section(read_module(guests.wasm("(module)")), "m.wasm") == []


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"{entry}", "is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b'{"a": 1} x', "is not JSON: Expecting value: line 1 column 10 (char 9)"),
        (b'{"a": "\xff', "is not JSON: Unterminated string starting at: line 1 column 7 (char 6)"),
        (b"[1]", "must contain JSON objects, not [1]"),
        (b'"\xc3\xa4"', "must contain JSON objects, not 'ä'"),
    ],
)
def test_a_section_that_cannot_be_read_is_reported(payload: bytes, message: str) -> None:
    with pytest.raises(InterfaceError) as caught:
        parse_section(with_section(payload), "m.wasm")
    assert str(caught.value) == f"m.wasm: the custom section 'portalis' {message}"


def test_a_section_nested_too_deep_is_rejected() -> None:
    with pytest.raises(InterfaceError, match="^m.wasm: the custom section 'portalis' is not JSON: maximum recursion"):
        parse_section(with_section(b"[" * 200_000), "m.wasm")


@settings(deadline=None)
@given(payload=st.binary(max_size=60) | st.text('{}[]",:0a ', max_size=30).map(str.encode))
def test_any_section_is_read_or_rejected(payload: bytes) -> None:
    info = with_section(payload, guests.ADD)
    try:
        found = discover(info, where="m.wasm")
    except InterfaceError as error:
        assert str(error).startswith("m.wasm")  # noqa: PT017
    else:
        assert found.source == "exports"


# -- discovery ---------------------------------------------------------------------------------------------------------

SCALAR = '(func (export "f") (param f32) (result f32) (local.get 0))'
TWO = SCALAR + '(func (export "g") (param f32) (result f32) (local.get 0))'
KERNEL = '(memory (export "memory") 1) (func (export "k") (param i32 i32 i32))'
ABI_GUEST = guests.PRELUDE + '(func (export "portalis_infer") (param i32 i32 i32 i32) (result i32) (i32.const 0))'
COMMAND = '(memory (export "memory") 1) (func (export "_start"))'
ANNOTATE = "write it into the module with 'portalis annotate'"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_examples_declare_their_interfaces(path: Path) -> None:
    info = read_module(path)
    found = discover(info, where=str(path))
    expected = "exports" if found.convention is Convention.COMMAND or not parse_section(info, "") else "section"
    assert found.source == expected
    again = discover(info, found.to_json(), where=str(path))
    assert again.to_json() == found.to_json() and again.source == "explicit"


def test_functions_of_numbers_are_elementwise_with_the_names_of_their_parameters() -> None:
    text = '(func (export "f") (param $a i32) (param $b f64) (result i64 f32) (i64.const 0) (f32.const 0))'
    assert discover(module(text), where="m.wasm").to_json() == {
        "abi": 1,
        "entry": "f",
        "convention": "elementwise",
        "max_batch_size": 64,
        "inputs": [tensor("a", "INT32"), tensor("b", "FP64")],
        "outputs": [tensor("y0", "INT64"), tensor("y1", "FP32")],
    }


def test_unnamed_parameters_are_numbered_and_names_of_outputs_are_distinct() -> None:
    found = discover(module(SCALAR), where="m.wasm")
    assert ([s.name for s in found.inputs], [s.name for s in found.outputs]) == (["x0"], ["y"])
    clash = '(func (export "f") (param $y f32) (result f32) (local.get 0))'
    assert [s.name for s in discover(module(clash), where="m.wasm").outputs] == ["output_y"]


def test_a_start_function_makes_a_command() -> None:
    found = discover(module(COMMAND + SCALAR), where="m.wasm")
    assert (found.entry, found.convention, found.max_batch_size) == ("_start", Convention.COMMAND, 64)
    assert [(s.name, s.dtype.name, s.dims, s.optional) for s in found.inputs] == [
        ("stdin", "BYTES", (1,), False),
        ("args", "BYTES", (-1,), True),
    ]
    assert [(s.name, s.dtype.name) for s in found.outputs] == [
        ("stdout", "BYTES"),
        ("stderr", "BYTES"),
        ("exit_code", "INT32"),
    ]
    assert discover(module(COMMAND), {"convention": "command"}, where="m.wasm").source == "explicit"
    assert discover(module(COMMAND + SCALAR), {"entry": "f"}, where="m.wasm").convention is Convention.ELEMENTWISE


def test_a_declared_entry_picks_one_of_several() -> None:
    assert discover(module(TWO), {"entry": "g", "max_batch_size": None}, where="m.wasm").entry == "g"
    described = [{**GOOD, "convention": "elementwise", "entry": e, "description": e} for e in "fg"]
    assert discover(module(TWO, *described), {"entry": "g"}, where="m.wasm").description == "g"
    assert discover(module(TWO, described[0]), where="m.wasm").source == "section"
    assert refused(module(TWO, *described)) == "m.wasm has several entries (f, g): choose one with wasm.entry"


def test_an_entry_missing_in_the_section_is_derived_from_the_exports() -> None:
    described = [{**GOOD, "convention": "elementwise", "entry": "f", "description": "of f"}]
    found = discover(module(TWO, *described), {"entry": "g"}, where="m.wasm")
    assert (found.entry, found.description, found.source) == ("g", "", "explicit")


def test_each_declared_key_overrides_the_section() -> None:
    described = {**GOOD, "entry": "k", "description": "kept"}
    found = discover(module(KERNEL, described), {"inputs": [tensor("z")], "returns": None}, where="m.wasm")
    assert (found.inputs[0].name, found.outputs[0].name, found.description) == ("z", "y", "kept")
    assert found.source == "explicit"


def test_tensors_and_a_convention_are_enough_if_only_one_function_can_be_the_entry() -> None:
    declared: Declared = {"inputs": X, "outputs": Y, "convention": "gufunc", "signature": "(n)->(n)"}
    assert discover(module(KERNEL), declared, where="m.wasm").entry == "k"
    assert discover(module(KERNEL), {**declared, "entry": "k"}, where="m.wasm").entry == "k"
    assert refused(module(TWO), declared) == (
        "m.wasm exports 2 functions that could be the entry: choose one with wasm.entry."
        " Its exports are: f(f32) -> (f32), g(f32) -> (f32)"
    )


def test_tensors_alone_are_enough_for_a_dlpack_guest() -> None:
    found = discover(module(ABI_GUEST), {"inputs": X, "outputs": Y}, where="m.wasm")
    assert (found.entry, found.convention, found.source) == ("portalis_infer", Convention.DLPACK, "explicit")
    stdin, stdout = [tensor("stdin", "BYTES", (1,))], [tensor("stdout", "BYTES", (1,))]
    declared = {"inputs": stdin, "outputs": stdout, "convention": "command"}
    assert discover(module(COMMAND), declared, where="m.wasm").entry == "_start"


ABI_EXPORTS = (
    "Its exports are: memory (memory), portalis_abi_v1() -> (), portalis_alloc(i32, i32) -> (i32), portalis_reset() -> (),"
    " portalis_infer(i32, i32, i32, i32) -> (i32)"
)


@pytest.mark.parametrize(
    ("text", "declared", "message"),
    [
        (
            "",
            {},
            (
                "m.wasm exports no function that could be the entry: export the function to call (in C"
                ' __attribute__((export_name("NAME"))) or -Wl,--export=NAME, in Rust #[no_mangle] pub extern "C" fn of a'
                " cdylib, in Go //go:wasmexport NAME, in AssemblyScript export function). It has no exports"
            ),
        ),
        (
            TWO,
            {},
            (
                "m.wasm exports 2 functions that could be the entry: choose one with wasm.entry."
                " Its exports are: f(f32) -> (f32), g(f32) -> (f32)"
            ),
        ),
        (
            ABI_GUEST,
            {},
            (
                "m.wasm is a dlpack guest that does not declare its tensors: declare input and output in config.pbtxt, or"
                f" write them into the module with 'portalis annotate'. {ABI_EXPORTS}"
            ),
        ),
        (
            SCALAR,
            {"entry": "ff"},
            "m.wasm exports no function 'ff' (did you mean 'f'?). Its exports are: f(f32) -> (f32)",
        ),
        (
            KERNEL,
            {"entry": "memory"},
            "m.wasm exports no function 'memory'. Its exports are: memory (memory), k(i32, i32, i32) -> ()",
        ),
        (
            KERNEL,
            {"convention": "gufunc"},
            (
                "m.wasm: the gufunc convention needs inputs and outputs (and a signature such as (n)->(n) for a gufunc): declare input and"
                " output in config.pbtxt, or write them into the module with 'portalis annotate'. Its exports are: memory (memory), k(i32, i32, i32) -> ()"
            ),
        ),
        (
            SCALAR,
            {"convention": "dlpack"},
            (
                "m.wasm: the dlpack convention needs inputs and outputs (and a signature such as (n)->(n) for a gufunc): declare input and"
                " output in config.pbtxt, or write them into the module with 'portalis annotate'. Its exports are: f(f32) -> (f32)"
            ),
        ),
        (
            SCALAR,
            {"convention": "command"},
            "m.wasm exports no function '_start'. Its exports are: f(f32) -> (f32)",
        ),
    ],
)
def test_a_failed_derivation_is_reported_with_the_exports_and_a_remediation(
    text: str, declared: Declared, message: str
) -> None:
    assert refused(module(text), declared) == message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (KERNEL, "does not take and return numbers"),
        ('(func (export "k") (param v128) (result f32) (f32.const 0))', "does not take and return numbers"),
        ('(func (export "k") (result f32) (f32.const 0))', "does not take and return numbers"),
        (
            '(memory (export "memory") 1) (func (export "k") (param i32) (result f32) (f32.const 0))',
            "may take pointers",
        ),
    ],
)
def test_an_entry_whose_parameters_could_be_pointers_is_not_derived(text: str, why: str) -> None:
    message = refused(module(text))
    assert re.match(rf"^m\.wasm: the entry 'k'\(.*\) -> \(.*\) {why}, so its interface cannot be derived\. ", message)
    assert 'parameters { key: "wasm.convention" value { string_value: "gufunc" } }' in message
    assert 'wasm.signature "(n)->(n)"' in message and ANNOTATE in message and "Its exports are: " in message


def test_integers_are_values_where_the_convention_reports_it() -> None:
    text = '(memory (export "memory") 1) (func (export "k") (param i32) (result i32) (local.get 0))'
    found = discover(module(text), {"convention": "elementwise"}, where="m.wasm")
    assert [s.dtype.name for s in (*found.inputs, *found.outputs)] == ["INT32", "INT32"]
    floats = '(memory (export "memory") 1) (func (export "k") (param f32) (result f32) (local.get 0))'
    assert discover(module(floats), where="m.wasm").convention is Convention.ELEMENTWISE


def test_helper_functions_of_toolchains_are_not_candidates() -> None:
    helpers = ("malloc", "free", "_initialize", "__pin", "portalis_alloc", "cabi_realloc", "abort")
    text = "".join(f'(func (export "{name}"))' for name in helpers) + '(memory (export "m") 1)' + SCALAR
    assert [e.name for e in entry_candidates(module(text))] == ["f"]


def test_long_lists_of_exports_are_truncated_and_names_are_escaped() -> None:
    text = "".join(f'(func (export "f{i}"))' for i in range(23))
    message = describe_exports(module(text))
    assert message.startswith("Its exports are: f0() -> (), f1() -> ()") and message.endswith("f19() -> () and 3 more")
    twenty = "".join(f'(func (export "f{i}"))' for i in range(20))
    assert describe_exports(module(twenty)).endswith("f19() -> ()")
    odd = '(func (export "a\\1b[31mb"))(global (export "größe") i32 (i32.const 0))'
    assert describe_exports(module(odd)) == "Its exports are: 'a\\x1b[31mb'() -> (), größe (global)"


# -- the check against the module --------------------------------------------------------------------------------------


def mismatch(text: str, **declared: Any) -> str:
    """The message of `check_interface` for a declaration, without its name."""
    message = refused(module(text), declared)
    assert message.startswith("m.wasm: ")
    return message.removeprefix("m.wasm: ")


def test_an_elementwise_entry_has_as_many_numbers_as_tensors() -> None:
    message = mismatch(SCALAR, convention="elementwise", inputs=[*X, tensor("z")], outputs=[*Y, tensor("w")])
    assert message == (
        "entry 'f'(f32) -> (f32) has 1 inputs, but 2 are declared; entry 'f'(f32) -> (f32) has 1 outputs, but 2 are declared"
    )


def test_an_elementwise_dtype_must_be_carried_by_the_entrys_type() -> None:
    message = mismatch(
        SCALAR, convention="elementwise", inputs=[tensor("x", "FP64", optional=True)], outputs=[tensor("y", "BYTES")]
    )
    assert message == (
        "input 'x' is FP64, which is f64 in WebAssembly, but the entry has f32; output 'y' is BYTES, which is not a number in"
        " WebAssembly, but the entry has f32; input 'x' cannot be optional: an elementwise entry needs every number"
    )


def test_an_output_is_never_optional() -> None:
    message = mismatch(SCALAR, convention="elementwise", inputs=X, outputs=[tensor("y", optional=True)])
    assert message == "output 'y' cannot be optional: only inputs can"


def test_an_elementwise_entry_has_a_limited_number_of_operands() -> None:
    text = f'(func (export "f") (param {"f32 " * MAX_OPERANDS}) (result f32) (f32.const 0))'
    declared: Declared = {"convention": "elementwise", "outputs": Y}
    inputs = [tensor(f"x{i}") for i in range(MAX_OPERANDS)]
    assert mismatch(text, **declared, inputs=inputs) == (
        f"entry 'f' has {MAX_OPERANDS + 1} parameters and results: an elementwise entry has at most {MAX_OPERANDS}"
    )
    discover(module(text.replace("f32 ", "", 1)), {**declared, "inputs": inputs[1:]}, where="m.wasm")


def test_a_gufunc_needs_a_signature_that_has_its_tensors() -> None:
    declared: Declared = {"convention": "gufunc", "inputs": X, "outputs": Y}
    assert mismatch(KERNEL, **declared) == "a gufunc needs a signature such as (n)->(n) (wasm.signature)"
    assert mismatch(KERNEL, **declared, signature="(n),(n)->(n),(n)") == (
        "signature (n),(n)->(n),(n) has 2 inputs, but 1 are declared; signature (n),(n)->(n),(n) has 2 outputs, but 1 are declared"
    )


def test_a_gufunc_that_returns_a_status_gets_a_pointer_to_every_output() -> None:
    text = '(memory (export "memory") 1) (func (export "k") (param i32 i32) (result i32) (i32.const 0))'
    message = mismatch(
        text, convention="gufunc", signature="(n)->(n)", args=["x", "n"], returns="status", inputs=X, outputs=Y
    )
    assert message == "entry 'k' returns 1 values, but 1 outputs are not among its arguments and it returns a status"


def test_all_problems_of_a_gufunc_entry_are_reported_together() -> None:
    text = '(func (export "k") (param i32 v128))'
    message = mismatch(
        text,
        convention="gufunc",
        signature="(n),()->(n)",
        inputs=[tensor("x", "BYTES"), tensor("z", optional=True)],
        outputs=Y,
    )
    assert message == (
        "the entry takes pointers, but no memory is exported as 'memory' for the tensors: export it;"
        " input 'x' is BYTES, which has no fixed element size: use the dlpack convention; input 'z' cannot be optional in a gufunc;"
        " entry 'k'(i32, v128) -> () has parameters that are not numbers"
    )


def test_a_dlpack_guest_exports_the_abi() -> None:
    text = '(func (export "portalis_infer")) (global (export "portalis_error") i32 (i32.const 0))'
    assert mismatch(text, convention="dlpack", inputs=X, outputs=Y) == (
        "the entry takes pointers, but no memory is exported as 'memory' for the tensors: export it; a dlpack guest must"
        " export the marker 'portalis_abi_v1' (tensor ABI version 1); a dlpack guest must export 'portalis_alloc';"
        " 'portalis_infer' must be a function (i32, i32, i32, i32) -> (i32), not () -> ();"
        " 'portalis_error' must be a function () -> (i32), not global"
    )
    discover(module(ABI_GUEST), {"convention": "dlpack", "inputs": X, "outputs": Y}, where="m.wasm")


def test_a_commands_tensors_are_fixed() -> None:
    known = "{'stdin': 'BYTES', 'args': 'BYTES', 'stdout': 'BYTES', 'stderr': 'BYTES', 'exit_code': 'INT32'}"
    message = mismatch(
        '(func (export "_start") (param i32))', convention="command", inputs=X, outputs=[tensor("exit_code", "INT64")]
    )
    assert message == (
        "a command's entry must be a function () -> (), not (i32) -> ();"
        f" a command cannot have a tensor 'x' of FP32: its tensors are {known};"
        f" a command cannot have a tensor 'exit_code' of INT64: its tensors are {known};"
        " a command needs the input 'stdin'"
    )


def test_the_interface_of_a_different_module_is_rejected_with_the_missing_entry() -> None:
    interface = discover(module(SCALAR), where="m.wasm")
    with pytest.raises(InterfaceError, match=r"^other\.wasm exports no function 'f'\. It has no exports$"):
        check_interface(module(""), interface, where="other.wasm")


def test_the_search_for_the_closest_name_is_bounded() -> None:
    long = "".join(f'(export "{i:06}{"ab" * 40_000}" (func $f))' for i in range(20))
    many = "".join(f'(export "fun{i:06}" (func $f))' for i in range(20_000))
    info = module(f'(func $f) (export "function" (func $f)) {many} {long}')
    started = time.process_time()
    with pytest.raises(InterfaceError, match=r"exports no function 'functoin' \(did you mean 'function'\?\)"):
        find_entry(info, "functoin", "m.wasm")
    with pytest.raises(InterfaceError, match=r"exports no function 'babab"):
        find_entry(info, "ba" * 40_000, "m.wasm")
    assert time.process_time() - started < 10
