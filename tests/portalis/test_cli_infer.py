"""`portalis infer`: one call from the command line, with a real server and without a server."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import wasmtime

from portalis.cli.progress import compile_note
from portalis.triton_client import load_model
from portalis.tritonserver import TritonServer
from tests import parts
from tests.backend.guests import dlpack, tensor
from tests.running.ports import free_port
from tests.running.waiting import PATIENCE_S, until

from .conftest import Cli, write_model

ECHO = """(module (func (export "echo") (param $x i64) (result i64) (local.get $x)))"""
BF16_CONFIG = """
backend: "wasm" max_batch_size: 0
input { name: "x" data_type: TYPE_BF16 dims: -1 } output { name: "y" data_type: TYPE_BF16 dims: -1 }
"""
TRIANGLE = """(module (func (export "negate") (param $x f32) (result f32) (f32.neg (local.get $x))))"""


COPY = "(memory.copy (local.get $out) (local.get $in) (i32.mul (local.get $nout) (i32.const 40))) (i32.const 0)"
BLOBS = dlpack(COPY, inputs=[tensor("x", "BYTES")], outputs=[tensor("y", "BYTES")])
"""A module that returns its BYTES input."""
ANY_BYTES = bytes(range(256)) + b"\xff\xfe\0"


@pytest.fixture(scope="module")
def server(shared_triton: TritonServer) -> TritonServer:
    (repository,) = shared_triton.repositories
    write_model(repository, "add")
    write_model(repository, "echo", ECHO)
    write_model(repository, "bf16", TRIANGLE, config=BF16_CONFIG)
    write_model(repository, "blobs").write_bytes(BLOBS)
    for name in ("add", "echo", "bf16", "blobs"):
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
def test_json_follows_the_protocol(cli: Cli, server: TritonServer) -> None:
    done = cli("infer", "-m", "echo", "--url", server.grpc_url, "-i", f"x=[{2**62 + 1}]", "--json")
    result = json.loads(done.stdout)
    assert result["outputs"] == [{"name": "y", "datatype": "INT64", "shape": [1, 1], "data": [2**62 + 1]}]
    assert result["model"] == "echo"
    assert 0 < result["seconds"] < PATIENCE_S


@pytest.mark.triton
def test_bf16_is_sent_and_received(cli: Cli, server: TritonServer) -> None:
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
        (
            ["-m", "add", "-i", "a=1", "-i", "c=1"],
            2,
            "add has no input 'c'\n  Inputs of the model:\n  --input a=…  FP32",
        ),
        (["-m", "add", "-i", "a=1", "-i", "a=2"], 2, "given twice"),
        (["-m", "add", "-i", "a=[1, 2]", "-i", "b=[1, 2, 3]"], 1, "do not broadcast"),
        (["-m", "add", "-i", "a=1", "-i", "b=1", "-o", "z=@z.npy"], 2, "unknown output z: add has y"),
        (["-m", "add", "-i", "a=1", "-i", "b=1", "-o", "y=@y.txt"], 2, "saved as .npy"),
        (["-m", "add", "-i", "a=", "-i", "b=1"], 2, "input 'a' is FP32, and '' is not JSON"),
        (["-m", "add", "-i", "a=1", "-i", "b=1", "-o", "y=@y.npy", "-o", "y=@z.npy"], 2, "given twice"),
        (["-m", "blobs", "-i", 'x=["a","b"]', "-o", "y=@y.bin"], 2, "can hold the bytes of only one"),
        (["-m", "blobs", "-i", "x=@nul.bin", "-o", "y=@y.npy"], 2, "--output y=@y.bin saves the bytes unchanged"),
        (["-m", "add", "--module", "x.wasm"], 2, "no model given"),
        ([], 2, "no model given"),
    ],
)
def test_usage_errors_are_explained(
    cli: Cli, server: TritonServer, tmp_path: Path, args: list[str], code: int, text: str
) -> None:
    (tmp_path / "cwd" / "nul.bin").write_bytes(b"a\0")
    done = cli("infer", "--url", server.grpc_url, *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_server_the_error_says_how_to_start_one(cli: Cli) -> None:
    url = f"127.0.0.1:{free_port()}"
    done = cli("infer", "-m", "add", "-i", "a=1", "--url", url)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"error: no Triton server responds to gRPC at {url}\n  Start one with `portalis serve"
    )


def test_a_module_runs_without_a_server(cli: Cli, add_wasm: Path) -> None:
    done = cli("infer", "--module", add_wasm, "-i", "a=[1, 2]", "-i", "b=[10, 20]", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outputs"][0]["data"] == [11, 22]


def test_a_trap_is_reported_with_its_reason(cli: Cli, tmp_path: Path) -> None:
    module = tmp_path / "trap.wasm"
    module.write_bytes(wasmtime.wat2wasm('(module (func (export "f") (param f32) (result f32) unreachable))'))
    done = cli("infer", "--module", module, "-i", "x0=1")
    assert done.returncode == 1
    assert "unreachable" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("limit", "more"), [("timeout_s=0.005", "timeout_s=60"), ("max_tensor_bytes=3", "max_tensor_bytes=4")]
)
def test_a_module_that_exceeds_a_limit_runs_with_the_higher_limit_that_the_error_suggests(
    cli: Cli, tmp_path: Path, limit: str, more: str
) -> None:
    module = tmp_path / "busy.wasm"
    condition = "(local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300000000)"
    module.write_bytes(
        wasmtime.wat2wasm(
            f"""(module (func (export "f") (param f32) (result f32) (local $i i32)
            (loop $l (br_if $l (i32.lt_u {condition}))) (local.get 0)))"""
        )
    )
    run = ("infer", "--module", module, "-i", "x0=1", "--json")
    done = cli(*run, "--limit", limit)
    assert done.returncode == 1
    assert f"raise --limit {limit.partition('=')[0]}" in done.stdout
    assert cli(*run, "--limit", limit, "--limit", more).returncode == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--limit", "time=3"], "--limit time: unknown limit"),
        (["--limit", "timeout_s=x"], "--limit timeout_s=x: expected seconds"),
        (["--limit", "max_memory_bytes=1.5"], "--limit max_memory_bytes=1.5: expected a whole number"),
        (["--limit", "timeout_s=-1"], "--limit: timeout_s must be greater than 0"),
        (["--limit", "max_module_bytes=10"], "raise --limit max_module_bytes"),
    ],
)
def test_an_invalid_limit_is_explained(cli: Cli, add_wasm: Path, args: list[str], message: str) -> None:
    done = cli("infer", "--module", add_wasm, "-i", "a=1", "-i", "b=1", *args)
    assert done.returncode == (1 if "module_bytes" in message else 2)
    assert message in done.stderr


def test_limits_require_a_local_module(cli: Cli) -> None:
    done = cli("infer", "-m", "add", "-i", "a=1", "--limit", "timeout_s=3")
    assert done.returncode == 2
    assert "--limit requires --module" in done.stderr


def test_request_parameters_require_a_server(cli: Cli, add_wasm: Path) -> None:
    done = cli("infer", "--module", add_wasm, "-i", "a=1", "-i", "b=1", "--parameter", "p=1")
    assert done.returncode == 2
    assert "require a server" in done.stderr


def test_without_the_client_library_the_error_says_what_to_install(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "tritonclient.py").write_text("raise ImportError\n")  # shadows the real module
    done = cli("infer", "-m", "add", PYTHONPATH=f"{tmp_path}:{parts.ROOT}")
    assert done.returncode == 1
    assert "pip install 'portalis[client]'" in done.stderr


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    (tmp_path / "blobs.wasm").write_bytes(BLOBS)
    return tmp_path / "blobs.wasm"


@pytest.mark.triton
def test_arbitrary_bytes_round_trip_through_files_and_json(cli: Cli, server: TritonServer, tmp_path: Path) -> None:
    (tmp_path / "in.bin").write_bytes(ANY_BYTES)
    command = ("infer", "-m", "blobs", "--url", server.grpc_url)
    done = cli(*command, "-i", f"x=@{tmp_path}/in.bin", "-o", f"y=@{tmp_path}/out.png")
    assert f"y  BYTES [1]  saved to {tmp_path}/out.png" in done.stdout, done.stderr
    assert (tmp_path / "out.png").read_bytes() == ANY_BYTES
    done = cli(*command, "-i", f"x=@{tmp_path}/in.bin", "--json")
    (output,) = json.loads(done.stdout)["outputs"]
    assert output["parameters"] == {"content_encoding": "base64"}
    assert base64.b64decode(output["data"][0]) == ANY_BYTES
    (tmp_path / "again.json").write_text(done.stdout)
    again = cli(*command, "-i", f"x=@{tmp_path}/again.json", "--json")
    assert json.loads(again.stdout)["outputs"] == [output]


@pytest.mark.triton
def test_json_prints_nonfinite_values_as_triton_sends_them(cli: Cli, server: TritonServer) -> None:
    done = cli(
        "infer", "-m", "add", "--url", server.grpc_url, "-i", "a=[NaN, Infinity, -Infinity, 0.1]", "-i", "b=0", "--json"
    )
    tensor = {"name": "a", "datatype": "FP32", "shape": [1, 4]}
    sent = b'{"inputs":[%b,%b]}' % (
        json.dumps({**tensor, "data": [float("nan"), float("inf"), float("-inf"), 0.1]}).encode(),
        json.dumps({**tensor, "name": "b", "data": [0, 0, 0, 0]}).encode(),
    )
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/add/infer", sent, timeout=PATIENCE_S) as response:
        text = response.read().decode()
    assert "[NaN,Infinity,-Infinity,0.1" in text
    assert "[NaN, Infinity, -Infinity, 0.1]" in done.stdout
    again = cli("infer", "-m", "add", "--url", server.grpc_url, "-i", f"a={done.stdout}", "-i", "b=0", "--json")
    assert "[NaN, Infinity, -Infinity, 0.1]" in again.stdout


def test_a_module_returns_bytes_unchanged(cli: Cli, blobs: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(ANY_BYTES)
    done = cli("infer", "--module", blobs, "-i", f"x=@{tmp_path}/in", "-o", f"y=@{tmp_path}/out")
    assert done.returncode == 0 and (tmp_path / "out").read_bytes() == ANY_BYTES, done.stderr
    done = cli("infer", "--module", blobs, "-i", 'x=["a\\u0000", "é", ""]', "--json")
    assert json.loads(done.stdout)["outputs"][0]["data"] == ["a\0", "é", ""]
    (tmp_path / "in").write_bytes(b"\xff\xfe\0")
    done = cli("infer", "--module", blobs, "-i", f"x=@{tmp_path}/in")
    assert 'y  BYTES [1]\n[b"\\xff\\xfe\\x00"]\n' in done.stdout


def test_an_empty_value_is_an_empty_element(cli: Cli, blobs: Path) -> None:
    done = cli("infer", "--module", blobs, "-i", "x=", "--json")
    assert json.loads(done.stdout)["outputs"][0]["data"] == [""], done.stderr


def test_several_elements_cannot_be_saved_to_one_file(cli: Cli, blobs: Path, tmp_path: Path) -> None:
    done = cli("infer", "--module", blobs, "-i", 'x=["a", "b"]', "-o", f"y=@{tmp_path}/y.bin")
    assert done.returncode == 2 and "y has 2 elements" in done.stderr.replace("'", "") and "--json" in done.stderr
    assert not (tmp_path / "y.bin").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-i", "nosuch=1"], "has no input 'nosuch'\n  Inputs of the model:\n  --input x=…  BYTES [-1]"),
        ([], "also needs the input x"),
        (["-i", "x"], "expected NAME=VALUE"),
        (["-i", "x=@nosuch.bin"], "the file nosuch.bin does not exist"),
        (["-i", "x=[null]"], "element 0 is null, not text"),
        (["-i", "x=a", "-o", "z=@z.npy"], "unknown output z"),
        (["-i", "x=a", "-o", "y"], "expected NAME=VALUE"),
        (["-i", "x=a", "--timeout", "0"], "--timeout"),
    ],
)
def test_arguments_are_checked_before_the_module_is_compiled(
    cli: Cli, blobs: Path, tmp_path: Path, args: list[str], message: str
) -> None:
    cache = tmp_path / "cache"
    done = cli("infer", "--module", blobs, *args, PORTALIS_CACHE_DIR=str(cache))
    assert done.returncode == 2 and message in done.stderr
    assert not list(cache.rglob("*")), "nothing was compiled"


def test_a_compiled_module_is_in_the_cache(cli: Cli, blobs: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert cli("infer", "--module", blobs, "-i", "x=a", PORTALIS_CACHE_DIR=str(cache)).returncode == 0
    assert list(cache.rglob("*")), "the previous test relies on this"


def test_the_compile_note_is_printed_only_on_a_terminal(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    module = tmp_path / "big\x1b.wasm"
    module.write_bytes(bytes(2_000_000))
    terminal, pipe = Terminal(), io.StringIO()
    with compile_note(module, after_s=0, stream=terminal), compile_note(module, after_s=0, stream=pipe):
        until(lambda: terminal.getvalue().endswith("\n"))
    assert "\\x1b.wasm (2.0 MB); the compiled module is cached" in terminal.getvalue() and pipe.getvalue() == ""
    with compile_note(module, after_s=PATIENCE_S, stream=terminal):
        terminal.truncate(0)
    assert terminal.getvalue() == ""
