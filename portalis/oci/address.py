"""Where a registry is, and how it is spoken to: over TLS, or in the clear where that is safe or was asked for."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import UsageError
from ..naming import oci_trouble

# the name that everybody gives Docker's own registry is not that of the host which serves it
_HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
_HUB_NAMES = (_HUB, "index.docker.io", _HUB_HOST)
_HOST = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A registry (``host[:port]``) and the folder in it that all names begin with, "" for none."""

    host: str
    prefix: str = ""
    plain_http: bool = False
    """Whether it is spoken to without TLS."""

    @property
    def base(self) -> str:
        """The URL that the registry's own paths go behind, such as ``https://registry.example.com``."""
        host = _HUB_HOST if self.host in _HUB_NAMES else self.host
        return f"{'http' if self.plain_http else 'https'}://{host}"

    @property
    def keys(self) -> tuple[str, ...]:
        """What Docker's config may know the registry by."""
        if self.host in _HUB_NAMES:
            return ("https://index.docker.io/v1/", *_HUB_NAMES)
        return (self.host,)

    def repository(self, name: str) -> str:
        """The repository `name` below the prefix, without the host."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def reference(self, repository: str) -> str:
        """A repository with its host, as it is written in commands."""
        return f"{self.host}/{repository}"

    def __str__(self) -> str:
        return self.reference(self.prefix) if self.prefix else self.host


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address, without port) is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def parse(text: str, *, plain_http: bool = False) -> Address:
    """The registry that a user names: ``registry.example.com/team``, with or without ``https://`` before it.

    Without TLS only this machine is spoken to, or, with `plain_http`, whatever is named. Raises UsageError, which does
    not repeat a URL that has credentials in it.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "", text
    if "@" in rest:
        raise UsageError(
            "the registry's URL has credentials in it",
            remediation="Leave them out, and set PORTALIS_REGISTRY_USERNAME and PORTALIS_REGISTRY_PASSWORD.",
        )
    host, _, prefix = rest.rstrip("/").partition("/")
    trouble = _trouble(scheme, host, prefix)
    if trouble:
        raise UsageError(
            f"{text!r} is no registry: {trouble}",
            remediation="Write host and folder, such as registry.example.com/team.",
        )
    name = urlsplit(f"//{host}").hostname or ""
    if scheme == "http" and not (plain_http or is_loopback(name)):
        raise UsageError(
            f"{text} would be spoken to without TLS", remediation="Use https, or say --plain-http if you mean it."
        )
    in_the_clear = plain_http or scheme == "http" or (scheme == "" and is_loopback(name))
    return Address(host=host.lower(), prefix=prefix, plain_http=in_the_clear)


def _trouble(scheme: str, host: str, prefix: str) -> str | None:
    if scheme not in ("", "http", "https", "oci"):
        return f"{scheme}:// is not how a registry is reached"
    if _HOST.fullmatch(host) is None:
        return f"{host!r} is no host"
    try:
        _ = urlsplit(f"//{host}").port
    except ValueError:
        return f"{host!r} has a port that there cannot be"
    # as a component of a path: its first part may look like a host, and is none
    return f"{prefix!r} {trouble}" if prefix and (trouble := oci_trouble(f"x/{prefix}")) else None
