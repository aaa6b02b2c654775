"""The health check, apart from its success on a real Triton (test_serving)."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

import pytest

from portalis.nim.triton import health
from tests.running.ports import free_port


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("tritonserver --model-repository=/models", {"model-repository": "/models"}),
        ("tritonserver --http-port 9000 --grpc-port=9001", {"http-port": "9000", "grpc-port": "9001"}),
        ("docker-init -- tritonserver --http-port=9000", {"http-port": "9000"}),
        ("tritonserver --http-port=1 --http-port=2", {"http-port": "2"}),
        ("tritonserver --strict-readiness --http-port", {}),
        ("", {}),
    ],
)
def test_the_options_of_a_command_line_are_read(command: str, found: dict[str, str]) -> None:
    assert health.options(command.split()) == found


def test_a_server_that_is_not_there_is_not_ready() -> None:
    port = free_port()
    assert health.main(["tritonserver", f"--http-port={port}"]).startswith(f"127.0.0.1:{port} does not answer: ")


@pytest.mark.parametrize("port", ["many", "70000", "-1"])
def test_a_port_that_cannot_be_is_a_reason_and_no_traceback(port: str) -> None:
    assert "does not answer" in health.main(["tritonserver", f"--http-port={port}"])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "is not ready (status 400)"),
        (b"220 mail.example ESMTP\r\n", "does not answer"),
        (b"", "does not answer"),
    ],
)
def test_what_the_port_answers_decides(answer: bytes, reason: str) -> None:
    """Triton's own answers, and those of something else at its port, over a real socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        told = health.main(["tritonserver", "--http-address=127.0.0.1", f"--http-port={server.getsockname()[1]}"])
        thread.join()
    assert reason in told
    assert (told == "") == (reason == "")


def test_without_an_http_port_it_says_what_to_do() -> None:
    assert "--no-healthcheck" in health.main(["tritonserver", "--allow-http=false"])


def test_run_as_a_program_it_ends_with_1_and_the_reason() -> None:
    # the first process of this machine is no Triton, and nobody listens on port 8000 of a network of its own
    command = ["unshare", "--net", sys.executable, "-I", health.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip("a network namespace needs root")
    assert done.returncode == 1
    assert "does not answer" in done.stdout
    assert "Traceback" not in done.stderr
