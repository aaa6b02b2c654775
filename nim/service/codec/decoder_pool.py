"""The processes that decode large requests: few, started when the first such request comes, and ended when none has
come for a while, so that the memory that they took goes back to the system."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..request_errors import RequestError
from ..runtime_api import Interface, deserialize, object_array
from .binary_data import Body
from .decoder_process import GRPC, HTTP, LENGTHS, too_much_memory
from .request import Question

LARGE_BYTES = 1 << 18
"""From here on a request is decoded in a process of its own: here it would hold the interpreter's lock for more than
some 10 ms."""
_TIME_S, _IDLE_S = 60.0, 30.0
_MEMORY_BASE, _MEMORY_TIMES = 256 << 20, 20  # of a process: beside the request, and as a multiple of it


class _Ended(Exception):
    """The process has ended before it answered."""


@dataclass(frozen=True)
class Decoded:
    """What a process answers: fields of the request, its arrays by name, and what is left of a gRPC message. With
    `ends` it is not to be used again."""

    fields: dict[str, Any]
    arrays: dict[str, np.ndarray]
    rest: bytes
    ends: bool


class Decoders:
    """The processes of a service whose requests have at most `max_request_bytes`. They belong to one event loop."""

    def __init__(self, max_request_bytes: int) -> None:
        self._memory = _MEMORY_BASE + _MEMORY_TIMES * max_request_bytes
        self._most = 2 if (os.cpu_count() or 1) > 2 else 1
        self._slots = asyncio.Semaphore(self._most)
        self._threads = ThreadPoolExecutor(self._most, "decoder")
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def http(self, interface: Interface, body: Body, length: str | None, *, v2: bool) -> Question:
        """As `inference.understood`."""
        found = await self._decoded(HTTP, body, interface=interface, length=length, v2=v2)
        specs = {spec.name: spec for spec in interface.outputs}
        outputs = [(specs[name], binary) for name, binary in found.fields.pop("outputs")]
        return Question(inputs=found.arrays, outputs=outputs, **found.fields)

    async def grpc(self, interface: Interface, message: bytes) -> tuple[bytes, dict[str, np.ndarray]]:
        """The ModelInferRequest `message` without its tensors, and these as arrays. Raises RequestError."""
        found = await self._decoded(GRPC, message, interface=interface)
        return found.rest, found.arrays

    def close(self) -> None:
        """End all processes."""
        for process in list(self._all):
            process.kill()
            self._threads.submit(process.reap)
        self._threads.shutdown(wait=False)

    async def _decoded(self, kind: str, body: Body, **how: Any) -> Decoded:
        loop = asyncio.get_running_loop()
        async with self._slots:
            process = self._idle.pop() if self._idle else _Process(self._memory)
            self._all.add(process)
            work = loop.run_in_executor(self._threads, process.decode, {"kind": kind, "how": how}, body)
            try:
                found = await asyncio.wait_for(asyncio.shield(work), _TIME_S)
            except asyncio.TimeoutError:
                raise RequestError(
                    504, "RequestTimeoutError", f"the request was not decoded within {_TIME_S:g} s"
                ) from None
            except _Ended:  # killed for its memory, by its own limit or by the system
                raise RequestError(*too_much_memory()) from None
            finally:
                if not work.done() or work.cancelled() or work.exception() is not None or work.result().ends:
                    work.add_done_callback(lambda done: done.cancelled() or done.exception())
                    self._end(process)
                else:
                    self._idle.append(process)
                    self._end_idle_later(loop)
        if "failure" in found.fields:
            raise RuntimeError(f"a request could not be decoded:\n{found.fields['failure']}")
        if "problem" in found.fields:
            raise RequestError(*found.fields["problem"])
        return found

    def _end_idle_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(_IDLE_S, self._end_idle)

    def _end_idle(self) -> None:
        while self._idle:
            self._end(self._idle.pop())

    def _end(self, process: _Process) -> None:
        self._all.discard(process)
        process.kill()
        self._threads.submit(process.reap)  # freeing gigabytes takes a moment


class _Process:
    """One process, which is started by its first request."""

    def __init__(self, memory: int) -> None:
        self._memory, self._killed = memory, False
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, job: Mapping[str, Any], body: Body) -> Decoded:
        """Send `job` and `body`; read the answer. It runs in a thread. Raises _Ended."""
        process = self._process or self._start()
        assert process.stdin is not None, "it is a pipe"
        assert process.stdout is not None, "it is a pipe"
        about = pickle.dumps(job)
        try:
            process.stdin.write(LENGTHS.pack(len(about), len(body)) + about)
            process.stdin.write(body)
            process.stdin.flush()
            told, rest = LENGTHS.unpack(_read(process.stdout, LENGTHS.size))
            head = json.loads(_read(process.stdout, told))
            fields = head if head.keys() & {"problem", "failure"} else head.get("fields", {})
            left = bytes(_read(process.stdout, rest))
            arrays = {name: _array(process.stdout, *which) for name, *which in head["arrays"]}
        except OSError:
            raise _Ended from None
        return Decoded(fields, arrays, left, "ends" in head)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._killed = True
        if self._process is not None:
            self._process.kill()

    def reap(self) -> None:
        """Wait for its end, in a thread in which it is not read any more."""
        if self._process is not None:
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):  # what could not be written any more
                    pipe.close()  # type: ignore[union-attr]  # both are pipes

    def _start(self) -> subprocess.Popen[bytes]:
        package = __package__ or ""
        root = Path(sys.modules[package.partition(".")[0]].__path__[0]).parent
        paths = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH", ""))))
        one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{package}.decoder_process", str(self._memory)],
            env={**os.environ, **one_thread, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if self._killed:
            self._process.kill()
        return self._process


def _read(pipe: IO[bytes], size: int) -> bytearray:
    data = bytearray(size)
    if pipe.readinto(data) != size:  # type: ignore[attr-defined]
        raise _Ended
    return data


def _array(pipe: IO[bytes], dtype: str, shape: list[int], size: int) -> np.ndarray:
    data = _read(pipe, size)
    if dtype == "|O":
        return object_array(deserialize(bytes(data)), tuple(shape))
    return np.frombuffer(data, dtype=dtype).reshape(shape)
