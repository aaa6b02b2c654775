"""Docker's config.json: who is logged in where, in the file itself or with a helper that keeps it elsewhere."""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError

_HELPER_S = 30.0
_LIMIT = 1 << 20
_TOKEN = "<token>"  # what a helper calls itself that knows an identity token and no name # noqa: S105
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What the config knows."""

    username: str
    secret: str = field(repr=False)
    is_token: bool
    source: str


def lookup(keys: Sequence[str], environment: Mapping[str, str]) -> Login | None:
    """The login for the registry that any of `keys` names; None where nobody is logged in. Raises UsageError for a
    config, or a helper, that cannot be used."""
    folder = environment.get("DOCKER_CONFIG")
    path = (Path(folder) if folder else Path(environment.get("HOME", "/")) / ".docker") / "config.json"
    config = _read(path)
    for key in keys:
        helper = _table(config, "credHelpers").get(key)
        if isinstance(helper, str) and helper:
            return _ask(helper, key, environment)
    store = config.get("credsStore")
    if isinstance(store, str) and store:
        for key in keys:
            if (login := _ask(store, key, environment)) is not None:
                return login
    return _of_file(config, keys, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(_LIMIT))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        # the error of a decoder would repeat the line, and with it a password
        why = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise UsageError(f"{path} cannot be read: {why}", remediation="Mend it, or log in again.") from None
    return config if isinstance(config, dict) else {}


def _table(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = config.get(key)
    return found if isinstance(found, dict) else {}


def _of_file(config: Mapping[str, Any], keys: Sequence[str], path: Path) -> Login | None:
    logins = {_host(key): entry for key, entry in _table(config, "auths").items()}
    for key in keys:
        entry = logins.get(_host(key))
        if not isinstance(entry, dict):
            continue
        token = entry.get("identitytoken")
        if isinstance(token, str) and token:
            return Login(username="", secret=token, is_token=True, source=str(path))
        name, secret = entry.get("username"), entry.get("password")
        if not (name and secret) and entry.get("auth"):
            name, secret = _decoded(str(entry["auth"]), key, path)
        if isinstance(name, str) and isinstance(secret, str) and name and secret:
            return Login(username=name, secret=secret, is_token=False, source=str(path))
    return None


def _host(key: str) -> str:
    """The host of a key, which may be a URL as old versions have it."""
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]


def _decoded(auth: str, key: str, path: Path) -> tuple[str, str]:
    try:
        name, _, secret = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise UsageError(f"{path}: the login of {key} is not base64", remediation="Log in again.") from None
    return name, secret.rstrip("\0")


def _ask(helper: str, key: str, environment: Mapping[str, str]) -> Login | None:
    """What ``docker-credential-HELPER get`` says of `key`. Nothing that it prints is ever repeated but its errors."""
    program = f"docker-credential-{helper}"
    if _HELPER_NAME.fullmatch(helper) is None:
        raise UsageError(f"{helper!r} is no name of a credential helper", remediation="Mend Docker's config.json.")
    remedy = f"See what `echo {key} | {program} get` says, or set the credentials in the environment."
    try:
        done = subprocess.run(
            [program, "get"],
            input=key.encode(),
            capture_output=True,
            check=False,
            timeout=_HELPER_S,
            env=dict(environment),
        )
    except FileNotFoundError:
        raise UsageError(
            f"the credential helper {program} is not on PATH", remediation="Install it, or log in without it."
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        why = f"did not answer in {_HELPER_S:g} s" if isinstance(error, subprocess.TimeoutExpired) else "cannot be run"
        raise UsageError(f"the credential helper {program} {why}", remediation=remedy) from None
    if done.returncode != 0:
        if b"credentials not found" in done.stdout:
            return None
        raise UsageError(f"the credential helper {program} failed (exit {done.returncode})", remediation=remedy)
    try:
        told = json.loads(done.stdout)
        name, secret = str(told["Username"]), str(told["Secret"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"the credential helper {program} answers in no known form", remediation=remedy) from None
    if not secret:
        return None
    return Login(username="" if name == _TOKEN else name, secret=secret, is_token=name == _TOKEN, source=program)
