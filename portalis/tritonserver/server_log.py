"""The log of a tritonserver: kept in a file or passed on to stderr, and searched for the errors of a failed start."""

from __future__ import annotations

import collections
import re
import sys
import threading
from pathlib import Path
from typing import IO

MAX_LINES = 12
_KEPT_LINES = 400
_RELAY_END_S = 2.0  # the pipe closes when the last process that holds it has ended
_SEVERE = re.compile(r"^E\d{4} \S+ \d+ \S+\] ?|^error: |^Error: |^\S*tritonserver: ")
# Triton logs these at each start without a GPU
_NOISE = ("NVML", "DCGM", "CudaDriver", "failed to load all models", "AsyncNotifyModelReady")


class ServerLog:
    """The output of a server and its models, in the file `path` or, without one, on this process's stderr.

    In the second case only the last `_KEPT_LINES` lines can be read back.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lines: collections.deque[bytes] = collections.deque(maxlen=_KEPT_LINES)
        self._relay: threading.Thread | None = None

    def relay(self, output: IO[bytes]) -> None:
        """Start to pass lines of `output`, a pipe, on to stderr."""
        self._relay = threading.Thread(target=self._pass_on, args=(output,), daemon=True)
        self._relay.start()

    def _pass_on(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._lines.append(line)
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()

    def finish(self) -> None:
        """Wait until the last lines of a server that has ended are read from the pipe."""
        if self._relay is not None:
            self._relay.join(_RELAY_END_S)

    def text(self) -> str:
        """The log so far."""
        if self.path is None or not self.path.exists():
            return b"".join(self._lines).decode(errors="replace")
        return self.path.read_text(errors="replace")

    def keep(self) -> None:
        """Keep the file's content in memory, because the file is about to be removed."""
        if self.path is not None and self.path.exists():
            self._lines.append(self.path.read_bytes())


def startup_errors(log: str) -> str:
    """The error lines of `log`, or its last lines if none is marked as an error, as the end of a message."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    severe = [
        _SEVERE.sub("", line) for line in lines if _SEVERE.match(line) and not any(word in line for word in _NOISE)
    ]
    chosen = list(dict.fromkeys(severe))[:MAX_LINES] or lines[-MAX_LINES:]
    if not chosen:
        return " (its log is empty)"
    return ":" + "".join(f"\n  {_unquote(line)}" for line in chosen)


def _unquote(line: str) -> str:
    """The message of a line that Triton logs as a quoted C string, without the backtrace after "At:"."""
    text = line.strip('"').replace("\\n", "\n").split("\n\nAt:")[0]
    return "\n    ".join(part for part in text.splitlines() if part.strip())
