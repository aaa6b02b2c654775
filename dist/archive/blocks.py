"""Compresses a stream block by block, several at a time; the bytes are the same however many workers there are."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

# what all workers of one archive may take together: with the program itself that stays below 200 MB
BUDGET_BYTES = 96 << 20
MOST_WORKERS = 16
HISTORY_BYTES = 32 << 10  # how far back deflate looks


class Compressor(Protocol):
    """What a stream is compressed by, as those of zlib, bz2 and lzma."""

    def compress(self, data: bytes, /) -> bytes:
        """What is compressed by now."""

    def flush(self) -> bytes:
        """The rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A piece of the stream, with the end of what came before it. Only the last may be empty."""

    data: bytes
    before: bytes
    last: bool


class Workers:
    """Threads for blocks; use with ``with``. One worker is the calling thread. The compressors let go of the
    interpreter's lock."""

    def __init__(self, count: int | None = None) -> None:
        self._wanted = count
        self._pool: ThreadPoolExecutor | None = None

    def count(self, worker_bytes: int) -> int:
        """How many run at a time, when each takes `worker_bytes` of memory."""
        return self._wanted or max(1, min(_cpus(), MOST_WORKERS, BUDGET_BYTES // worker_bytes))

    def submit(self, work: Callable[[Block], bytes], block: Block) -> Future[bytes]:
        """Have a thread do it. Raises MemoryError where the system gives no thread."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._wanted or MOST_WORKERS, thread_name_prefix="pack")
        try:
            return self._pool.submit(work, block)
        except RuntimeError as error:
            raise MemoryError(str(error)) from None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


class Blocks:
    """A compressor that cuts its input into blocks of `block_bytes` and gives each to `work`, in which a worker takes
    `worker_bytes` of memory."""

    def __init__(
        self, workers: Workers, work: Callable[[Block], bytes], *, block_bytes: int, worker_bytes: int
    ) -> None:
        self._workers, self._work, self._size = workers, work, block_bytes
        self._count = workers.count(worker_bytes)
        self._waiting: deque[Future[bytes]] = deque()
        self._input = bytearray()
        self._before = b""

    def compress(self, data: bytes, /) -> bytes:
        """Take in `data`; what is compressed by now, in order."""
        self._input += data
        done = bytearray()
        while len(self._input) > self._size:  # something is left for the last block, which is not empty then
            block = self._cut(last=False)
            if self._count == 1:
                done += self._work(block)
                continue
            self._waiting.append(self._workers.submit(self._work, block))
            # as many blocks wait as are worked on, and no more: that bounds the memory
            while len(self._waiting) > self._count:
                done += self._waiting.popleft().result()
        return bytes(done)

    def flush(self) -> bytes:
        """The rest."""
        last = self._work(self._cut(last=True))
        done = bytearray()
        while self._waiting:
            done += self._waiting.popleft().result()
        return bytes(done + last)

    def _cut(self, *, last: bool) -> Block:
        data = bytes(self._input[: self._size])
        del self._input[: self._size]
        block = Block(data=data, before=self._before, last=last)
        self._before = data[-HISTORY_BYTES:]
        return block


def _cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        return os.cpu_count() or 1
