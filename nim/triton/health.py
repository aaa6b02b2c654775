"""The health check of Dockerfile.triton's image: queries readiness at Triton's HTTP port.

The script runs in the container with the image's python3 and the standard library only. It takes the port from the
server's command line, which users can change. The exit status is 0 if Triton is ready, else 1, after printing the
reason.
"""

from __future__ import annotations

import http.client
import sys
from pathlib import Path

_HTTP_PORT = 8000
_TIMEOUT_S = 4


def main(command: list[str]) -> str:
    """The reason that Triton is not ready; "" if it is. `command` is its command line."""
    settings = options(command)
    if settings.get("allow-http", "true").lower() in ("false", "0"):
        return "Triton serves no HTTP (--allow-http=false): run the container with --no-healthcheck, or another check"
    address = settings.get("http-address", "0.0.0.0")  # noqa: S104 (Triton's default; the check connects to loopback)
    host = "127.0.0.1" if address in ("0.0.0.0", "::") else address  # noqa: S104
    port = settings.get("http-port", str(_HTTP_PORT))
    try:
        connection = http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT_S)
        connection.request("GET", "/v2/health/ready")
        status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{host}:{port} does not answer: {error}"
    return "" if status == http.client.OK else f"{host}:{port} is not ready (status {status})"


def options(command: list[str]) -> dict[str, str]:
    """The options of `command` with values, ``--name=value`` or ``--name value``; a later one overrides an earlier."""
    values = {}
    for argument, following in zip(command, [*command[1:], "--"]):
        name, is_given, value = argument.partition("=")
        if not name.startswith("--") or name == "--":
            continue
        if is_given:
            values[name[2:]] = value
        elif not following.startswith("--"):
            values[name[2:]] = following
    return values


if __name__ == "__main__":
    try:
        command_line = Path("/proc/1/cmdline").read_bytes()
    except OSError:
        command_line = b""
    reason = main([argument.decode(errors="replace") for argument in command_line.split(b"\0")[:-1]])
    sys.stdout.write(f"{reason or 'ready'}\n")
    sys.exit(1 if reason else 0)
