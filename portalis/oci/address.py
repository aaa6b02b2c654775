"""The address of a registry, and whether to connect to it over TLS or plain HTTP."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import UsageError
from ..naming import oci_problem

# the usual name of Docker Hub is not the name of the host that serves it
_HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
_HUB_NAMES = (_HUB, "index.docker.io", _HUB_HOST)
_HOST = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A registry (``host[:port]``), and the path that all its repositories start with ("" for none)."""

    host: str
    prefix: str = ""
    plain_http: bool = False
    """Whether to connect without TLS."""

    @property
    def base_url(self) -> str:
        """The URL of the registry, without a path: for example ``https://registry.example.com``."""
        host = _HUB_HOST if self.host in _HUB_NAMES else self.host
        return f"{'http' if self.plain_http else 'https'}://{host}"

    @property
    def config_keys(self) -> tuple[str, ...]:
        """The keys under which Docker's config can store the registry's login."""
        if self.host in _HUB_NAMES:
            return ("https://index.docker.io/v1/", *_HUB_NAMES)
        return (self.host,)

    def repository(self, name: str) -> str:
        """The repository `name` under the prefix, without the host."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def reference(self, repository: str) -> str:
        """The repository with its host, as commands expect it."""
        return f"{self.host}/{repository}"

    def __str__(self) -> str:
        return self.reference(self.prefix) if self.prefix else self.host


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an IP address, without port) is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def parse_address(text: str, *, plain_http: bool = False) -> Address:
    """Parse a registry such as ``registry.example.com/team``, with an optional ``https://``, ``http://`` or ``oci://``.

    Plain HTTP is used for this machine, or, if `plain_http`, for any registry. Raises UsageError, which does not repeat
    a URL that contains credentials.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "", text
    if "@" in rest:
        raise UsageError(
            "the registry URL contains credentials",
            remediation="Remove them, and set PORTALIS_REGISTRY_USERNAME and PORTALIS_REGISTRY_PASSWORD.",
        )
    host, _, prefix = rest.rstrip("/").partition("/")
    problem = _address_problem(scheme, host, prefix)
    if problem:
        raise UsageError(
            f"invalid registry {text!r}: {problem}",
            remediation="Write host and path, for example registry.example.com/team.",
        )
    name = urlsplit(f"//{host}").hostname or ""
    if scheme == "http" and not (plain_http or is_loopback(name)):
        raise UsageError(
            f"{text} would be contacted without TLS",
            remediation="Use https://, or allow plain HTTP with --plain-http.",
        )
    return Address(
        host=host.lower(),
        prefix=prefix,
        plain_http=plain_http or scheme == "http" or (scheme == "" and is_loopback(name)),
    )


def _address_problem(scheme: str, host: str, prefix: str) -> str | None:
    if scheme not in ("", "http", "https", "oci"):
        return f"expected https://, http:// or oci://, got {scheme}://"
    if _HOST.fullmatch(host) is None:
        return f"{host!r} is not a host name"
    try:
        _ = urlsplit(f"//{host}").port
    except ValueError:
        return f"expected a port from 1 to 65535, got {host.rpartition(':')[2]}"
    # checked as the path of some host, because its first component can look like a host itself
    return f"{prefix!r} {problem}" if prefix and (problem := oci_problem(f"x/{prefix}")) else None
