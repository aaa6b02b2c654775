"""The health check of an image: ``python -m portalis_service.probe PATH…`` asks the service for each path on loopback
and exits with 0 when all answer with 200. It needs no curl, and imports the standard library only.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Sequence
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from .ports import service_port

TIMEOUT_S = 60.0  # the engine's own limit is the one that counts; this one only ends a probe that was forgotten


def ask(paths: Sequence[str], port: int) -> str:
    """What is wrong with the service on `port`, "" when it answers each of `paths` with 200."""
    opener = build_opener(ProxyHandler({}))  # a proxy from the environment is not for loopback
    for path in paths:
        try:
            with opener.open(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_S) as answer:
                status, text = answer.status, ""
        except HTTPError as refusal:
            status, text = refusal.code, refusal.read(2000).decode(errors="replace")
        except (URLError, OSError, http.client.HTTPException) as problem:
            return f"{path}: no answer on port {port}: {getattr(problem, 'reason', problem)}"
        if status != 200:
            return f"{path}: {status} {text}"
    return ""


def main(arguments: Sequence[str]) -> int:
    """The exit status, 0 or 1; what is wrong goes to standard output, which `docker inspect` shows."""
    try:
        problem = ask(arguments or ["/v1/health/ready"], service_port())
    except ValueError as wrong:
        problem = str(wrong)
    sys.stdout.write(f"{problem or 'ok'}\n")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
