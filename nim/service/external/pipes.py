"""Talks with a process over its pipes within a time and a size, both sides at once."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from typing import IO

_CHUNK = 1 << 16


class TooMuchOutput(Exception):
    """The process has written more to a stream than it may."""


def exchange(process: subprocess.Popen[bytes], data: bytes, timeout_s: float, most: int) -> tuple[bytes, bytes]:
    """Send `data` to the standard input of `process` and read both its outputs until they end, and the process with
    them. Raises TimeoutError after `timeout_s`, TooMuchOutput past `most` bytes of one output; the process then still
    runs."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    until = time.monotonic() + timeout_s
    outputs: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    rest = memoryview(data)
    with selectors.DefaultSelector() as selector:
        for stream in outputs:
            selector.register(stream, selectors.EVENT_READ)
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if time.monotonic() >= until:
                raise TimeoutError
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    rest = _send(process.stdin, rest)
                    if not rest:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                stream = key.fileobj  # type: ignore[assignment]  # what was registered
                chunk = os.read(key.fd, _CHUNK)
                outputs[stream] += chunk
                if len(outputs[stream]) > most:
                    raise TooMuchOutput
                if not chunk:
                    selector.unregister(stream)
    try:
        process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return bytes(outputs[process.stdout]), bytes(outputs[process.stderr])


def _send(stream: IO[bytes], rest: memoryview) -> memoryview:
    """What is left of `rest`; nothing when the process does not want it."""
    try:
        return rest[os.write(stream.fileno(), rest[:_CHUNK]) :] if rest else rest
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[:0]
