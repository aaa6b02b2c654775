"""Podman's auth.json, as containers-auth.json(5) has it: logins of registries, and of folders in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import docker_config
from .address import Address
from .docker_config import Login

FILE = "REGISTRY_AUTH_FILE"


def lookup(address: Address, environment: Mapping[str, str]) -> Login | None:
    """The login for the registry and folder at `address`; None where nobody is logged in. Raises UsageError for a file,
    or a helper, that cannot be used."""
    for path in places(environment):
        config = docker_config.read(path)
        for key in address.keys:
            helper = docker_config.table(config, "credHelpers").get(key)
            if isinstance(helper, str) and helper and (login := docker_config.ask(helper, key, environment)):
                return login
        logins = docker_config.table(config, "auths")
        for key in _keys(address):
            if (login := docker_config.login_of(logins.get(key), key, path)) is not None:
                return login
    return None


def places(environment: Mapping[str, str]) -> Iterator[Path]:
    """Where the file can be, in the order in which Podman looks. One that is named is the only one."""
    if named := environment.get(FILE):
        yield Path(named)
        return
    runtime = environment.get("XDG_RUNTIME_DIR")
    yield (Path(runtime) / "containers" if runtime else Path("/run/containers") / str(os.getuid())) / "auth.json"
    config = environment.get("XDG_CONFIG_HOME")
    folder = Path(config) if config else Path(environment.get("HOME", "/")) / ".config"
    yield folder / "containers" / "auth.json"


def _keys(address: Address) -> Iterator[str]:
    """The folder at the registry, those that it is in, and the registry; a login of another folder is not meant."""
    parts = address.prefix.split("/") if address.prefix else []
    for host in address.keys:
        for end in range(len(parts), -1, -1):
            yield "/".join([host, *parts[:end]])
