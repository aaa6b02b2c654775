"""One container on an engine, from its start to its removal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .confinement import Confinement
from .log_text import log_lines
from .podman import run_health_check
from .sdk import engine_errors, ignore_not_found

_STOP_TIMEOUT_S = 20
_LOG_TAIL_LINES = 200


class Container:
    """A started container. Remove it, or use it with ``with``. Its methods raise EngineFailed."""

    def __init__(
        self, client: Any, address: str, container_id: str, *, has_health_check: bool, by_podman: bool
    ) -> None:
        self._client = client
        self._address = address
        self._by_podman = by_podman
        self.id = container_id
        self.has_health_check = has_health_check
        """Whether the image defines a health check."""

    def state(self) -> Mapping[str, Any]:
        """The engine's ``State`` of the container: ``Status``, ``ExitCode``, ``Health`` and other keys."""
        with engine_errors(f"cannot inspect the container {self.id}", self._address):
            if self._by_podman and self.has_health_check:
                run_health_check(self._client, self.id)
            state: Mapping[str, Any] = self._client.inspect_container(self.id)["State"]
        return state

    def log(self) -> list[str]:
        """The last 200 lines that the container wrote."""
        with engine_errors(f"cannot read the log of {self.id}", self._address):
            text: bytes = self._client.logs(self.id, tail=_LOG_TAIL_LINES)
        return list(log_lines(text.decode(errors="replace")))

    def stop(self) -> int:
        """Stop the container with SIGTERM, and with SIGKILL after 20 s. Returns its exit status."""
        with engine_errors(f"cannot stop {self.id}", self._address):
            self._client.stop(self.id, timeout=_STOP_TIMEOUT_S)
            return int(self._client.wait(self.id, timeout=_STOP_TIMEOUT_S)["StatusCode"])

    def remove(self) -> None:
        """Remove the container with its volumes, even if it is running."""
        with engine_errors(f"cannot remove {self.id}", self._address), ignore_not_found():
            self._client.remove_container(self.id, force=True, v=True)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def start_container(
    client: Any,
    address: str,
    reference: str,
    confinement: Confinement,
    *,
    environment: Mapping[str, str],
    network: str | None,
    ports: Mapping[int, int],
    has_health_check: bool,
    health_interval_s: float,
    by_podman: bool,
) -> Container:
    """Start a container of the image `reference`. If the start fails, the container is removed. Raises EngineFailed."""
    with engine_errors(f"cannot start {reference}", address):
        host_config = client.create_host_config(
            network_mode=network,
            port_bindings={port: ("127.0.0.1", host_port) for port, host_port in ports.items()},
            **confinement.host_config(),
        )
        response = client.create_container(
            reference,
            host_config=host_config,
            environment=dict(environment),
            ports=list(ports),
            user=confinement.user,
            # the other fields of the health check keep the values of the image
            healthcheck={"interval": int(health_interval_s * 1e9)} if has_health_check else None,
        )
        container = Container(
            client, address, str(response["Id"]), has_health_check=has_health_check, by_podman=by_podman
        )
        try:
            client.start(container.id)
        except BaseException:
            container.remove()
            raise
    return container
