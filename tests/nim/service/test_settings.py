"""The settings of the service: ``service.json``, and the ports that the environment overrides."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from portalis.nim.service.ports import VARIABLES, all_ports
from portalis.nim.service.settings import InvalidSettings, read_settings
from tests.parts import ROOT
from tests.running.ports import free_port
from tests.running.waiting import PATIENCE_S

from .process import running, write_modules

ADD_ONE = '(module (func (export "add") (param $x f32) (result f32) (f32.add (local.get $x) (f32.const 1))))'


@pytest.mark.parametrize("setting", VARIABLES)
@pytest.mark.service
def test_a_port_in_use_ends_the_service_with_1_and_names_port_and_variable(tmp_path: Path, setting: str) -> None:
    variable = VARIABLES[setting][0]
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = str(other.getsockname()[1])
        with running(tmp_path, write_modules(tmp_path, add=ADD_ONE), environment={variable: port}) as service:
            assert service.end() == 1
    assert service.log == [
        f"cannot listen on 0.0.0.0:{port} ({variable}): Address already in use; choose another port with {variable}"
    ]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"NIM_HTTP_API_PORT": "0"}, "NIM_HTTP_API_PORT must be a port from 1 to 65535, not '0'"),
        ({"NIM_GRPC_API_PORT": "70000"}, "NIM_GRPC_API_PORT must be a port from 1 to 65535, not '70000'"),
        ({"METRICS_PORT": "http"}, "METRICS_PORT must be a port from 1 to 65535, not 'http'"),
        (
            {"NIM_SERVER_PORT": "9000", "NIM_GRPC_API_PORT": "9000"},
            "NIM_SERVER_PORT and NIM_GRPC_API_PORT are both 9000; they must differ: set NIM_HTTP_API_PORT or NIM_GRPC_API_PORT",
        ),
        (
            {"METRICS_PORT": "8001"},
            "grpc_port and METRICS_PORT are both 8001; they must differ: set NIM_GRPC_API_PORT or METRICS_PORT",
        ),
    ],
)
def test_invalid_and_equal_ports_are_rejected_with_the_names_of_the_variables(
    tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    file = tmp_path / "service.json"
    file.write_text('{"models": [{"name": "a", "file": "a.wasm"}]}')
    with pytest.raises(InvalidSettings) as caught:
        read_settings(file, environment)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["0", "65", "-1", "two", "9" * 5000])
def test_the_number_of_processes_in_the_environment_is_checked(tmp_path: Path, text: str) -> None:
    file = tmp_path / "service.json"
    file.write_text('{"models": [{"name": "a", "file": "a.wasm"}], "worker_processes": 3}')
    assert read_settings(file, {}).worker_processes == 3
    assert read_settings(file, {"NIM_WORKER_PROCESSES": " 64 "}).worker_processes == 64
    with pytest.raises(InvalidSettings, match="NIM_WORKER_PROCESSES must be a number from 1 to 64, not"):
        read_settings(file, {"NIM_WORKER_PROCESSES": text})


def test_the_first_variable_that_is_set_is_used() -> None:
    defaults = {"service_port": 1, "grpc_port": 2, "metrics_port": 3}
    assert all_ports(defaults, {}) == defaults
    ports = all_ports(defaults, {"NIM_HTTP_API_PORT": " 10 ", "NIM_SERVER_PORT": "11", "SERVICE_PORT": "12"})
    assert ports["service_port"] == 10
    assert all_ports(defaults, {"NIM_SERVER_PORT": "11", "SERVICE_PORT": "12"})["service_port"] == 11
    assert all_ports(defaults, {"NIM_HTTP_API_PORT": "", "GRPC_PORT": "13"}) == {**defaults, "grpc_port": 13}


@pytest.mark.service
def test_the_service_listens_on_the_ports_of_the_environment(tmp_path: Path) -> None:
    http, grpc, metrics = free_port(), free_port(), free_port()
    environment = {"NIM_HTTP_API_PORT": str(http), "NIM_GRPC_API_PORT": str(grpc), "METRICS_PORT": str(metrics)}
    with running(tmp_path, write_modules(tmp_path, add=ADD_ONE), environment=environment) as service:
        service.wait_for_line("is ready after")
        assert service.client.get("/health", port=http)[0] == 200
        assert service.client.get("/metrics", port=metrics)[0] == 200
        socket.create_connection(("127.0.0.1", grpc), timeout=PATIENCE_S).close()


def test_the_environment_sets_which_models_clients_control(tmp_path: Path) -> None:
    file = tmp_path / "service.json"
    models = [{"name": name, "file": "a.wasm"} for name in "abc"]
    file.write_text(json.dumps({"models": models, "model_control": "explicit", "load_models": ["a"]}))
    assert read_settings(file, {}).initial_models() == ["a"]
    assert read_settings(file, {"NIM_LOAD_MODELS": " c, b,"}).initial_models() == ["b", "c"]
    assert read_settings(file, {"NIM_LOAD_MODELS": "*"}).initial_models() == ["a", "b", "c"]
    file.write_text(json.dumps({"models": models}))
    assert read_settings(file, {}).initial_models() == ["a", "b", "c"]
    assert read_settings(file, {"NIM_MODEL_CONTROL": "explicit"}).initial_models() == []
    for environment, message in (
        ({"NIM_MODEL_CONTROL": "poll"}, "model_control: Input should be 'none' or 'explicit'"),
        ({"NIM_LOAD_MODELS": "a"}, "load_models requires model_control: explicit"),
        ({"NIM_MODEL_CONTROL": "explicit", "NIM_LOAD_MODELS": "a,../x"}, "load_models: unknown models: '../x'"),
    ):
        with pytest.raises(InvalidSettings) as caught:
            read_settings(file, environment)
        assert str(caught.value) == f"NIM_MODEL_CONTROL, NIM_LOAD_MODELS: {message}"


@pytest.mark.parametrize(("name", "message"), [("none.json", "cannot read"), (".", "Is a directory")])
def test_unreadable_settings_are_an_error(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InvalidSettings, match=message):
        read_settings(tmp_path / name, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drain_s": -1}, "drain_s: Input should be greater than or equal to 0"),
        ({"license": {"spdx": "MIT"}}, "license.spdx: Extra inputs are not permitted"),
        ({"max_queued_requests": 0}, "max_queued_requests: Input should be greater than or equal to 1"),
    ],
)
def test_invalid_settings_are_reported_by_key(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = tmp_path / "service.json"
    file.write_text(json.dumps({"models": [{"name": "a", "file": "a.wasm"}], **changes}))
    with pytest.raises(InvalidSettings) as caught:
        read_settings(file, {})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"),
        ('{"models": []}', "models: Tuple should have at least 1 item"),
        ('{"models": [{"name": "a/b", "file": "../x.wasm"}], "port": 1}', "models[0].file"),
        ('{"models": [{"name": "a", "file": "a"}, {"name": "a", "file": "b"}]}', "models: duplicate names: a"),
    ],
)
def test_invalid_settings_end_the_service_with_2_and_the_reason(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "service.json"
    file.write_text(text)
    command = [sys.executable, "-m", "portalis.nim.service", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
