"""A real registry (Debian's docker-registry) on loopback, open to all or with a password."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import parts
from tests.running.ports import free_port
from tests.running.waiting import PATIENCE_S

USERNAME, PASSWORD = "someone", "correct horse/battery+staple"
_LOGIN = "someone:$2y$05$VtIbKoUFUmOtHSVatqE5F.BTTQj3bReuvu75kPeLGjyUO3epctOiW"  # bcrypt, by htpasswd


@dataclass(frozen=True)
class RegistryServer:
    """A registry that runs; `data` is where it keeps what it has."""

    port: int
    data: Path

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def blob(self, digest: str) -> Path:
        """Where a blob lies, if it is there."""
        kind, _, digits = digest.partition(":")
        return self.data / "docker/registry/v2/blobs" / kind / digits[:2] / digits / "data"


@contextlib.contextmanager
def registry_server(folder: Path, *, password: bool = False, port: int | None = None) -> Iterator[RegistryServer]:
    """A registry with its data in `folder`; with `password`, it asks for `USERNAME` and `PASSWORD` (HTTP basic)."""
    program, port = parts.docker_registry(), port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        # the secret signs the states of uploads
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of no worth"},
    }
    if password:
        (folder / "htpasswd").write_text(f"{_LOGIN}\n")
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(config))  # YAML takes JSON
    with (folder / "log").open("ab") as log:
        command = ["setpriv", "--pdeathsig", "TERM", program, "serve", str(folder / "config.yml")]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait(server, port, folder / "log")
        yield RegistryServer(port, folder / "data")
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_S)


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while server.poll() is None and time.monotonic() < end:
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
