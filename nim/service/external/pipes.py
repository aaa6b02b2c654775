"""Exchanges data with a process over its pipes, within a deadline and a maximum size."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from typing import IO

_CHUNK_BYTES = 1 << 16


class OutputLimitExceeded(Exception):
    """The process has written more than the allowed number of bytes to one stream."""


def communicate(process: subprocess.Popen[bytes], data: bytes, timeout_s: float, max_bytes: int) -> tuple[bytes, bytes]:
    """Send `data` to the standard input of `process`; returns its standard output and standard error once it has ended.

    Input is written while both outputs are read, so that neither process blocks the other. Raises TimeoutError after
    `timeout_s`, and OutputLimitExceeded if one output exceeds `max_bytes`; in both cases the process is still running.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + timeout_s
    outputs: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    remaining = memoryview(data)
    with selectors.DefaultSelector() as selector:
        for stream in outputs:
            selector.register(stream, selectors.EVENT_READ)
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if time.monotonic() >= deadline:
                raise TimeoutError
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    remaining = _send(process.stdin, remaining)
                    if not remaining:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                stream = key.fileobj  # type: ignore[assignment]  # one of the two registered streams
                chunk = os.read(key.fd, _CHUNK_BYTES)
                outputs[stream] += chunk
                if len(outputs[stream]) > max_bytes:
                    raise OutputLimitExceeded
                if not chunk:
                    selector.unregister(stream)
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return bytes(outputs[process.stdout]), bytes(outputs[process.stderr])


def _send(stream: IO[bytes], remaining: memoryview) -> memoryview:
    """Write the next chunk; returns the unsent remainder, empty once the process has closed its input."""
    try:
        return remaining[os.write(stream.fileno(), remaining[:_CHUNK_BYTES]) :] if remaining else remaining
    except BlockingIOError:
        return remaining
    except BrokenPipeError:
        return remaining[:0]
