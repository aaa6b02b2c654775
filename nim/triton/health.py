"""The health check of Dockerfile.triton's image: asks Triton's HTTP port whether it is ready to infer.

It runs in the container, by the image's python3 and without anything installed. The port is the one that the server's
own command line names, as arguments can change it. It ends with 0 when Triton is ready, else with 1 and the reason.
"""

from __future__ import annotations

import http.client
import sys
from pathlib import Path

HTTP_PORT = 8000
TIMEOUT_S = 4


def main(command: list[str]) -> str:
    """Why Triton is not ready, "" when it is. `command` is its command line."""
    given = options(command)
    if given.get("allow-http", "true").lower() in ("false", "0"):
        return "Triton has no HTTP port to ask (--allow-http): run the container with --no-healthcheck, or another one"
    address = given.get("http-address", "0.0.0.0")  # noqa: S104 (Triton's default, which is not what is connected to)
    host = "127.0.0.1" if address in ("0.0.0.0", "::") else address  # noqa: S104
    port = given.get("http-port", str(HTTP_PORT))
    try:
        connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)
        connection.request("GET", "/v2/health/ready")
        status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as problem:
        return f"{host}:{port} does not answer: {problem}"
    return "" if status == http.client.OK else f"{host}:{port} says that it is not ready (status {status})"


def options(command: list[str]) -> dict[str, str]:
    """The options of `command` that have a value: ``--name=value`` and ``--name value``; of several, the last."""
    found = {}
    for word, following in zip(command, [*command[1:], "--"]):
        name, is_given, value = word.partition("=")
        if not name.startswith("--") or name == "--":
            continue
        if is_given:
            found[name[2:]] = value
        elif not following.startswith("--"):
            found[name[2:]] = following
    return found


if __name__ == "__main__":
    try:
        first = Path("/proc/1/cmdline").read_bytes()
    except OSError:
        first = b""
    reason = main([word.decode(errors="replace") for word in first.split(b"\0")[:-1]])
    sys.stdout.write(f"{reason or 'ready'}\n")
    sys.exit(1 if reason else 0)
