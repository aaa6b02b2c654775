"""What Podman's Docker interface keeps back, from Podman's own one: the health check of an image, and making it.

Podman 4 answers Docker's ``/images/{name}/json`` without ``Healthcheck``, whatever the image has; and it leaves the
making of health checks to timers of systemd, which are not everywhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
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
