"""A registry that is contacted with the wrong protocol: the error names the right one, and nothing is retried."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from portalis.oci.address import parse_address
from portalis.oci.errors import RegistryError, Unreachable
from portalis.oci.registry import Registry
from tests.portalis.oci.conftest import artifact, quick
from tests.registry_server import certificate, registry_server
from tests.running.ports import free_port
from tests.running.waiting import PATIENCE_S

from .hostile import Response, serving


def push_error(text: str, *, plain_http: bool = False) -> RegistryError:
    with (
        Registry(parse_address(text, plain_http=plain_http), backoff=quick(max_tries=2)) as client,
        pytest.raises(RegistryError) as caught,
    ):
        client.push("team/thing", "1.0", artifact(b"content"))
    return caught.value


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """More time for the TLS handshake of a server on a busy machine."""
    monkeypatch.setattr("portalis.oci.protocol._PROBE_TIMEOUT_S", PATIENCE_S)


@pytest.mark.usefixtures("patient")
def test_the_error_for_a_local_registry_with_tls_suggests_https(tmp_path: Path, registry_program: str) -> None:
    with registry_server(tmp_path, tls=True) as server:
        for text in (f"localhost:{server.port}/team", f"{server.host}/team", f"http://{server.host}/team"):
            error = push_error(text)
            host = text.removeprefix("http://")
            assert error.message == f"{host.partition('/')[0]} uses TLS, but was contacted over plain HTTP"
            assert f"https://{host}" in error.remediation


@pytest.mark.usefixtures("patient")
def test_plain_http_to_a_registry_with_tls_is_an_error_too(tmp_path: Path, registry_program: str) -> None:
    with registry_server(tmp_path, tls=True) as server:
        assert "uses TLS" in push_error(f"localhost:{server.port}", plain_http=True).message


def test_with_https_a_local_registry_is_contacted_over_tls(
    tmp_path: Path, registry_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry_server(tmp_path, tls=True) as server:
        assert "cannot establish a TLS connection" in push_error(f"https://localhost:{server.port}").message
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        with Registry(parse_address(f"https://localhost:{server.port}/team"), backoff=quick()) as client:
            assert client.push("team/thing", "1.0", artifact(b"content")).sent


@contextlib.contextmanager
def silent_tls(folder: Path) -> Iterator[int]:
    """A TLS server that closes other connections without a response, as many do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = certificate(folder)
    context.load_cert_chain(files["certificate"], files["key"])
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True):
                    pass
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


@pytest.mark.usefixtures("patient")
def test_a_tls_server_that_closes_plain_http_connections_is_recognized(tmp_path: Path) -> None:
    with silent_tls(tmp_path) as port:
        assert "uses TLS" in push_error(f"127.0.0.1:{port}/team").message


def test_a_plain_registry_that_responds_with_400_is_not_mistaken_for_one_with_tls() -> None:
    with serving(lambda _: Response(400)) as server:
        error = push_error(f"{server.host}/team")
    assert "responded with 400" in error.message and "TLS" not in error.message


def test_the_error_for_a_plain_registry_contacted_over_tls_suggests_http() -> None:
    with serving(lambda _: Response(404)) as server:
        error = push_error(f"https://{server.host}/team")
    assert error.message == f"{server.host} was contacted over TLS, but does not use it"
    assert f"http://{server.host}/team" in error.remediation


def test_a_registry_that_is_down_is_unreachable() -> None:
    assert isinstance(push_error(f"127.0.0.1:{free_port()}"), Unreachable)
