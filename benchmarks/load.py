"""Load on an HTTP service: connections that send one prepared request again and again, at little cost of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import uvloop


def request_bytes(path: str, body: bytes, headers: Mapping[str, object]) -> bytes:
    """A POST request as it goes over the wire."""
    told = {"host": "127.0.0.1", "content-type": "application/json", "content-length": len(body), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def throughput(port: int, request: bytes, *, concurrency: int, seconds: float) -> float:
    """Answers in a second. Raises RuntimeError for any status but 200, or a connection that is closed."""
    return uvloop.run(_throughput(port, request, concurrency, seconds))


async def _throughput(port: int, request: bytes, concurrency: int, seconds: float) -> float:
    ends = time.perf_counter() + seconds
    began = time.perf_counter()
    counts = await asyncio.gather(*(_ask(port, request, ends) for _ in range(concurrency)))
    return sum(counts) / (time.perf_counter() - began)


async def _ask(port: int, request: bytes, ends: float) -> int:
    # the answer fits the reader's buffer: the transport is never paused
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
    count = 0
    try:
        while time.perf_counter() < ends:
            writer.write(request)
            await answer(reader)
            count += 1
    finally:
        writer.close()
    return count


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The body of the next answer."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        raise RuntimeError("the service closed the connection") from None
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(f"the service answered {head.splitlines()[0]!r}: {body[:200]!r}")
    return body
