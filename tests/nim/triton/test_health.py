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


def test_a_missing_server_is_not_ready() -> None:
    port = free_port()
    assert health.main(["tritonserver", f"--http-port={port}"]).startswith(f"127.0.0.1:{port} does not answer: ")


@pytest.mark.parametrize("port", ["many", "70000", "-1"])
def test_an_invalid_port_is_a_reason_and_not_a_traceback(port: str) -> None:
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
def test_readiness_depends_on_the_response(answer: bytes, reason: str) -> None:
    """Responses of Triton and of other servers at its port, over a real socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        result = health.main(["tritonserver", "--http-address=127.0.0.1", f"--http-port={server.getsockname()[1]}"])
        thread.join()
    assert reason in result
    assert (result == "") == (reason == "")


def test_the_reason_without_an_http_port_has_a_remediation() -> None:
    assert "--no-healthcheck" in health.main(["tritonserver", "--allow-http=false"])


def test_the_script_prints_the_reason_and_exits_with_1() -> None:
    # the first process is not Triton, and in a separate network namespace no process listens on port 8000
    command = ["unshare", "--net", sys.executable, "-I", health.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip("a network namespace needs root")
    assert done.returncode == 1
    assert "does not answer" in done.stdout
    assert "Traceback" not in done.stderr
