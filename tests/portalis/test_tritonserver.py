"""The real tritonserver: found, started, watched and stopped."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from portalis.errors import MissingPart, TritonFailed, UsageError
from portalis.tritonserver import Ports, TritonServer, create_backend_directory, find_tritonserver, python_runtime
from portalis.tritonserver.backend_layout import find_libpython
from portalis.tritonserver.install import STUB_NAME
from portalis.tritonserver.server_log import startup_errors
from tests import parts
from tests.backend.triton.models import parameters
from tests.running import waiting
from tests.running.ports import free_ports

pytestmark = pytest.mark.triton


@pytest.fixture(autouse=True)
def _real_server() -> None:
    parts.tritonserver()


PYTHON = 'backend: "wasm"\n' + parameters({"wasm.engine": "python"})


@pytest.fixture(params=["native", "python"])
def engine(request: pytest.FixtureRequest, repository: Path) -> str:
    """The engine of the model: a thread of the server with a planner process, or a stub."""
    name: str = request.param
    (repository / "add" / "config.pbtxt").write_text('backend: "wasm"\n' + parameters({"wasm.engine": name}))
    return name


def session_of(pid: int) -> list[str]:
    """The command lines of all processes in the session that `pid` leads. (A dead one whose new parent, the init of
    a container, does not collect it is not a process any more.)"""
    listed = subprocess.run(["ps", "-o", "stat=,args=", "-s", str(pid)], capture_output=True, text=True, check=False)
    return [line for line in listed.stdout.splitlines() if not line.startswith("Z")]


def wait_until_it_ends(pid: int) -> None:
    waiting.until(lambda: not session_of(pid), lambda: session_of(pid))


def add(server: TritonServer) -> float:
    import tritonclient.grpc as grpc_client

    with grpc_client.InferenceServerClient(server.grpc_url) as client:
        tensors = []
        for name in ("a", "b"):
            tensor = grpc_client.InferInput(name, [1, 1], "FP32")
            tensor.set_data_from_numpy(np.full((1, 1), 1.5, np.float32))
            tensors.append(tensor)
        return float(client.infer("add", tensors).as_numpy("y")[0, 0])


def test_a_server_answers_grpc_http_and_metrics_on_loopback_and_leaves_nothing_behind(
    repository: Path, wasm_backends: Path, engine: str
) -> None:
    with TritonServer(repository, backend_directory=wasm_backends, stop_timeout_s=waiting.PATIENCE_S) as server:
        assert add(server) == 3.0
        with urllib.request.urlopen(f"http://{server.http_url}/v2/health/ready") as answer:
            assert answer.status == 200
        with urllib.request.urlopen(server.metrics_url) as answer:
            assert "nv_inference_count" in answer.read().decode()
        assert {server.grpc_url, server.http_url} == {
            f"127.0.0.1:{server.ports.grpc}",
            f"127.0.0.1:{server.ports.http}",
        }
        pid, regions = server.pid, server.shared_memory()
        assert len(regions) == (engine == "python")
        assert any((STUB_NAME if engine == "python" else "plan.py") in line for line in session_of(pid))
    wait_until_it_ends(pid)
    assert not any(region.exists() for region in regions)
    assert "successfully unloaded 'add'" in server.log()
    assert not server.running()


def test_the_stub_runs_this_interpreters_python_with_its_packages(repository: Path, tmp_path: Path) -> None:
    backends = create_backend_directory(tmp_path / "backends")
    output = tmp_path / "output"
    (backends / "wasm" / "model.py").write_text(
        textwrap.dedent(f"""
        import sys, wasmtime
        from pathlib import Path
        Path({str(output)!r}).write_text("\\n".join([sys.prefix, sys.version, wasmtime.__file__]))
        from portalis_backend.triton.model import TritonPythonModel
        """)
    )
    import wasmtime

    (repository / "add" / "config.pbtxt").write_text(PYTHON)
    with TritonServer(repository, backend_directory=backends):
        assert output.read_text().split("\n") == [sys.prefix, *sys.version.split("\n"), wasmtime.__file__]


def test_a_model_that_fails_to_load_stops_the_start_with_the_lines_that_say_why(
    repository: Path, wasm_backends: Path
) -> None:
    (repository / "add" / "1" / "model.wasm").write_bytes(b"")
    with pytest.raises(TritonFailed, match=r"(?s)failed to load 'add'.*model.wasm is empty") as caught:
        TritonServer(repository, backend_directory=wasm_backends).start()
    assert "At:\n" not in str(caught.value)


def test_with_require_all_off_the_other_models_are_served(repository: Path, wasm_backends: Path) -> None:
    broken = repository / "broken"
    (broken / "1").mkdir(parents=True)
    (broken / "config.pbtxt").write_text('backend: "wasm"\n')
    (broken / "1" / "model.wasm").write_bytes(b"\0asm")
    with TritonServer(repository, backend_directory=wasm_backends, require_all=False) as server:
        assert add(server) == 3.0
        assert "failed to load 'broken'" in server.log()


def test_a_server_that_is_killed_leaves_no_process_and_no_shared_memory(
    repository: Path, wasm_backends: Path, engine: str
) -> None:
    server = TritonServer(repository, backend_directory=wasm_backends).start()
    pid, regions = server.pid, server.shared_memory()
    os.kill(pid, signal.SIGKILL)
    assert server.wait(waiting.PATIENCE_S) == -signal.SIGKILL
    server.stop()
    assert len(regions) == (engine == "python")
    assert not any(region.exists() for region in regions)
    wait_until_it_ends(pid)


def test_a_server_that_does_not_end_is_killed_after_the_deadline(repository: Path, wasm_backends: Path) -> None:
    server = TritonServer(repository, backend_directory=wasm_backends, stop_timeout_s=1.0).start()
    pid = server.pid
    os.kill(pid, signal.SIGSTOP)  # cannot react to SIGTERM
    began = time.monotonic()
    server.stop()
    assert 1.0 <= time.monotonic() - began < waiting.PATIENCE_S
    wait_until_it_ends(pid)
    assert server.shared_memory() == []


def test_the_server_ends_when_the_process_that_started_it_is_killed(
    repository: Path, wasm_backends: Path, tmp_path: Path, engine: str
) -> None:
    program = textwrap.dedent(f"""
        import time
        from portalis.tritonserver import TritonServer
        server = TritonServer({str(repository)!r}, backend_directory={str(wasm_backends)!r}).start()
        print(server.pid, flush=True)
        time.sleep(600)
        """)
    # no process is left that removes the server's temporary directory
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
    wait_until_it_ends(pid)


@pytest.mark.parametrize("used", ["grpc", "http", "metrics"])
def test_a_port_in_use_is_named_in_the_error(repository: Path, wasm_backends: Path, used: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        free = free_ports()
        ports = Ports(**({"grpc": free.grpc, "http": free.http, "metrics": free.metrics} | {used: port}))
        with pytest.raises(TritonFailed, match=f"{port}.* already in use"):
            TritonServer(repository, backend_directory=wasm_backends, ports=ports).start()


@pytest.mark.parametrize(
    "why", ["what():  boost::interprocess::lock_exception", "Socket '127.0.0.1:8000' already in use"]
)
def test_a_start_that_ended_for_no_lasting_reason_is_tried_again(
    repository: Path, wasm_backends: Path, tmp_path: Path, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    install, seen = find_tritonserver(), tmp_path / "seen"
    binary = tmp_path / "tritonserver"
    script = f"""#!/bin/sh
        [ -e {seen} ] && exec {install.binary} "$@"
        echo "$@" >{seen}
        echo "{why}" >&2
        kill -ABRT $$"""
    binary.write_text(textwrap.dedent(script))
    binary.chmod(0o755)
    first = dataclasses.replace(install, binary=binary)
    with TritonServer(repository, backend_directory=wasm_backends, install=first, foreground=True) as server:
        assert add(server) == 3.0
        assert f"--http-port={server.ports.http}" not in seen.read_text()
    assert capfd.readouterr().err.count("portalis: tritonserver ended while it started; starting it again\n") == 1


def test_an_address_of_another_machine_is_named_in_the_error(repository: Path, wasm_backends: Path) -> None:
    with pytest.raises(TritonFailed, match=r"cannot listen on 192\.0\.2\.1: Cannot assign requested address"):
        TritonServer(repository, backend_directory=wasm_backends, host="192.0.2.1").start()


def test_an_argument_that_tritonserver_does_not_know_is_named(repository: Path, wasm_backends: Path) -> None:
    with pytest.raises(TritonFailed, match="unrecognized option '--no-such-thing'"):
        TritonServer(repository, backend_directory=wasm_backends, extra_args=["--no-such-thing"]).start()


def test_explicit_model_control_starts_without_models(repository: Path, wasm_backends: Path) -> None:
    with TritonServer(repository, backend_directory=wasm_backends, model_control="explicit") as server:
        with pytest.raises(Exception, match="not found"):
            add(server)
        load = f"http://{server.http_url}/v2/repository/models/add/load"
        with urllib.request.urlopen(urllib.request.Request(load, data=b"{}", method="POST")) as answer:
            assert answer.status == 200
        assert add(server) == 3.0


def test_no_shell_reads_the_names_of_models_that_come_later(
    repository: Path, wasm_backends: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    import tritonclient.grpc as grpc_client

    ran = tmp_path / "ran"
    ran.mkdir()
    monkeypatch.chdir(ran)  # the server runs here, and what a folder's name runs
    (repository / "add" / "config.pbtxt").write_text(PYTHON)  # what is run natively is not started through a shell
    named = {"a$(touch${IFS}PWN1)b": "", "c;touch${IFS}PWN2;": "", "grouped": "$(touch${IFS}PWN3)"}
    for name, group in named.items():
        shutil.copytree(repository / "add", repository / name)
        if group:
            with (repository / name / "config.pbtxt").open("a") as config:
                config.write(f'instance_group [{{ name: "{group}" kind: KIND_CPU }}]')
    python = {"wasm.engine": {"string_value": "python"}}
    sent = {
        "backend": "wasm",
        "parameters": python,
        "instance_group": [{"name": "`touch${IFS}PWN4`", "kind": "KIND_CPU"}],
    }
    with TritonServer(repository, backend_directory=wasm_backends, model_control="explicit") as server:
        with grpc_client.InferenceServerClient(server.grpc_url) as client:
            for name in named:
                client.load_model(name)
                assert client.is_model_ready(name)
            client.load_model("add", config=json.dumps(sent))
        assert add(server) == 3.0
    assert list(ran.iterdir()) == []


@pytest.mark.parametrize("folder", ["a b", "$(touch PWN)", "x;y"])
def test_a_path_that_a_shell_would_read_is_refused(
    repository: Path, tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = repository.rename(tmp_path / folder)
    with pytest.raises(UsageError, match="Triton passes the name unquoted to a shell") as caught:
        TritonServer(moved).start()
    assert "ln -s" in (caught.value.remediation or "")
    monkeypatch.setattr("tempfile.tempdir", str(moved))
    with pytest.raises(UsageError, match="Triton passes the name unquoted to a shell"):
        TritonServer(tmp_path).start()


def test_the_bash_of_the_server_is_bash_for_everything_else(tmp_path: Path) -> None:
    from portalis.tritonserver.shell import shell_folder

    folder = shell_folder(tmp_path)
    assert folder is not None
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}

    def bash(*args: str) -> str:
        done = subprocess.run(["bash", *args], env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    assert bash("-c", "echo $(echo a) $0 $1", "b", "c") == "a b c\n"
    activate = tmp_path / "activate"
    activate.write_text("declare -a list=(one two); export ENVIRONMENT=${list[1]}\n")
    stub = tmp_path / STUB_NAME
    stub.write_text('#!/bin/sh\necho "$ENVIRONMENT $LD_LIBRARY_PATH $@"\n')
    stub.chmod(0o755)
    environment["LD_LIBRARY_PATH"] = "/before"
    command = f"source {activate} && exec env LD_LIBRARY_PATH=/its:$LD_LIBRARY_PATH {stub} a$(b)* c"
    assert bash("-c", command) == "two /its:/before a$(b)* c\n"


def test_the_log_goes_where_it_is_wanted(repository: Path, wasm_backends: Path, tmp_path: Path) -> None:
    with TritonServer(repository, backend_directory=wasm_backends, log_path=tmp_path / "triton.log") as server:
        assert "Started GRPCInferenceService" in server.log()
    assert (tmp_path / "triton.log").read_text() == server.log()


def test_a_started_server_cannot_be_started_again(repository: Path, wasm_backends: Path) -> None:
    with (
        TritonServer(repository, backend_directory=wasm_backends) as server,
        pytest.raises(TritonFailed, match="started before"),
    ):
        server.start()


def test_a_stopped_server_may_be_stopped_again(repository: Path) -> None:
    server = TritonServer(repository)
    server.stop()
    server.stop()
    with pytest.raises(TritonFailed, match="not started"):
        _ = server.pid


def test_no_server_on_path_and_no_wheel_says_how_to_get_one(tmp_path: Path) -> None:
    # an interpreter without site-packages is a machine without the wheel
    program = "from portalis.tritonserver import find_tritonserver; find_tritonserver()"
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(parts.ROOT)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert "MissingPart: tritonserver is not on PATH and nvidia-pytriton is not installed" in done.stderr
    assert "pip install 'portalis[triton]'" in done.stderr


def test_a_server_on_path_comes_before_the_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = find_tritonserver()
    backends = create_backend_directory(tmp_path / "opt" / "backends", install=wheel)
    binary = tmp_path / "opt" / "bin" / "tritonserver"
    binary.parent.mkdir()
    binary.symlink_to(wheel.binary)
    monkeypatch.setenv("PATH", str(binary.parent))
    with pytest.raises(MissingPart, match="has no Python backend"):
        find_tritonserver()  # links are followed: the real binary's neighbours count
    binary.unlink()
    binary.write_bytes(b"#!/bin/sh\n")
    binary.chmod(0o755)
    found = find_tritonserver()
    assert (found.binary, found.source) == (binary, "path")
    assert found.stub == backends / "python" / STUB_NAME
    assert found.stub_python == wheel.stub_python


def test_every_stub_of_the_wheel_tells_its_python_version() -> None:
    stubs = find_tritonserver().stub.parent.parent
    for folder in sorted(stubs.iterdir()):
        assert dataclasses.replace(find_tritonserver(), stub=folder / STUB_NAME).stub_python == folder.name


def test_a_missing_libpython_is_named_with_the_package_that_has_it(tmp_path: Path) -> None:
    install = find_tritonserver()
    stub = install.stub.parent.parent / "3.8" / STUB_NAME  # a Python that no supported machine has
    old = dataclasses.replace(install, stub=stub)
    with pytest.raises(MissingPart, match=r"stub needs libpython3\.8\.so\.1\.0.*(?s:.*)apt-get install libpython3\.8"):
        find_libpython(old)


def test_the_environment_puts_this_python_first_and_keeps_the_users_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    environment = python_runtime(find_tritonserver(), tmp_path)
    assert environment["LD_LIBRARY_PATH"].endswith(":/mine")
    assert environment["PATH"].split(":")[0] == str(Path(sys.prefix) / "bin")


def test_a_log_without_error_lines_shows_its_end() -> None:
    assert startup_errors("one\ntwo\n") == ":\n  one\n  two"
    assert startup_errors("") == " (its log is empty)"
