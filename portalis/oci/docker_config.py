"""Docker's config.json: who is logged in where, in the file itself or with a helper that keeps it elsewhere."""

from __future__ import annotations

import base64
import binascii
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..bounded import Bounds, parse_json
from ..errors import UsageError

_HELPER_S = 30.0
_BOUNDS = Bounds(max_bytes=1 << 20, max_values=20_000)
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
    config = read(path)
    for key in keys:
        helper = table(config, "credHelpers").get(key)
        if isinstance(helper, str) and helper:
            return ask(helper, key, environment)
    store = config.get("credsStore")
    if isinstance(store, str) and store:
        for key in keys:
            if (login := ask(store, key, environment)) is not None:
                return login
    return _of_file(config, keys, path)


def read(path: Path) -> dict[str, Any]:
    """What is in a file of logins, nothing where there is none. Raises UsageError, which repeats nothing of it."""
    try:
        config = parse_json(_BOUNDS.read(path), _BOUNDS)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        # the error of a decoder would repeat the line, and with it a password
        why = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise UsageError(
            f"{path} cannot be read: {why}", remediation=f"Fix {path}, or log in again (`docker login`)."
        ) from None
    return config if isinstance(config, dict) else {}


def table(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The table under a key, an empty one where there is none."""
    found = config.get(key)
    return found if isinstance(found, dict) else {}


def _of_file(config: Mapping[str, Any], keys: Sequence[str], path: Path) -> Login | None:
    exact = table(config, "auths")
    logins = {_host(key): entry for key, entry in exact.items()}
    for key in keys:
        for entry in (exact.get(key), logins.get(_host(key))):
            if (login := login_of(entry, key, path)) is not None:
                return login
    return None


def login_of(entry: Any, key: str, path: Path) -> Login | None:
    """What an entry of ``auths`` says; None where it says nothing, as beside a helper. Raises UsageError."""
    if not isinstance(entry, dict):
        return None
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
        raise UsageError(
            f"{path}: the login of {key} is not base64", remediation=f"Log in to {key} again (`docker login {key}`)."
        ) from None
    return name, secret.rstrip("\0")


def ask(helper: str, key: str, environment: Mapping[str, str]) -> Login | None:
    """What ``docker-credential-HELPER get`` says of `key`. Nothing that it prints is ever repeated but its errors."""
    program = f"docker-credential-{helper}"
    if _HELPER_NAME.fullmatch(helper) is None:
        raise UsageError(
            f"{helper!r} is no name of a credential helper",
            remediation="Fix credsStore and credHelpers in Docker's config.json.",
        )
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
        told = parse_json(done.stdout, _BOUNDS)
        name, secret = str(told["Username"]), str(told["Secret"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"the credential helper {program} answers in no known form", remediation=remedy) from None
    if not secret:
        return None
    return Login(username="" if name == _TOKEN else name, secret=secret, is_token=name == _TOKEN, source=program)
