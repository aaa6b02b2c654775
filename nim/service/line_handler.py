"""A logging handler that writes the lines of many requests together: a system call for each would take longer than
everything else that is done for the log."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import AbstractContextManager
from typing import TextIO

FLUSH_S = 0.05
"""Maximum time in seconds for which a line waits for others."""
MAX_LINES = 256
"""Maximum number of lines that wait."""


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes records to `stream` at once, in order with the lines of `add_line`, which wait for at most `FLUSH_S`. If
    the process is killed, these are lost."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def add_line(self, line: str) -> None:
        """Write `line`, which ends with a line break, soon."""
        with self._held_lock():
            self._lines.append(line)
            waiting = len(self._lines)
            if waiting >= MAX_LINES:
                self._write_lines()
            if self._thread is None:
                self._thread = threading.Thread(target=self._flush_regularly, name="log", daemon=True)
                self._thread.start()
        if waiting == 1:
            self._wake.set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record` after the lines that wait."""
        self._write_lines()
        super().emit(record)

    def flush(self) -> None:
        """Write the lines that wait."""
        with self._held_lock():
            self._write_lines()
        super().flush()

    def _held_lock(self) -> AbstractContextManager[object]:
        assert self.lock is not None, "created by the base class"
        return self.lock

    def _write_lines(self) -> None:
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            self.stream.write("".join(lines))
            super().flush()
        except Exception:  # noqa: BLE001  # as in the base class, a full disk does not end the service
            self.handleError(logging.makeLogRecord({"msg": "%d lines of the access log", "args": (len(lines),)}))

    def _flush_regularly(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            time.sleep(FLUSH_S)
            self.flush()
