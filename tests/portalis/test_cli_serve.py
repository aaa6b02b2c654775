"""`portalis serve`: a real Triton server in the foreground."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from portalis.tritonserver import Ports
from tests import parts
from tests.running import waiting
from tests.running.ports import free_ports

from .conftest import Cli, write_model


class Foreground:
    """A running `portalis serve`, with its output."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.output += line.decode()

    def wait_for(self, text: str) -> None:
        def is_written() -> bool:
            written = text in self.output
            assert written or self.process.poll() is None, self.output
            return written

        waiting.until(is_written, lambda: self.output)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(waiting.PATIENCE_S)
        self.join()
        return code

    def join(self) -> None:
        """Wait until the entire output has been read."""
        self._reader.join(waiting.PATIENCE_S)


@contextlib.contextmanager
def serving(repository: Path, ports: Ports, *args: str) -> Iterator[Foreground]:
    parts.tritonserver()
    command = [
        *(sys.executable, "-m", "portalis", "serve", str(repository)),
        *(f"--grpc-port={ports.grpc}", f"--http-port={ports.http}", f"--metrics-port={ports.metrics}", *args),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            yield Foreground(process)
        finally:
            if process.poll() is None:
                process.terminate()


def leftovers(pid: int) -> list[Path]:
    return list(Path("/dev/shm").glob(f"portalis_{pid}_*"))


@pytest.mark.triton
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_it_serves_until_a_signal_and_exits_with_zero(cli: Cli, repository: Path, number: int) -> None:
    ports = free_ports()
    with serving(repository, ports) as foreground:
        foreground.wait_for("ready; Ctrl-C stops")
        assert "portalis: model add version 1 ready" in foreground.output
        assert f"gRPC 127.0.0.1:{ports.grpc}" in foreground.output
        done = cli("infer", "-m", "add", "-i", "a=[1, 2]", "-i", "b=3", "--url", f"127.0.0.1:{ports.grpc}")
        assert "[[4., 5.]]" in done.stdout, done.stderr
        assert foreground.end(number) == 0
        assert "portalis: stopping" in foreground.output
        assert "Traceback" not in foreground.output
        assert leftovers(foreground.process.pid) == []
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", ports.http)):
        pass


@pytest.mark.triton
def test_a_signal_while_models_load_stops_the_server(repository: Path) -> None:
    with serving(repository, free_ports()) as foreground:
        foreground.wait_for("metrics.cc")  # the server has started, but no model is ready
        assert foreground.end(signal.SIGTERM) == 0
        assert leftovers(foreground.process.pid) == []


@pytest.mark.triton
def test_additional_arguments_are_passed_to_tritonserver(repository: Path) -> None:
    ports = free_ports()
    args = ("--quiet", "--", "--model-control-mode=explicit", "--load-model=add", "--log-verbose=0")
    write_model(repository, "other")
    with serving(repository, ports, *args) as foreground:
        foreground.wait_for("ready; Ctrl-C stops")
        assert "model add version 1 ready" in foreground.output
        assert "model other not loaded" in foreground.output
        assert "Started GRPCInferenceService" not in foreground.output  # --quiet
        assert foreground.end(signal.SIGINT) == 0


@pytest.mark.triton
def test_two_ctrl_c_in_a_terminal_stop_the_server_once(repository: Path) -> None:
    """A terminal sends SIGINT to the entire foreground group; a user can press Ctrl-C twice."""
    parts.tritonserver()
    ports = free_ports()
    controller, terminal = pty.openpty()
    args = ["serve", str(repository), f"--grpc-port={ports.grpc}", "--http-port=0", "--metrics-port=0"]
    command = ["setsid", "--ctty", sys.executable, "-m", "portalis", *args]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    output = b""
    with contextlib.suppress(OSError):
        while b"ready; Ctrl-C" not in output:
            output += os.read(controller, 65536)
        os.write(controller, b"\x03")
        while b"portalis: stopping" not in output:
            output += os.read(controller, 65536)
        os.write(controller, b"\x03")
        while True:
            output += os.read(controller, 65536)
    assert process.wait(waiting.PATIENCE_S) == 0, output.decode()
    os.close(controller)
    assert output.count(b"portalis: stopping") == 1
    assert b"Traceback" not in output


@pytest.mark.triton
def test_a_broken_model_fails_the_start_but_is_skipped_with_keep_going(cli: Cli, repository: Path) -> None:
    parts.tritonserver()
    broken = write_model(repository, "broken")
    broken.write_text("(module)")
    done = cli("serve", repository, "--quiet", "--grpc-port=0", "--http-port=0", "--metrics-port=0")
    assert done.returncode == 1
    assert "failed to load 'broken'" in done.stderr.rsplit("error: tritonserver stopped", 1)[1]
    with serving(repository, free_ports(), "--keep-going", "--quiet") as foreground:
        foreground.wait_for("ready; Ctrl-C stops")
        assert "model add version 1 ready" in foreground.output
        assert "model broken version 1 unavailable: " in foreground.output
        assert foreground.end(signal.SIGTERM) == 0


@pytest.mark.triton
def test_a_module_without_a_config_requires_a_directory_name_that_ends_in_wasm(cli: Cli, repository: Path) -> None:
    parts.tritonserver()
    (repository / "add" / "config.pbtxt").unlink()
    done = cli("serve", repository, "--quiet", "--grpc-port=0", "--http-port=0", "--metrics-port=0")
    assert done.returncode == 1
    assert 'model add has no config.pbtxt. Write one with the line `backend: "wasm"`' in done.stderr
    (repository / "add").rename(repository / "add.wasm")
    with serving(repository, free_ports(), "--quiet") as foreground:
        foreground.wait_for("ready; Ctrl-C stops")
        assert "model add.wasm version 1 ready" in foreground.output
        assert "has no config.pbtxt" not in foreground.output
        assert foreground.end(signal.SIGTERM) == 0


@pytest.mark.triton
def test_a_server_that_exits_is_reported(repository: Path) -> None:
    with serving(repository, free_ports()) as foreground:
        foreground.wait_for("ready; Ctrl-C stops")
        own = foreground.process.pid
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(own)], capture_output=True, text=True, check=True)
        os.kill(int(listed.stdout), signal.SIGKILL)
        assert foreground.process.wait(waiting.PATIENCE_S) == 1
        foreground.join()
        assert "error: tritonserver exited with exit code -9" in foreground.output
        assert leftovers(own) == []


def test_an_invalid_repository_is_explained(cli: Cli, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, text in (
        (tmp_path / "none", "the model repository"),
        (repository / "add" / "config.pbtxt", "is a file, not a model repository"),
        (tmp_path / "empty", "contains no models"),
        (repository / "add", f"Serve its parent directory: portalis serve {repository}"),
    ):
        done = cli("serve", folder)
        assert done.returncode == 2
        assert text in done.stderr


GROUP = 'backend: "wasm"\ninstance_group [{{ name: "{}" kind: KIND_CPU }}]\n'


@pytest.mark.parametrize("keep_going", [(), ("--keep-going",)], ids=["all", "keep-going"])
@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("a$(touch${IFS}PWN)b", 'backend: "wasm"\n', "model 'a$(touch${IFS}PWN)b', name: the name"),
        (".a;touch PWN", 'backend: "wasm"\n', "contains ' ', and Triton passes the name unquoted to a shell"),
        (
            "ok",
            GROUP.format("g$(touch PWN)"),
            "model 'ok', instance_group[0].name: the name 'g$(touch PWN)' contains ' '",
        ),
        ("ok", GROUP.format("g`touch\\tPWN`"), "model 'ok', instance_group[0].name"),
        ("ok", 'backend: "wasm" default_model_filename: "$(touch PWN).wasm"', "model 'ok', default_model_filename"),
        (
            "ok",
            'backend: "wasm" parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$(touch PWN)" } }',
            "model 'ok', parameters[EXECUTION_ENV_PATH]",
        ),
    ],
)
def test_a_name_with_shell_syntax_is_rejected_before_the_server_starts(
    cli: Cli, repository: Path, name: str, config: str, message: str, keep_going: tuple[str, ...]
) -> None:
    write_model(repository, name, config=config)
    done = cli("serve", repository, "--grpc-port=0", "--http-port=0", "--metrics-port=0", *keep_going)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Use letters, digits, dots, dashes and underscores in names" in done.stderr
    assert "metrics.cc" not in done.stderr  # the server's first log lines


def test_names_in_custom_model_configurations_are_checked_too(cli: Cli, repository: Path) -> None:
    (repository / "add" / "configs").mkdir()
    (repository / "add" / "configs" / "small.pbtxt").write_text(GROUP.format("g$(touch PWN)"))
    done = cli("serve", repository, "--", "--model-config-name=small")
    assert done.returncode == 2
    assert "instance_group[0].name" in done.stderr


def test_a_repository_path_with_shell_syntax_is_rejected(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "my $models"
    write_model(folder, "add")
    done = cli("serve", folder, "--grpc-port=0", "--http-port=0", "--metrics-port=0")
    assert done.returncode == 2
    assert "my $models' contains ' ', and Triton passes the name unquoted to a shell" in done.stderr
    assert "ln -s" in done.stderr


def test_an_argument_that_portalis_sets_is_rejected(cli: Cli, repository: Path) -> None:
    done = cli("serve", repository, "--", "--grpc-port", "9000")
    assert done.returncode == 2
    assert "--grpc-port is set by portalis" in done.stderr


def test_a_port_in_use_is_reported_before_the_server_starts(cli: Cli, repository: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = cli("serve", repository, f"--http-port={port}", "--grpc-port=0")
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port} for http" in done.stderr
    assert "--http-port" in done.stderr
