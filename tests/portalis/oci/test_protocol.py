"""A registry that is asked in the wrong protocol: the error names the right one, and nothing is asked again."""

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

from .hostile import Said, saying


def refusal(text: str, *, plain_http: bool = False) -> RegistryError:
    with (
        Registry(parse_address(text, plain_http=plain_http), backoff=quick(max_tries=2)) as client,
        pytest.raises(RegistryError) as told,
    ):
        client.push("team/thing", "1.0", artifact(b"content"))
    return told.value


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that speaks TLS has its time to do so. (One that does not may leave the question open.)"""
    monkeypatch.setattr("portalis.oci.protocol._PROBE_TIMEOUT_S", PATIENCE_S)


@pytest.mark.usefixtures("patient")
def test_a_local_registry_with_tls_is_told_with_https_in_the_remedy(tmp_path: Path, registry_program: str) -> None:
    with registry_server(tmp_path, tls=True) as server:
        for text in (f"localhost:{server.port}/team", f"{server.host}/team", f"http://{server.host}/team"):
            told = refusal(text)
            host = text.removeprefix("http://")
            assert told.message == f"{host.partition('/')[0]} uses TLS, but was contacted over plain HTTP"
            assert f"https://{host}" in told.remediation


@pytest.mark.usefixtures("patient")
def test_a_registry_that_was_to_be_asked_without_tls_is_told_too(tmp_path: Path, registry_program: str) -> None:
    with registry_server(tmp_path, tls=True) as server:
        assert "uses TLS" in refusal(f"localhost:{server.port}", plain_http=True).message


def test_with_https_the_local_registry_is_asked_over_tls(
    tmp_path: Path, registry_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry_server(tmp_path, tls=True) as server:
        assert "cannot establish a TLS connection" in refusal(f"https://localhost:{server.port}").message
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        with Registry(parse_address(f"https://localhost:{server.port}/team"), backoff=quick()) as client:
            assert client.push("team/thing", "1.0", artifact(b"content")).sent


@contextlib.contextmanager
def silent_tls(folder: Path) -> Iterator[int]:
    """A TLS server that hangs up on anything else, as many do."""
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
def test_a_tls_server_that_hangs_up_on_plain_http_is_recognised(tmp_path: Path) -> None:
    with silent_tls(tmp_path) as port:
        assert "uses TLS" in refusal(f"127.0.0.1:{port}/team").message


def test_a_plain_registry_that_answers_400_is_not_taken_for_one_with_tls() -> None:
    with saying(lambda _: Said(400)) as server:
        told = refusal(f"{server.host}/team")
    assert "responded with 400" in told.message and "TLS" not in told.message


def test_a_plain_registry_that_is_asked_over_tls_is_told_with_http_in_the_remedy() -> None:
    with saying(lambda _: Said(404)) as server:
        told = refusal(f"https://{server.host}/team")
    assert told.message == f"{server.host} was contacted over TLS, but does not use it"
    assert f"http://{server.host}/team" in told.remediation


def test_a_registry_that_is_down_is_still_one_that_is_down() -> None:
    assert isinstance(refusal(f"127.0.0.1:{free_port()}"), Unreachable)
