"""Whether a server speaks TLS or plain HTTP: for the message where it was asked in the other one."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from .address import Address
from .errors import RegistryError

_PROBE_S = 3.0
# how OpenSSL calls an answer that is no TLS
_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
)


def speaks_tls(base: str) -> bool:
    """Whether the server of the URL `base` answers a TLS handshake. Nothing is sent to it."""
    parts = urlsplit(base)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host = parts.hostname or ""
    try:
        with (
            socket.create_connection((host, parts.port or 80), timeout=_PROBE_S) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return True
    except ssl.SSLError as problem:
        return "ALERT" in (problem.reason or "")  # it refuses this client, in TLS
    except (OSError, ValueError):
        return False


def tls_expected(address: Address) -> RegistryError:
    """The error for a registry that speaks TLS, and was asked over plain HTTP."""
    return RegistryError(
        f"{address.host} speaks TLS, and was asked over plain HTTP",
        remediation=f"Name it as https://{address}, without --plain-http: without https://, a registry on this machine"
        " is asked over plain HTTP.",
    )


def plain_expected(address: Address) -> RegistryError:
    """The error for a registry that speaks plain HTTP, and was asked over TLS."""
    return RegistryError(
        f"{address.host} was asked over TLS, and does not speak it",
        remediation=f"If it speaks plain HTTP, name it as http://{address}; one on another machine needs --plain-http"
        " too.",
    )


def is_not_tls(problem: BaseException) -> bool:
    """Whether a TLS error says that the server's answer was no TLS at all."""
    return any(word in str(problem).upper().replace(" ", "_") for word in _NOT_TLS)
