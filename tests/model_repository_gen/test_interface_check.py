"""A module's interface under a configuration, and settings that a server would change or reject."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portalis.interface_check import INTERFACE_KEYS, config_problem, interface_with_parameters
from tests.model_repository_gen import jobs


@pytest.fixture
def module(tmp_path: Path) -> Any:
    def write(name: str) -> Path:
        path = tmp_path / f"{name}.wasm"
        path.write_bytes(jobs.MODULES[name])
        return path

    return write


def parameter(key: str, text: str) -> dict[str, Any]:
    return {"parameters": {key: {"string_value": text}}}


X = {"name": "x", "data_type": "TYPE_FP32", "dims": ["-1"]}
Y = {**X, "name": "y"}


def test_parameters_override_declarations(module: Any) -> None:
    path = module("two")
    interface, why = interface_with_parameters(path, {"entry": "twice"}, {"wasm.entry": "square", "other": "x"})
    assert interface is not None and interface.entry == "square" and why is None
    interface, why = interface_with_parameters(path, {"entry": "twice"}, {})
    assert interface is not None and interface.entry == "twice"


def test_the_reason_for_a_missing_interface_is_reported(module: Any, tmp_path: Path) -> None:
    path = module("two")
    interface, why = interface_with_parameters(path, {}, {"wasm.entry": "cube"})
    assert interface is None and why is not None and why.startswith(f"{path} exports no function 'cube'")
    assert interface_with_parameters(path, {}, {"wasm.entry": ""}) == (None, "parameter wasm.entry is '': it is empty")


def test_the_keys_are_those_of_the_backend_that_describe_a_module() -> None:
    from portalis.backend.triton.model_parameters import KEYS

    described = {"wasm.entry", "wasm.convention", "wasm.signature", "wasm.args", "wasm.returns"}
    assert set(INTERFACE_KEYS) == described < set(KEYS)


def test_a_matching_configuration_has_no_problem(module: Any) -> None:
    assert config_problem(module("echo"), {"input": [X], "output": [Y], "max_batch_size": 8}) is None
    assert config_problem(module("unbatched"), {"input": [X], "output": [Y]}) is None
    assert config_problem(module("add"), {}) is None  # it has no leading dimensions
    assert config_problem(module("two"), parameter("wasm.entry", "square")) is None


def test_a_configuration_that_the_backend_would_reject_is_a_problem(module: Any) -> None:
    reported = config_problem(module("echo"), {"input": [{**X, "name": "z"}], "output": [Y], "max_batch_size": 8})
    assert reported == (
        "echo.wasm: config.pbtxt does not match the module: the module has no input 'z' (x);"
        " input 'x' of the module is missing in config.pbtxt"
    )
    assert "parameter wasm.x is unknown" in (config_problem(module("echo"), parameter("wasm.x", "1")) or "")


def test_a_batch_size_that_the_server_would_change_is_a_problem(module: Any) -> None:
    config = {"input": [X], "output": [Y]}
    reported = "max_batch_size is 0, and the module's tensors have a batch dimension: set 1 to 8"
    assert config_problem(module("echo"), config) == reported
    assert config_problem(module("echo"), {**config, "max_batch_size": 0}) == reported
    assert config_problem(module("echo"), {**config, "max_batch_size": 1}) is None
