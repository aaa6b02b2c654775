"""Writing the ``portalis`` section: what is kept, what is changed, what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wasmtime

from portalis.annotation import amend_interface, parse_tensor, replace_interfaces
from portalis.backend import InterfaceError, ModuleError, Program
from portalis.backend.interface.discovery import discover, parse_section
from portalis.backend.wasm.binary import read_module
from portalis.errors import UsageError
from portalis.examples.catalog import ECHO, EXAMPLES, Example
from tests import parts
from tests.backend import guests

from .inspection.test_inspector import sections

WHERE = "here.wasm"
SECTION = b"\x08portalis"
TWO = """(module (func (export "add") (param $a f32) (param $b f32) (result f32) (f32.add (local.get $a) (local.get $b)))
  (func (export "mul") (param $a f32) (param $b f32) (result f32) (f32.mul (local.get $a) (local.get $b))))"""
DOUBLE: dict[str, Any] = {
    "signature": "(n)->(n)",
    "convention": "gufunc",
    "inputs": [guests.tensor("x")],
    "outputs": [guests.tensor("y")],
}


def entries(module: bytes) -> list[dict[str, Any]]:
    """The entries that the module's section holds."""
    return parse_section(read_module(module), WHERE)


def others(module: bytes) -> list[tuple[int, bytes]]:
    """Every section but ``portalis``."""
    return [(number, data) for number, data in sections(module) if not (number == 0 and SECTION in data[:16])]


def run(module: bytes, **inputs: object) -> dict[str, np.ndarray]:
    with Program.load(module, cache=None) as program:
        return program.run(inputs)


def test_what_is_written_is_what_discover_reads_and_what_runs() -> None:
    module = guests.wasm(guests.DOUBLE)
    annotated = amend_interface(module, {**DOUBLE, "max_batch_size": 8, "description": "twice"}, where=WHERE)
    assert entries(annotated) == [
        {
            "abi": 1,
            "entry": "double",
            "convention": "gufunc",
            "signature": "(n)->(n)",
            "max_batch_size": 8,
            "inputs": [{"name": "x", "dtype": "FP32", "dims": [-1]}],
            "outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}],
            "description": "twice",
        }
    ]
    found = discover(read_module(annotated), where=WHERE)
    assert (found.to_json(), found.source) == (entries(annotated)[0], "section")
    x = np.array([[1, 2.5], [3, -4]], np.float32)
    np.testing.assert_array_equal(run(annotated, x=x)["y"], x * 2)


def test_what_the_exports_say_is_written_without_any_option() -> None:
    module = guests.wasm(guests.ADD)
    annotated = amend_interface(module, {}, where=WHERE)
    assert entries(annotated) == [discover(read_module(module), where=WHERE).to_json()]
    assert run(annotated, a=[1.5], b=[2.0])["y"] == [3.5]


@pytest.mark.parametrize("example", [*EXAMPLES.values(), ECHO], ids=lambda example: example.name)
def test_every_other_byte_of_a_module_is_kept(example: Example) -> None:
    module = example.module.read_bytes()
    annotated = amend_interface(module, {"description": "x"}, where=WHERE)
    assert annotated[:8] == module[:8]
    assert others(annotated) == others(module)
    assert sections(annotated)[-1][1].count(SECTION) == 1
    assert len(sections(annotated)) == len(others(annotated)) + 1
    if entries(module):
        assert entries(annotated) == [{"entry": "portalis_infer", **entries(module)[0], "description": "x"}]


def test_custom_sections_before_between_and_behind_keep_their_places() -> None:
    module = guests.wasm(guests.ADD, {"entry": "add"})
    odd = b"\0\x84\x80\x00\x02abX"  # a custom section whose size is longer than it has to be
    between = module[:8] + odd + b"".join(data + odd for _, data in sections(module))
    wanted = [data for _, data in others(between)]
    assert wanted.count(odd) == len(sections(module)) + 1
    section = {"convention": "elementwise", "inputs": [guests.tensor("p"), guests.tensor("q")]}
    annotated = replace_interfaces(between, [{"entry": "add", **section, "outputs": [guests.tensor("r")]}], where=WHERE)
    assert [data for _, data in others(annotated)] == wanted
    assert run(annotated, p=[1], q=[2])["r"] == [3]


def test_one_key_is_changed_and_the_rest_stays() -> None:
    described = amend_interface(
        guests.wasm(guests.DOUBLE), {**DOUBLE, "max_batch_size": 8, "description": "twice"}, where=WHERE
    )
    (before,) = entries(described)
    assert entries(amend_interface(described, {"description": "two times"}, where=WHERE)) == [
        {**before, "description": "two times"}
    ]
    assert entries(amend_interface(described, {"max_batch_size": 3}, where=WHERE)) == [{**before, "max_batch_size": 3}]
    unbatched = entries(amend_interface(described, {"max_batch_size": 0}, where=WHERE))[0]
    assert unbatched == {key: value for key, value in before.items() if key != "max_batch_size"}
    renamed = entries(amend_interface(described, {"inputs": [guests.tensor("data")]}, where=WHERE))[0]
    assert renamed == {**before, "inputs": [guests.tensor("data")]}


def test_a_second_entry_is_added_and_each_is_changed_by_its_name() -> None:
    one = amend_interface(guests.wasm(TWO), {"entry": "add"}, where=WHERE)
    two = amend_interface(one, {"entry": "mul", "description": "product"}, where=WHERE)
    assert [entry["entry"] for entry in entries(two)] == ["add", "mul"]
    assert entries(two)[0] == entries(one)[0]
    changed = amend_interface(two, {"entry": "add", "max_batch_size": 5}, where=WHERE)
    assert entries(changed) == [{**entries(one)[0], "max_batch_size": 5}, entries(two)[1]]
    with Program.load(changed, interface={"entry": "mul"}, cache=None) as program:
        assert program.run({"a": [3.0], "b": [4.0]})["y"] == [12]
    with pytest.raises(InterfaceError, match=r"several entries \(add, mul\): choose one"):
        amend_interface(changed, {"description": "which?"}, where=WHERE)


def test_an_entry_that_is_not_named_keeps_what_portalis_does_not_know() -> None:
    kept = {"entry": "mul", "from": "a newer version", "list": [1, {"é": None}]}
    annotated = amend_interface(guests.wasm(TWO, {"entry": "add", "convention": "elementwise"}, kept), SUM, where=WHERE)
    assert entries(annotated)[1] == {"abi": 1, **kept}
    assert entries(annotated)[0]["description"] == "sum"


SUM: dict[str, Any] = {
    "entry": "add",
    "inputs": [guests.tensor("a"), guests.tensor("b")],
    "outputs": [guests.tensor("y")],
    "description": "sum",
}


def test_replace_leaves_nothing_of_an_earlier_section() -> None:
    described = guests.wasm(TWO, {"entry": "add", "nonsense": True}, {"entry": "gone"})
    annotated = replace_interfaces(described, [{"entry": "mul"}], where=WHERE)
    assert [entry["entry"] for entry in entries(annotated)] == ["mul"]
    assert others(annotated) == others(described)
    both = replace_interfaces(annotated, [{"entry": "mul"}, {"entry": "add", "description": "sum"}], where=WHERE)
    assert [(e["entry"], e.get("description")) for e in entries(both)] == [("mul", None), ("add", "sum")]


def test_a_section_that_cannot_be_read_stops_amend_and_not_replace() -> None:
    broken = guests.wasm(guests.ADD) + b"\0\x0c" + SECTION + b"{x}"
    with pytest.raises(InterfaceError, match="custom section 'portalis' is not JSON"):
        amend_interface(broken, {"description": "x"}, where=WHERE)
    assert entries(replace_interfaces(broken, [{"entry": "add"}], where=WHERE))[0]["entry"] == "add"


def test_several_sections_become_one() -> None:
    module = guests.wasm(TWO, {"entry": "add", "convention": "elementwise"}, {"entry": "mul"})
    assert [number for number, data in sections(module) if SECTION in data[:16]] == [0, 0]
    annotated = amend_interface(module, SUM, where=WHERE)
    assert len([number for number, data in sections(annotated) if SECTION in data[:16]]) == 1
    assert [entry["entry"] for entry in entries(annotated)] == ["add", "mul"]


@pytest.mark.parametrize("changes", [{}, {"description": "é \u2192 漢"}, {"max_batch_size": 0}, SUM])
def test_twice_the_same_gives_the_same_bytes(changes: dict[str, Any]) -> None:
    once = amend_interface(guests.wasm(guests.ADD), changes, where=WHERE)
    assert amend_interface(once, changes, where=WHERE) == once
    assert replace_interfaces(once, entries(once), where=WHERE) == once


def test_a_description_of_any_length_and_script_survives() -> None:
    for size in (0, 1, 100, 127, 128, 16_384, 2_100_000):
        description = "漢" * size
        annotated = amend_interface(guests.wasm(guests.ADD), {"description": description}, where=WHERE)
        assert discover(read_module(annotated), where=WHERE).description == description
        assert others(annotated) == others(guests.wasm(guests.ADD))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entry": "ad"}, r"here.wasm exports no function 'ad' \(did you mean 'add'\?\)"),
        ({"inputs": [guests.tensor("a")]}, r"entry 'add'\(f32, f32\) -> \(f32\) has 2 inputs, but 1 are declared"),
        ({"outputs": [guests.tensor("y", "FP64")]}, "output 'y' is FP64, which is f64 in WebAssembly, but the entry"),
        ({"inputs": [guests.tensor("a", "FP33")] * 2}, "FP33"),
        ({"inputs": [guests.tensor("a")] * 2}, "inputs has 'a' twice"),
        ({"inputs": [guests.tensor("a", dims=(0,)), guests.tensor("b")]}, "dims must be -1 or above 0"),
        ({"convention": "gufunc"}, "a gufunc needs a signature"),
        ({"convention": "gufunc", "signature": "(n->(n)"}, r"signature '\(n->\(n\)' is invalid"),
        ({"convention": "gufunc", "signature": "(n)->(n)"}, r"signature \(n\)->\(n\) has 1 inputs, but 2 are declared"),
        ({"convention": "dlpack"}, "a dlpack guest must export the marker 'portalis_abi_v1'"),
        ({"convention": "telepathy"}, "convention must be one of elementwise, gufunc, dlpack, command"),
        ({"outputs": [guests.tensor("y", optional=True)]}, "output 'y' cannot be optional: only inputs can"),
        ({"returns": "nothing"}, "returns must be one of value, status, not 'nothing'"),
        ({"max_batch_size": -1}, "max_batch_size must be an integer of at least 0, not -1"),
        ({"descripton": "x"}, r"unknown key 'descripton' \(did you mean 'description'\?\)"),
    ],
)
def test_what_does_not_fit_the_module_is_refused(changes: dict[str, Any], message: str) -> None:
    described = amend_interface(guests.wasm(guests.ADD), {}, where=WHERE)
    with pytest.raises(InterfaceError, match=message):
        amend_interface(described, changes, where=WHERE)
    with pytest.raises(InterfaceError, match=message):
        replace_interfaces(described, [{**entries(described)[0], **changes}], where=WHERE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signature": "(m,n)->(m)"}, "here.wasm: entry 'double' has 3 parameters, but its arguments are x, y, m, n: "),
        ({"args": ["x", "y"]}, "entry 'double' has 3 parameters, but its arguments are x, y: declare them with --args"),
        ({"args": ["x", "y", "size"]}, "argument 'size' is neither a tensor, nor a core dimension, nor 'batch'"),
        ({"returns": "status"}, "entry 'double' returns 0 values, but 0 outputs are not among its arguments and it"),
    ],
)
def test_a_gufunc_whose_arguments_are_not_the_parameters_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InterfaceError, match=message):
        amend_interface(guests.wasm(guests.DOUBLE), {**DOUBLE, **changes}, where=WHERE)
    swapped = amend_interface(guests.wasm(guests.DOUBLE), {**DOUBLE, "args": ["x", "y", "n"]}, where=WHERE)
    assert entries(swapped)[0]["args"] == ["x", "y", "n"]


def test_an_entry_described_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="entry 'add' is described twice"):
        replace_interfaces(guests.wasm(TWO), [{"entry": "add"}, {"entry": "mul"}, {"entry": "add"}], where=WHERE)


@pytest.mark.parametrize("data", [b"", b"text", b"\0asm\x0d\0\1\0", bytes(wasmtime.wat2wasm(guests.ADD))[:20]])
def test_what_is_no_module_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ModuleError, match=WHERE):
        amend_interface(data, {}, where=WHERE)
    with pytest.raises(ModuleError, match=WHERE):
        replace_interfaces(data, [{"entry": "add"}], where=WHERE)


@pytest.mark.parametrize("example", [*EXAMPLES.values(), ECHO], ids=lambda example: example.name)
def test_wasm_tools_finds_the_result_valid(example: Example, tmp_path: Path) -> None:
    tools = parts.wasm_tools()
    path = tmp_path / "annotated.wasm"
    path.write_bytes(amend_interface(example.module.read_bytes(), {"description": "é" * 200}, where=WHERE))
    done = subprocess.run([tools, "validate", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run([tools, "objdump", str(path)], capture_output=True, text=True, check=True)
    assert listed.stdout.count('"portalis"') == 1


@pytest.mark.parametrize(
    ("text", "tensor"),
    [
        ("x:FP32[-1]", {"name": "x", "dtype": "FP32", "dims": [-1]}),
        ("x:FP32[-1,3]", {"name": "x", "dtype": "FP32", "dims": [-1, 3]}),
        ("x:FP32[ 2 , 3 ]", {"name": "x", "dtype": "FP32", "dims": [2, 3]}),
        ("x:FP32[]", {"name": "x", "dtype": "FP32", "dims": []}),
        ("x:FP32", {"name": "x", "dtype": "FP32", "dims": []}),
        ("o:BYTES[1]?", {"name": "o", "dtype": "BYTES", "dims": [1], "optional": True}),
        ("input.0/é-x:INT64[4]", {"name": "input.0/é-x", "dtype": "INT64", "dims": [4]}),
    ],
)
def test_a_tensor_is_read_from_its_text(text: str, tensor: dict[str, Any]) -> None:
    assert parse_tensor(text) == tensor
    assert json.loads(json.dumps(parse_tensor(text))) == tensor


@pytest.mark.parametrize(
    "text", ["", "x", "x:", ":FP32[1]", "x FP32[1]", "x:FP32[1", "x:FP32 1]", "x:FP32[1]!", "x:y:z"]
)
def test_text_that_describes_no_tensor_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_tensor(text)
    assert caught.value.message == f"{text!r} does not describe a tensor"
    assert "x:FP32[-1]" in caught.value.remediation


@pytest.mark.parametrize("text", ["x:FP32[n]", "x:FP32[1,,2]", "x:FP32[1,]", "x:FP32[1.5]"])
def test_dims_that_are_no_integers_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the dims are not integers"):
        parse_tensor(text)
