"""The remediation of an error of loading a module names settings of the tool, and of no other tool."""

from __future__ import annotations

import re
from typing import Any

import pytest

from portalis.backend import InterfaceError, Program
from portalis.backend.errors import WasmError
from portalis.backend.setting_names import NAMES_BY_TOOL
from portalis.backend.triton.model_parameters import KEYS
from portalis.spec.package_spec import WasmBinaryPath

from . import guests

POINTERS = '(module (memory (export "memory") 1) (func (export "f") (param i32 i32 i32)))'
TWO = """(module (func (export "f") (param f32) (result f32) (local.get 0))
    (func (export "g") (param f32) (result f32) (local.get 0)))"""
KERNEL = {"entry": "f", "convention": "gufunc", "inputs": [guests.tensor("x")], "outputs": [guests.tensor("y")]}
# a module, its declared interface, and a part of the error message
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "pointers": (POINTERS, {}, "does not take and return numbers"),
    "several entries": (TWO, {}, "functions that could be the entry"),
    "no signature": (POINTERS, KERNEL, "a gufunc needs a signature"),
    "unknown parameters": (
        '(module (memory (export "memory") 1) (func (export "f") (param i32 i32 i32 i32 i32 i32)))',
        {**KERNEL, "signature": "(n)->(n)"},
        "declare",
    ),
    "tensors of a dlpack guest": (
        f'(module {guests.PRELUDE} (func (export "portalis_infer") (param i32 i32 i32 i32) (result i32) (i32.const 0)))',
        {},
        "is a dlpack guest",
    ),
}
# terms that only some of the tools use
OWNERS = {
    r"\bwasm\.\w+": ("triton",),
    r"config\.pbtxt": ("triton",),
    r"service\.json": ("service",),
    r"interface\.\w+ in wasm_binaries|wasm_binaries\.interface": ("spec", "image", "kit"),
    r"the extension's spec": ("kit",),
    r"interface=": ("python",),
    r"[Gg]ive --|with --input and --output|^--": ("annotate", "inspect", "infer"),
}


@pytest.mark.parametrize("tool", NAMES_BY_TOOL)
@pytest.mark.parametrize("name", WRONG)
def test_an_invalid_interface_is_explained_with_settings_of_the_tool(name: str, tool: str) -> None:
    text, declared, word = WRONG[name]
    with pytest.raises(InterfaceError) as caught:
        Program.load(guests.wasm(text), interface=declared or None, cache=None, setting_names=NAMES_BY_TOOL[tool])
    message = str(caught.value)
    assert word in message
    foreign = [pattern for pattern, owners in OWNERS.items() if tool not in owners and re.search(pattern, message)]
    assert not foreign, message
    assert "Limits" not in message and "…" not in message.replace("…}", "").replace("[…]", "")


@pytest.mark.parametrize("tool", NAMES_BY_TOOL)
def test_the_keys_that_each_tool_names_exist(tool: str) -> None:
    setting_names = NAMES_BY_TOOL[tool]
    text = f"{setting_names.entry} {setting_names.args} {setting_names.signature} {setting_names.declare} {setting_names.pointers} {setting_names.trusted}"
    assert {each.rstrip(".") for each in re.findall(r"\bwasm\.\w+", text)} <= set(KEYS)
    interface = WasmBinaryPath.model_fields["interface"].annotation
    fields = set(getattr(interface, "model_fields", {}))
    assert set(re.findall(r"\binterface\.(\w+)", text)) <= fields
    assert set(re.findall(r'\{"(\w+)"', text)) <= fields


@pytest.mark.parametrize("source", [b"", b"text", b"\0asm\1\0\0\0\xff", b"\0asm\2\0\0\0"])
@pytest.mark.parametrize("tool", NAMES_BY_TOOL)
def test_errors_of_files_that_are_not_modules_name_no_settings(source: bytes, tool: str) -> None:
    with pytest.raises(WasmError) as caught:
        Program.load(source, cache=None, setting_names=NAMES_BY_TOOL[tool])
    assert not re.search(r"raise |wasm\.\w+|config\.pbtxt|service\.json", str(caught.value))
