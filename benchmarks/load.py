"""Load generator for an HTTP service: connections that repeat one prepared request with little overhead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import uvloop


def request_bytes(path: str, body: bytes, headers: Mapping[str, object]) -> bytes:
    """A POST request, serialized as HTTP/1.1."""
    fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": len(body), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def throughput(port: int, request: bytes, *, concurrency: int, seconds: float) -> float:
    """Responses per second. Raises RuntimeError for a status other than 200 and for a closed connection."""
    return uvloop.run(_throughput(port, request, concurrency, seconds))


async def _throughput(port: int, request: bytes, concurrency: int, seconds: float) -> float:
    ends = time.perf_counter() + seconds
    start = time.perf_counter()
    counts = await asyncio.gather(*(_send_until(port, request, ends) for _ in range(concurrency)))
    return sum(counts) / (time.perf_counter() - start)


async def _send_until(port: int, request: bytes, ends: float) -> int:
    # the response fits the reader's buffer, so the transport is never paused
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
    count = 0
    try:
        while time.perf_counter() < ends:
            writer.write(request)
            await read_body(reader)
            count += 1
    finally:
        writer.close()
    return count


async def read_body(reader: asyncio.StreamReader) -> bytes:
    """The body of the next response."""
    try:
        header = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"transfer-encoding: chunked" in header:
            body = await _read_chunks(reader)
        else:
            body = await reader.readexactly(int(header.partition(b"content-length:")[2].partition(b"\r\n")[0]))
    except asyncio.IncompleteReadError:
        raise RuntimeError("the service closed the connection") from None
    if not header.startswith(b"http/1.1 200"):
        raise RuntimeError(f"the service responded {header.splitlines()[0]!r}: {body[:200]!r}")
    return body


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body
