"""The remediation of an error about a limit names a setting of the tool, and following it helps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np
import pytest
import wasmtime

from portalis.backend import GuestTimeout, Limits, Program, WasmError
from portalis.backend.setting_names import (
    INFER_NAMES,
    KIT_NAMES,
    PYTHON_NAMES,
    SERVICE_NAMES,
    SPEC_NAMES,
    TRITON_NAMES,
    SettingNames,
)
from portalis.backend.triton.model_parameters import KEYS, parse_parameters
from portalis.nim.service.settings import ModelSettings
from portalis.omniverse.extension_toml import LIMITS as OF_KIT

from . import guests

pytestmark = pytest.mark.usefixtures("executor")

Setting = Callable[[str], Limits]


def _of_triton(key: str) -> Limits:
    assert key in KEYS
    return parse_parameters({key: {"string_value": "60000" if key.endswith("_ms") else "4000000"}}).limits


def _of_python(name: str) -> Limits:
    owner, _, field = name.partition(".")
    assert owner == "Limits"
    return Limits(**{field: 60.0 if field.endswith("_s") else 4_000_000})  # type: ignore[arg-type]


def _of_service(key: str) -> Limits:
    table, _, name = key.partition(".")
    assert table in ModelSettings.model_fields
    return _of_python(f"Limits.{name}")


def _of_kit(name: str) -> Limits:
    assert name in OF_KIT
    return _of_python(f"Limits.{name}")


# how each tool calls a limit, and what setting it to more makes
TOOLS: Mapping[str, tuple[SettingNames, str, Setting]] = {
    "python": (PYTHON_NAMES, r"raise (Limits\.\w+)", _of_python),
    "triton": (TRITON_NAMES, r"raise (wasm\.\w+)", _of_triton),
    "spec": (SPEC_NAMES, r'raise "(wasm\.\w+)" in triton_config\.backend_parameters', _of_triton),
    "service": (SERVICE_NAMES, r"raise (limits\.\w+) in service\.json", _of_service),
    "infer": (INFER_NAMES, r"raise --limit (\w+)", lambda name: _of_python(f"Limits.{name}")),
    "kit": (KIT_NAMES, r"raise the extension's setting (\w+)", _of_kit),
}


@dataclass(frozen=True)
class Case:
    """A module that fails with `limit` set to `low`, and runs with a higher limit."""

    module: bytes
    inputs: Mapping[str, np.ndarray]
    limit: str
    low: float

    @property
    def limits(self) -> Limits:
        """The default limits with the low one."""
        return Limits(**{self.limit: self.low})  # type: ignore[arg-type]


def _busy(turns: int) -> bytes:
    return bytes(
        wasmtime.wat2wasm(f"""(module (func (export "f") (param f32) (result f32) (local $i i32)
            (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {turns}))))
            (local.get 0)))""")
    )


def _large() -> bytes:
    """A module that is compiled in a separate process."""
    others = " ".join(f"(func (result i32) (i32.const {i}))" for i in range(500))
    return bytes(wasmtime.wat2wasm(f'(module {others} (func (export "f") (param f32) (result f32) (local.get 0)))'))


def _texts(*values: bytes) -> np.ndarray:
    return np.array([[each] for each in values], object)


ONE = {"x0": np.ones((1, 1), np.float32)}
WIDE = {"x": np.zeros(1 << 18, np.float32)}
ROWS = {"stdin": _texts(b"a" * 2000, b"b" * 2000)}
COLUMN, ROW = np.zeros((200, 1), np.float32), np.zeros((1, 200), np.float32)
CAT = guests.wasm(guests.CAT)
DOUBLE = {"abi": 1, "entry": "double", "convention": "gufunc", "signature": "(n)->(n)"}
CASES = {
    "time": Case(_busy(300_000_000), ONE, "timeout_s", 0.005),
    "time of a command": Case(CAT, ROWS, "timeout_s", 1e-6),
    "memory for tensors": Case(guests.echo(), WIDE, "max_memory_bytes", 1 << 20),
    "a first memory": Case(
        bytes(wasmtime.wat2wasm('(module (memory 40) (func (export "f") (param f32) (result f32) (local.get 0)))')),
        ONE,
        "max_memory_bytes",
        1 << 20,
    ),
    "bytes of outputs": Case(guests.echo(), WIDE, "max_tensor_bytes", 1 << 19),
    "bytes of rows": Case(CAT, ROWS, "max_tensor_bytes", 3000),
    "bytes that inputs broadcast to": Case(
        guests.wasm(guests.ADD), {"a": COLUMN, "b": ROW}, "max_tensor_bytes", 10_000
    ),
    "bytes of a kernel's outputs": Case(
        guests.wasm(guests.DOUBLE, {**DOUBLE, "inputs": [guests.tensor("x")], "outputs": [guests.tensor("y")]}),
        {"x": COLUMN},
        "max_tensor_bytes",
        100,
    ),
    "bytes of a stream": Case(CAT, ROWS, "max_stdout_bytes", 1000),
    "elements": Case(guests.echo("BYTES"), {"x": np.array([b"a", b"b", b"c"], object)}, "max_bytes_elements", 2),
    "a module's size": Case(guests.echo(), {"x": np.zeros(1, np.float32)}, "max_module_bytes", 10),
    "time of compiling": Case(_large(), ONE, "compile_timeout_s", 0.001),
}


def outcome(case: Case, limits: Limits, setting_names: SettingNames) -> str:
    """The error message of loading and running the module; "" if it succeeds."""
    try:
        with Program.load(case.module, limits=limits, cache=None, setting_names=setting_names) as program:
            program.run(case.inputs)
    except WasmError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name", CASES)
def test_the_limit_that_an_error_names_exists_in_the_tool_and_raising_it_helps(name: str, tool: str) -> None:
    case, (setting_names, pattern, setting) = CASES[name], TOOLS[tool]
    message = outcome(case, case.limits, setting_names)
    found = re.search(pattern, message)
    assert found, message
    assert not [other for other, (_, words, _) in TOOLS.items() if other != tool and re.search(words, message)]
    raised = setting(found[1])
    assert getattr(raised, case.limit) > case.low
    assert outcome(case, raised, setting_names) == ""


def test_every_limit_has_a_name_in_every_tool() -> None:
    for setting_names, pattern, setting in TOOLS.values():
        for limit in fields(Limits):
            found = re.search(pattern, setting_names.raise_to_advice(limit.name, 7))
            assert found
            assert getattr(setting(found[1]), limit.name)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_request_with_a_shorter_time_limit_is_not_advised_to_raise_the_models_limit(tool: str) -> None:
    with Program.load(CASES["time"].module, limits=Limits(timeout_s=60), setting_names=TOOLS[tool][0]) as program:
        with pytest.raises(GuestTimeout) as caught:
            program.run(ONE, timeout_s=0.005)
        assert "raise" not in str(caught.value)
        assert "limit of 0.005 s and was stopped (the request's own limit, which can be up to 60 s)" in str(
            caught.value
        )


@pytest.mark.parametrize("tool", TOOLS)
def test_trusting_a_module_is_suggested_if_the_tool_supports_it(tool: str) -> None:
    setting_names = TOOLS[tool][0]
    message = outcome(CASES["time of compiling"], CASES["time of compiling"].limits, setting_names)
    assert (" if its author is trusted" in message) == (tool in ("python", "triton", "spec"))
    assert setting_names.trusted in message
