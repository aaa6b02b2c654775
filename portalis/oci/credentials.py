"""Who we are to a registry: from the caller, the environment, or the logins of Docker and Podman."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import UsageError
from . import docker_config, podman_auth
from .address import Address

USERNAME = "PORTALIS_REGISTRY_USERNAME"
PASSWORD = "PORTALIS_REGISTRY_PASSWORD"  # noqa: S105 (the name of a variable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A name and a password, or a token that stands for both. Neither is ever printed."""

    username: str = ""
    secret: str = field(repr=False)
    is_token: bool = False
    """Whether the secret is an identity token, which is good for asking for others only."""
    source: str
    """Where it comes from, for people."""


def find(address: Address, environment: Mapping[str, str] = os.environ) -> Credentials | None:
    """The credentials for a registry: the environment's, else those of Docker's config and its helpers, else those of
    Podman's auth.json, else None. Raises UsageError for half of them, and for a file that cannot be read."""
    name, secret = environment.get(USERNAME, ""), environment.get(PASSWORD, "")
    if name and secret:
        return Credentials(username=name, secret=secret, source="the environment")
    if name or secret:
        here, missing = (USERNAME, PASSWORD) if name else (PASSWORD, USERNAME)
        raise UsageError(f"{here} is set, and {missing} is not", remediation=f"Set {missing}, too, or unset {here}.")
    found = docker_config.lookup(address.keys, environment) or podman_auth.lookup(address, environment)
    if found is None:
        return None
    return Credentials(username=found.username, secret=found.secret, is_token=found.is_token, source=found.source)
