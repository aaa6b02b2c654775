"""Picks from a Triton log the lines that say why a server did not start."""

from __future__ import annotations

import re

MAX_LINES = 12
SEVERE = re.compile(r"^E\d{4} \S+ \d+ \S+\] ?|^error: |^Error: |^\S*tritonserver: ")
# Triton says these at each start without a GPU
NOISE = ("NVML", "DCGM", "CudaDriver", "failed to load all models", "AsyncNotifyModelReady")


def why_it_failed(log: str) -> str:
    """The error lines of `log`, ready to follow a message; the last lines when none is marked as an error."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    severe = [SEVERE.sub("", line) for line in lines if SEVERE.match(line) and not any(word in line for word in NOISE)]
    chosen = list(dict.fromkeys(severe))[:MAX_LINES] or lines[-MAX_LINES:]
    if not chosen:
        return " (its log is empty)"
    return ":" + "".join(f"\n  {_unquote(line)}" for line in chosen)


def _unquote(line: str) -> str:
    """Triton logs messages as quoted C strings; its backtraces (after "At:") help nobody who runs a server."""
    text = line.strip('"').replace("\\n", "\n").split("\n\nAt:")[0]
    return "\n    ".join(part for part in text.splitlines() if part.strip())
