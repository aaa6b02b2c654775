"""The health check of an image: ``python -m portalis_service.probe PATH…`` requests each path from the service.

It exits with 0 if every response has status 200. Images need no curl for it, and it imports the standard library only,
because it is a new process every few seconds.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Sequence
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from .ports import service_port

TIMEOUT_S = 60.0  # only ends an abandoned probe: the container engine has a shorter limit of its own


def health_problem(paths: Sequence[str], port: int) -> str:
    """The first failed request among `paths` to the service on `port`; "" if every response has status 200."""
    opener = build_opener(ProxyHandler({}))  # no proxy from the environment: the request goes to loopback
    for path in paths:
        try:
            with opener.open(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_S) as response:
                status, text = response.status, ""
        except HTTPError as error:
            status, text = error.code, error.read(2000).decode(errors="replace")
        except (URLError, OSError, http.client.HTTPException) as error:
            return f"{path}: no response on port {port}: {getattr(error, 'reason', error)}"
        if status != 200:
            return f"{path}: {status} {text}"
    return ""


def main(arguments: Sequence[str]) -> int:
    """Print "ok" or the problem to standard output, which `docker inspect` shows; returns the exit status, 0 or 1."""
    try:
        problem = health_problem(arguments or ["/v1/health/ready"], service_port())
    except ValueError as error:
        problem = str(error)
    sys.stdout.write(f"{problem or 'ok'}\n")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
