"""One container on an engine, from its start to its removal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import podman
from .confinement import Confinement
from .log_text import lines
from .sdk import telling, unless_gone

STOP_S = 20
KEPT_LINES = 200


class Container:
    """A container that was started. Discard it, or use it with ``with``. Its methods raise EngineFailed."""

    def __init__(self, client: Any, address: str, container_id: str, *, checked: bool, by_podman: bool) -> None:
        self._client = client
        self._address = address
        self._by_podman = by_podman
        self.id = container_id
        self.checked = checked
        """Whether its image has a health check."""

    def state(self) -> Mapping[str, Any]:
        """The engine's ``State``: ``Status``, ``ExitCode``, ``Health``."""
        with telling(f"there is no container {self.id}", self._address):
            if self._by_podman and self.checked:
                podman.make_health_check(self._client, self.id)
            found: Mapping[str, Any] = self._client.inspect_container(self.id)["State"]
        return found

    def log(self) -> list[str]:
        """The last lines that it wrote."""
        with telling(f"there is no log of {self.id}", self._address):
            text: bytes = self._client.logs(self.id, tail=KEPT_LINES)
        return list(lines(text.decode(errors="replace")))

    def stop(self) -> int:
        """Ask it to end (SIGTERM, then SIGKILL after 20 s). Returns its exit status."""
        with telling(f"cannot stop {self.id}", self._address):
            self._client.stop(self.id, timeout=STOP_S)
            return int(self._client.wait(self.id, timeout=STOP_S)["StatusCode"])

    def discard(self) -> None:
        """Remove it, running or not, with its volumes."""
        with telling(f"cannot remove {self.id}", self._address), unless_gone():
            self._client.remove_container(self.id, force=True, v=True)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *exc: object) -> None:
        self.discard()


def start(
    client: Any,
    address: str,
    reference: str,
    confinement: Confinement,
    *,
    environment: Mapping[str, str],
    network: str | None,
    ports: Mapping[int, int],
    checked: bool,
    health_interval_s: float,
    by_podman: bool,
) -> Container:
    """Start a container of the image `reference`. Where the engine cannot, nothing of it stays. Raises EngineFailed."""
    with telling(f"cannot start {reference}", address):
        host = client.create_host_config(
            network_mode=network,
            port_bindings={inside: ("127.0.0.1", outside) for inside, outside in ports.items()},
            **confinement.options(),
        )
        made = client.create_container(
            reference,
            host_config=host,
            environment=dict(environment),
            ports=list(ports),
            user=confinement.user,
            # what is left out stays as it is in the image
            healthcheck={"interval": int(health_interval_s * 1e9)} if checked else None,
        )
        container = Container(client, address, str(made["Id"]), checked=checked, by_podman=by_podman)
        try:
            client.start(container.id)
        except BaseException:
            container.discard()
            raise
    return container
