"""A real registry (Debian's docker-registry) on loopback, optionally with a password or TLS."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from tests import parts
from tests.running.ports import free_port
from tests.running.waiting import PATIENCE_S

USERNAME, PASSWORD = "someone", "correct horse/battery+staple"
_LOGIN = "someone:$2y$05$VtIbKoUFUmOtHSVatqE5F.BTTQj3bReuvu75kPeLGjyUO3epctOiW"  # bcrypt, by htpasswd


@dataclass(frozen=True)
class RegistryServer:
    """A running registry; `data` is its storage directory."""

    port: int
    data: Path

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def blob(self, digest: str) -> Path:
        """The path of a blob in the registry's storage; the file may not exist."""
        algorithm, _, digits = digest.partition(":")
        return self.data / "docker/registry/v2/blobs" / algorithm / digits[:2] / digits / "data"


@contextlib.contextmanager
def registry_server(
    folder: Path, *, password: bool = False, port: int | None = None, tls: bool = False
) -> Iterator[RegistryServer]:
    """Run a registry with its data in `folder`.

    With `password`, it requires `USERNAME` and `PASSWORD` (HTTP basic authentication). With `tls`, it has a self-signed
    certificate for ``localhost``, in ``folder/cert.pem``.
    """
    program, port = parts.docker_registry(), port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        # the registry signs the states of uploads with this secret
        "http": {"addr": f"127.0.0.1:{port}", "secret": "worthless"},
    }
    if tls:
        config["http"]["tls"] = certificate(folder)
    if password:
        (folder / "htpasswd").write_text(f"{_LOGIN}\n")
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is valid YAML
    with (folder / "log").open("ab") as log:
        command = ["setpriv", "--pdeathsig", "TERM", program, "serve", str(folder / "config.yml")]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait(server, port, folder / "log")
        yield RegistryServer(port, folder / "data")
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_S)


def certificate(folder: Path) -> dict[str, str]:
    """Create a self-signed certificate for ``localhost``; returns the registry's TLS settings."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(1))
        .not_valid_after(now + timedelta(2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, none = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(signed.public_bytes(encoding))
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, none))
    return {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while server.poll() is None and time.monotonic() < end:
        # a registry with TLS responds to plain HTTP too, with an error
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/v2/")
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise AssertionError(f"the registry does not start:\n{log.read_text()[-2000:]}")
