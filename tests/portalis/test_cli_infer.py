"""`portalis infer`: one call from the shell, on a real server and without one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import wasmtime

from portalis.triton_client import load_model
from portalis.tritonserver import TritonServer
from tests import parts
from tests.running.ports import free_port
from tests.running.waiting import PATIENCE_S

from .conftest import Cli, write_model

ECHO = """(module (func (export "echo") (param $x i64) (result i64) (local.get $x)))"""
BF16_CONFIG = """
backend: "wasm" max_batch_size: 0
input { name: "x" data_type: TYPE_BF16 dims: -1 } output { name: "y" data_type: TYPE_BF16 dims: -1 }
"""
TRIANGLE = """(module (func (export "negate") (param $x f32) (result f32) (f32.neg (local.get $x))))"""


@pytest.fixture(scope="module")
def server(shared_triton: TritonServer) -> TritonServer:
    (repository,) = shared_triton.repositories
    write_model(repository, "add")
    write_model(repository, "echo", ECHO)
    write_model(repository, "bf16", TRIANGLE, config=BF16_CONFIG)
    for name in ("add", "echo", "bf16"):
        load_model(shared_triton.grpc_url, name, timeout_s=PATIENCE_S)
    return shared_triton


@pytest.mark.triton
def test_it_prints_name_type_shape_and_values(cli: Cli, server: TritonServer) -> None:
    done = cli("infer", "-m", "add", "--url", server.grpc_url, "-i", "a=[1, 2]", "-i", "b=0.5")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["y  FP32 [1, 2]", "[[1.5, 2.5]]"]
    assert lines[2].startswith("in ")


@pytest.mark.triton
def test_json_has_what_the_protocol_has(cli: Cli, server: TritonServer) -> None:
    done = cli("infer", "-m", "echo", "--url", server.grpc_url, "-i", f"x=[{2**62 + 1}]", "--json")
    answer = json.loads(done.stdout)
    assert answer["outputs"] == [{"name": "y", "datatype": "INT64", "shape": [1, 1], "data": [2**62 + 1]}]
    assert answer["model"] == "echo"
    assert 0 < answer["seconds"] < PATIENCE_S


@pytest.mark.triton
def test_bf16_goes_there_and_back(cli: Cli, server: TritonServer) -> None:
    done = cli("infer", "-m", "bf16", "--url", server.grpc_url, "-i", "x=[1.5, -2]")
    assert "y  BF16 [2]\n[-1.5,  2. ]" in done.stdout, done.stderr


@pytest.mark.triton
def test_outputs_are_saved_as_npy(cli: Cli, server: TritonServer, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    target = tmp_path / "new" / "y.npy"
    done = cli(
        *("infer", "-m", "add", "--url", server.grpc_url),
        *("-i", f"a=@{tmp_path}/a.npy", "-i", "b=1", "-o", f"y=@{target}"),
    )
    assert f"saved to {target}" in done.stdout, done.stderr
    np.testing.assert_array_equal(np.load(target), np.arange(1, 7, dtype=np.float32).reshape(2, 3))


@pytest.mark.triton
@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["-m", "none", "-i", "a=1"], 1, "'none'"),
        (["-m", "add", "-i", "a=1"], 2, "add also needs the input b"),
        (["-m", "add", "-i", "a=1", "-i", "c=1"], 2, "add has no input 'c'\n  Its inputs are:\n  --input a=…  FP32"),
        (["-m", "add", "-i", "a=1", "-i", "a=2"], 2, "given twice"),
        (["-m", "add", "-i", "a=[1, 2]", "-i", "b=[1, 2, 3]"], 1, "do not broadcast"),
        (["-m", "add", "-i", "a=1", "-i", "b=1", "-o", "z=@z.npy"], 2, "there is no output z: add has y"),
        (["-m", "add", "-i", "a=1", "-i", "b=1", "-o", "y=@y.txt"], 2, "saved as .npy"),
        (["-m", "add", "--module", "x.wasm"], 2, "say which model"),
        ([], 2, "say which model"),
    ],
)
def test_mistakes_are_explained(cli: Cli, server: TritonServer, args: list[str], code: int, text: str) -> None:
    done = cli("infer", "--url", server.grpc_url, *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_no_server_says_how_to_start_one(cli: Cli) -> None:
    url = f"127.0.0.1:{free_port()}"
    done = cli("infer", "-m", "add", "-i", "a=1", "--url", url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: no Triton server answers gRPC at {url}\n  Start one with `portalis serve")


def test_a_module_runs_without_a_server(cli: Cli, add_wasm: Path) -> None:
    done = cli("infer", "--module", add_wasm, "-i", "a=[1, 2]", "-i", "b=[10, 20]", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outputs"][0]["data"] == [11, 22]


def test_a_trap_in_a_module_is_an_error_with_its_reason(cli: Cli, tmp_path: Path) -> None:
    module = tmp_path / "trap.wasm"
    module.write_bytes(wasmtime.wat2wasm('(module (func (export "f") (param f32) (result f32) unreachable))'))
    done = cli("infer", "--module", module, "-i", "x0=1")
    assert done.returncode == 1
    assert "unreachable" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_takes_no_request_parameters(cli: Cli, add_wasm: Path) -> None:
    done = cli("infer", "--module", add_wasm, "-i", "a=1", "-i", "b=1", "--parameter", "p=1")
    assert done.returncode == 2
    assert "go to a server" in done.stderr


def test_without_the_client_it_says_what_to_install(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "tritonclient.py").write_text("raise ImportError\n")  # stands before the real one
    done = cli("infer", "-m", "add", PYTHONPATH=f"{tmp_path}:{parts.ROOT}")
    assert done.returncode == 1
    assert "pip install 'portalis[client]'" in done.stderr
