"""Finds the credentials for a registry: in the environment, Docker's config.json with its credential helpers, and
Podman's auth.json (containers-auth.json(5))."""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..bounded import Bounds, parse_json
from ..errors import UsageError
from .address import Address
from .credentials import Credentials

USERNAME_VARIABLE = "PORTALIS_REGISTRY_USERNAME"
PASSWORD_VARIABLE = "PORTALIS_REGISTRY_PASSWORD"  # noqa: S105 (the name of a variable)
_AUTH_FILE_VARIABLE = "REGISTRY_AUTH_FILE"
_HELPER_TIMEOUT_S = 30.0
_BOUNDS = Bounds(max_bytes=1 << 20, max_values=20_000)
_TOKEN = "<token>"  # the user name that a helper returns with an identity token # noqa: S105
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")


def find_credentials(address: Address, environment: Mapping[str, str] = os.environ) -> Credentials | None:
    """The credentials for a registry: from the environment, else from Docker, else from Podman, else None. Raises
    UsageError if only one of the two variables is set, and for a file or helper that cannot be used."""
    username, secret = environment.get(USERNAME_VARIABLE, ""), environment.get(PASSWORD_VARIABLE, "")
    if username and secret:
        return Credentials(username=username, secret=secret, source="the environment")
    if username or secret:
        names = (USERNAME_VARIABLE, PASSWORD_VARIABLE)
        present, missing = names if username else reversed(names)
        raise UsageError(
            f"{present} is set, but {missing} is not", remediation=f"Set {missing} too, or unset {present}."
        )
    return docker_login(address, environment) or podman_login(address, environment)


def docker_login(address: Address, environment: Mapping[str, str]) -> Credentials | None:
    """The registry's login from Docker's config.json: its own helper (``credHelpers``), the common helper
    (``credsStore``), then the file (``auths``). None if the user is not logged in. Raises UsageError for a file or
    helper that cannot be used."""
    folder = environment.get("DOCKER_CONFIG")
    path = (Path(folder) if folder else Path(environment.get("HOME", "/")) / ".docker") / "config.json"
    config = _read(path)
    keys = address.config_keys
    for key in keys:
        helper = _table(config, "credHelpers").get(key)
        if isinstance(helper, str) and helper:
            return _run_helper(helper, key, environment)
    store = config.get("credsStore")
    if isinstance(store, str) and store:
        for key in keys:
            if (login := _run_helper(store, key, environment)) is not None:
                return login
    exact = _table(config, "auths")
    by_host = {_host(key): entry for key, entry in exact.items()}
    for key in keys:
        for entry in (exact.get(key), by_host.get(_host(key))):
            if (login := _parse_login(entry, key, path)) is not None:
                return login
    return None


def podman_login(address: Address, environment: Mapping[str, str]) -> Credentials | None:
    """The login for the registry, or for a path in it, from Podman's auth.json. The longest path that contains
    `address` overrides the others. None if the user is not logged in. Raises UsageError for a file or helper that
    cannot be used."""
    for path in _auth_files(environment):
        config = _read(path)
        for key in address.config_keys:
            helper = _table(config, "credHelpers").get(key)
            if isinstance(helper, str) and helper and (login := _run_helper(helper, key, environment)):
                return login
        logins = _table(config, "auths")
        for key in _path_keys(address):
            if (login := _parse_login(logins.get(key), key, path)) is not None:
                return login
    return None


def _auth_files(environment: Mapping[str, str]) -> Iterator[Path]:
    """The paths at which Podman looks for auth.json, in its order. REGISTRY_AUTH_FILE replaces all others."""
    if configured := environment.get(_AUTH_FILE_VARIABLE):
        yield Path(configured)
        return
    runtime = environment.get("XDG_RUNTIME_DIR")
    yield (Path(runtime) / "containers" if runtime else Path("/run/containers") / str(os.getuid())) / "auth.json"
    config = environment.get("XDG_CONFIG_HOME")
    folder = Path(config) if config else Path(environment.get("HOME", "/")) / ".config"
    yield folder / "containers" / "auth.json"


def _path_keys(address: Address) -> Iterator[str]:
    """The keys of `address` in auth.json, from its full path up to the registry."""
    components = address.prefix.split("/") if address.prefix else []
    for host in address.config_keys:
        for end in range(len(components), -1, -1):
            yield "/".join([host, *components[:end]])


def _read(path: Path) -> dict[str, Any]:
    """The content of a file of logins, empty if it does not exist. Raises UsageError, which repeats nothing of it."""
    try:
        config = parse_json(_BOUNDS.read(path), _BOUNDS)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        # the decoder's message would repeat a line of the file, and with it a password
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise UsageError(
            f"cannot read {path}: {reason}", remediation=f"Fix {path}, or log in again (`docker login`)."
        ) from None
    return config if isinstance(config, dict) else {}


def _table(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _host(key: str) -> str:
    """The host of a key, which is a URL in files of old versions of Docker."""
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]


def _parse_login(entry: Any, key: str, path: Path) -> Credentials | None:
    """The login in an entry of ``auths``; None for an empty entry, which accompanies a helper. Raises UsageError."""
    if not isinstance(entry, dict):
        return None
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Credentials(secret=token, is_token=True, source=str(path))
    username, secret = entry.get("username"), entry.get("password")
    if not (username and secret) and entry.get("auth"):
        username, secret = _decode_auth(str(entry["auth"]), key, path)
    if isinstance(username, str) and isinstance(secret, str) and username and secret:
        return Credentials(username=username, secret=secret, source=str(path))
    return None


def _decode_auth(auth: str, key: str, path: Path) -> tuple[str, str]:
    try:
        username, _, secret = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise UsageError(
            f"{path}: the login of {key} is not base64", remediation=f"Log in to {key} again (`docker login {key}`)."
        ) from None
    return username, secret.rstrip("\0")


def _run_helper(helper: str, key: str, environment: Mapping[str, str]) -> Credentials | None:
    """The login that ``docker-credential-HELPER get`` returns for `key`, None if it has none. Raises UsageError, which
    repeats nothing of its output."""
    program = f"docker-credential-{helper}"
    if _HELPER_NAME.fullmatch(helper) is None:
        raise UsageError(
            f"{helper!r} is not a valid name of a credential helper",
            remediation="Fix credsStore and credHelpers in Docker's config.json.",
        )
    remediation = f"See the output of `echo {key} | {program} get`, or set the credentials in the environment."
    try:
        process = subprocess.run(
            [program, "get"],
            input=key.encode(),
            capture_output=True,
            check=False,
            timeout=_HELPER_TIMEOUT_S,
            env=dict(environment),
        )
    except FileNotFoundError:
        raise UsageError(
            f"the credential helper {program} is not on PATH", remediation="Install it, or log in without it."
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        timed_out = isinstance(error, subprocess.TimeoutExpired)
        failure = f"did not respond within {_HELPER_TIMEOUT_S:g} s" if timed_out else "cannot be run"
        raise UsageError(f"the credential helper {program} {failure}", remediation=remediation) from None
    if process.returncode != 0:
        if b"credentials not found" in process.stdout:
            return None
        raise UsageError(f"the credential helper {program} failed (exit {process.returncode})", remediation=remediation)
    try:
        response = parse_json(process.stdout, _BOUNDS)
        username, secret = str(response["Username"]), str(response["Secret"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"the credential helper {program} returned an unexpected response", remediation=remediation
        ) from None
    if not secret:
        return None
    is_token = username == _TOKEN
    return Credentials(username="" if is_token else username, secret=secret, is_token=is_token, source=program)
