"""Detects whether a server uses TLS or plain HTTP, for the error messages if it was contacted over the wrong one."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from .address import Address
from .errors import RegistryError

_PROBE_TIMEOUT_S = 3.0
# OpenSSL's reasons for a response that is not TLS
_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
)


def speaks_tls(url: str) -> bool:
    """Whether the server of `url` responds to a TLS handshake. No data is sent after the handshake."""
    parts = urlsplit(url)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host = parts.hostname or ""
    try:
        with (
            socket.create_connection((host, parts.port or 80), timeout=_PROBE_TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # the server rejects this client, but over TLS
    except (OSError, ValueError):
        return False


def tls_expected(address: Address) -> RegistryError:
    """The error for a registry that uses TLS, but was contacted over plain HTTP."""
    return RegistryError(
        f"{address.host} uses TLS, but was contacted over plain HTTP",
        remediation=f"Write https://{address}, without --plain-http: a registry on this machine is contacted over plain"
        " HTTP unless its URL starts with https://.",
    )


def plain_expected(address: Address) -> RegistryError:
    """The error for a registry that uses plain HTTP, but was contacted over TLS."""
    return RegistryError(
        f"{address.host} was contacted over TLS, but does not use it",
        remediation=f"If it uses plain HTTP, write http://{address}, and for a registry on another machine also"
        " --plain-http.",
    )


def is_not_tls(error: BaseException) -> bool:
    """Whether a TLS error means that the server's response was not TLS at all."""
    return any(reason in str(error).upper().replace(" ", "_") for reason in _NOT_TLS)
