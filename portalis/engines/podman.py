"""Podman's own HTTP API (libpod), for features that its Docker-compatible API lacks.

Podman 4 omits ``Healthcheck`` from ``/images/{name}/json``, and leaves running the health checks to systemd timers,
which are not available everywhere. Its Docker-compatible push has no parameter for a registry without TLS.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

PODMAN_NAME = "Podman Engine"
"""Podman's name in the components of an engine's version."""
_API = "v4.0.0"


def image_health_check(client: Any, reference: str) -> Mapping[str, Any] | None:
    """The health check of an image in Docker's format; None if it has none, as for images in the OCI format."""
    response = client.get(f"{client.base_url}/{_API}/libpod/images/{reference}/json")
    response.raise_for_status()
    check: Mapping[str, Any] | None = response.json().get("Healthcheck")
    return check


def run_health_check(client: Any, container: str) -> None:
    """Run the container's health check now; its result is in the container's ``State``. A container that has ended is
    ignored."""
    with contextlib.suppress(OSError):  # the errors of requests are OSErrors
        client.get(f"{client.base_url}/{_API}/libpod/containers/{container}/healthcheck")


def podman_push(client: Any, repository: str, tag: str, login: str, *, tls: bool) -> Iterator[Mapping[str, Any]]:
    """Push ``repository:tag``, and yield Podman's progress messages. `login` is the value of X-Registry-Auth.

    Without `tls`, Podman connects to a registry over plain HTTP that its settings do not list. The image is pushed in
    Docker's format so that it keeps its health check.
    """
    response = client.post(
        f"{client.base_url}/{_API}/libpod/images/{repository}:{tag}/push",
        params={"destination": f"{repository}:{tag}", "tlsVerify": tls, "format": "v2s2", "quiet": False},
        headers={"X-Registry-Auth": login},
        stream=True,
    )
    response.raise_for_status()
    for line in response.iter_lines():
        if line:
            yield json.loads(line)
