"""The sockets on which the service listens. They are opened before anything large is imported: an error is reported at
once."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from .ports import VARIABLES, port_source
from .settings import ServiceSettings


class PortUnavailable(Exception):
    """The service cannot listen on a port. The message names the port, the reason and the setting to change."""


def open_listener(
    settings: ServiceSettings, key: str, host: str, port_options: Mapping[str, str] | None = None
) -> socket.socket:
    """A socket that listens on the port of the setting `key`. Raises PortUnavailable, also if another process listens
    on it; the message names the environment variable, or the option of `port_options`."""
    port: int = getattr(settings, key)
    listener = _socket(host)
    if os.name == "posix":  # on Windows the option would let two processes listen on one port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1)  # two sockets can bind the same port, but only one can listen on it
    except OSError as error:
        listener.close()
        source, option = (port_options[key],) * 2 if port_options else (port_source(key), VARIABLES[key][0])
        raise PortUnavailable(
            f"cannot listen on {host}:{port} ({source}): {error.strerror}; choose another port with {option}"
        ) from None
    return listener


def reserve_shared_port(
    settings: ServiceSettings, key: str, host: str, port_options: Mapping[str, str] | None = None
) -> socket.socket:
    """A socket that does not listen. While it is open, only processes of this user that set SO_REUSEPORT, as the
    workers of this service, can listen on the port. Linux only. Raises PortUnavailable."""
    open_listener(settings, key, host, port_options).close()
    holder = _socket(host)
    try:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            holder.setsockopt(socket.SOL_SOCKET, option, 1)
        holder.bind((host, getattr(settings, key)))
        # needed to bind despite old connections; from now on it would let other services listen
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError:
        holder.close()
        raise
    return holder


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
