"""What Podman's Docker interface keeps back, from Podman's own one: the health check of an image, and making it.

Podman 4 answers Docker's ``/images/{name}/json`` without ``Healthcheck``, whatever the image has; and it leaves the
making of health checks to timers of systemd, which are not everywhere.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

ENGINE = "Podman Engine"
API = "v4.0.0"


def health_check(client: Any, reference: str) -> Mapping[str, Any] | None:
    """The health check that the image has, as Docker has it; None where it has none, as in images of OCI's format."""
    answer = client.get(f"{client.base_url}/{API}/libpod/images/{reference}/json")
    answer.raise_for_status()
    found: Mapping[str, Any] | None = answer.json().get("Healthcheck")
    return found


def make_health_check(client: Any, container: str) -> None:
    """Make the container's health check now; its ``State`` tells how it went. One that has ended has no say."""
    with contextlib.suppress(OSError):  # requests' errors are OSErrors
        client.get(f"{client.base_url}/{API}/libpod/containers/{container}/healthcheck")


def push(client: Any, repository: str, tag: str, login: str, *, tls: bool) -> Iterator[Mapping[str, Any]]:
    """Push ``repository:tag``; what Podman tells of it, step by step. Docker's interface has no word for a registry
    without TLS, which Podman otherwise speaks to only when its settings name it. The format is Docker's, so that the
    image keeps its health check."""
    answer = client.post(
        f"{client.base_url}/{API}/libpod/images/{repository}:{tag}/push",
        params={"destination": f"{repository}:{tag}", "tlsVerify": tls, "format": "v2s2", "quiet": False},
        headers={"X-Registry-Auth": login},
        stream=True,
    )
    answer.raise_for_status()
    for line in answer.iter_lines():
        if line:
            yield json.loads(line)
