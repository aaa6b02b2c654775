"""Parallel compression of a stream in blocks. The compressed bytes do not depend on the number of workers."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

# memory of all workers of one archive: together with the rest of the process, less than 200 MB
BUDGET_BYTES = 96 << 20
MAX_WORKERS = 16
HISTORY_BYTES = 32 << 10  # deflate's window


class Compressor(Protocol):
    """An incremental compressor, as in zlib, bz2 and lzma."""

    def compress(self, data: bytes, /) -> bytes:
        """Add `data`, and return the compressed bytes that are ready."""

    def flush(self) -> bytes:
        """Return the remaining compressed bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of the stream, with the last bytes before it (`history`). Only the last block can be empty."""

    data: bytes
    history: bytes
    last: bool


class CompressionWorkers:
    """Threads that compress blocks, for use with ``with``. A single worker is the calling thread. Threads run in
    parallel because the compressors release the interpreter lock."""

    def __init__(self, count: int | None = None) -> None:
        self._requested = count
        self._pool: ThreadPoolExecutor | None = None

    def count(self, worker_bytes: int) -> int:
        """Number of workers that run concurrently, if each needs `worker_bytes` of memory."""
        return self._requested or max(1, min(_processor_count(), MAX_WORKERS, BUDGET_BYTES // worker_bytes))

    def submit(self, work: Callable[[Block], bytes], block: Block) -> Future[bytes]:
        """Run `work` in a thread. Raises MemoryError if the operating system cannot start one."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._requested or MAX_WORKERS, thread_name_prefix="pack")
        try:
            return self._pool.submit(work, block)
        except RuntimeError as error:
            raise MemoryError(str(error)) from None

    def __enter__(self) -> CompressionWorkers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


class BlockCompressor:
    """A compressor that splits its input into blocks of `block_bytes` and compresses each with `work`, which needs
    `worker_bytes` of memory per worker."""

    def __init__(
        self, workers: CompressionWorkers, work: Callable[[Block], bytes], *, block_bytes: int, worker_bytes: int
    ) -> None:
        self._workers, self._work, self._size = workers, work, block_bytes
        self._count = workers.count(worker_bytes)
        self._pending: deque[Future[bytes]] = deque()
        self._input = bytearray()
        self._history = b""

    def compress(self, data: bytes, /) -> bytes:
        """Add `data`, and return the compressed bytes that are ready, in order."""
        self._input += data
        compressed = bytearray()
        while len(self._input) > self._size:  # keeps some input, so that the last block is not empty
            block = self._cut(last=False)
            if self._count == 1:
                compressed += self._work(block)
                continue
            self._pending.append(self._workers.submit(self._work, block))
            # at most as many blocks are pending as there are workers: this bounds the memory
            while len(self._pending) > self._count:
                compressed += self._pending.popleft().result()
        return bytes(compressed)

    def flush(self) -> bytes:
        """Return the remaining compressed bytes."""
        last = self._work(self._cut(last=True))
        compressed = bytearray()
        while self._pending:
            compressed += self._pending.popleft().result()
        return bytes(compressed + last)

    def _cut(self, *, last: bool) -> Block:
        data = bytes(self._input[: self._size])
        del self._input[: self._size]
        block = Block(data=data, history=self._history, last=last)
        self._history = data[-HISTORY_BYTES:]
        return block


def _processor_count() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # available on Linux only
        return os.cpu_count() or 1
