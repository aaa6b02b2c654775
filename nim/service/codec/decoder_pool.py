"""The processes that decode large requests. A few are started on demand, and ended after they have been idle for a
while, which returns their memory to the operating system."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..request_errors import RequestError
from ..runtime_api import Interface
from ..sequence_step import SequenceStep
from .binary_data import Body
from .decoder_frames import (
    GRPC,
    HTTP,
    DecoderEnded,
    DecoderResult,
    decoding_memory_exceeded,
    read_result,
    unpack_region_inputs,
    write_job,
)
from .parsed_request import OutputRequest, ParsedRequest, RegionSlice, RequestInputs

TIMEOUT_S, IDLE_S = 60.0, 30.0
"""Time limit in seconds for decoding a request, and idle time after which a process is ended."""
BASE_MEMORY_BYTES, MEMORY_FACTOR = 256 << 20, 20
"""Memory of a process: a base, and a multiple of the largest request."""


class DecoderPool:
    """The decoder processes of a service whose requests have at most `max_request_bytes`. It belongs to one event
    loop."""

    def __init__(self, max_request_bytes: int) -> None:
        self._memory_bytes = BASE_MEMORY_BYTES + MEMORY_FACTOR * max_request_bytes
        max_processes = 2 if (os.cpu_count() or 1) > 2 else 1
        self._slots = asyncio.Semaphore(max_processes)
        self._threads = ThreadPoolExecutor(max_processes, "decoder")
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def decode_http(
        self, interface: Interface, body: Body, header_length: str | None, *, v2: bool
    ) -> ParsedRequest:
        """The same as `parse_request`."""
        result = await self._decode(HTTP, body, interface=interface, header_length=header_length, v2=v2)
        specs = {spec.name: spec for spec in interface.outputs}
        outputs = [
            OutputRequest(specs[name], binary, classes, place and RegionSlice(*place))
            for name, binary, classes, place in result.fields["outputs"]
        ]
        inputs = _inputs(interface, result)
        fields = {"inputs": inputs.arrays, "outputs": outputs, "region_inputs": inputs.in_regions}
        fields["sequence"] = SequenceStep(*result.fields["sequence"])
        return ParsedRequest(**{**result.fields, **fields})

    async def decode_grpc(self, interface: Interface, message: bytes) -> tuple[bytes, RequestInputs]:
        """The serialized ModelInferRequest `message` without its tensors, and its inputs. Raises RequestError."""
        result = await self._decode(GRPC, message, interface=interface)
        return result.rest, _inputs(interface, result)

    def close(self) -> None:
        """End all processes."""
        for process in list(self._all):
            process.kill()
            self._threads.submit(process.reap)
        self._threads.shutdown(wait=False)

    async def _decode(self, kind: str, body: Body, **options: Any) -> DecoderResult:
        loop = asyncio.get_running_loop()
        async with self._slots:
            process = self._idle.pop() if self._idle else _Process(self._memory_bytes)
            self._all.add(process)
            work = loop.run_in_executor(self._threads, process.decode, kind, options, body)
            try:
                result = await asyncio.wait_for(asyncio.shield(work), TIMEOUT_S)
            except asyncio.TimeoutError:
                text = f"the request was not decoded within {TIMEOUT_S:g} s"
                raise RequestError(504, "RequestTimeoutError", text) from None
            except DecoderEnded:  # killed for its memory, by its own limit or by the operating system
                raise decoding_memory_exceeded() from None
            finally:
                if not work.done() or work.cancelled() or work.exception() is not None or work.result().ends:
                    work.add_done_callback(lambda done: done.cancelled() or done.exception())
                    self._end(process)
                else:
                    self._idle.append(process)
                    self._end_idle_later(loop)
        if result.failure:
            raise RuntimeError(f"a request could not be decoded:\n{result.failure}")
        if result.error is not None:
            raise result.error
        return result

    def _end_idle_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(IDLE_S, self._end_idle)

    def _end_idle(self) -> None:
        while self._idle:
            self._end(self._idle.pop())

    def _end(self, process: _Process) -> None:
        self._all.discard(process)
        process.kill()
        self._threads.submit(process.reap)  # freeing gigabytes takes a moment


def _inputs(interface: Interface, result: DecoderResult) -> RequestInputs:
    return RequestInputs(dict(result.arrays), unpack_region_inputs(interface, result.fields["region_inputs"]))


class _Process:
    """One decoder process, started by its first job."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes, self._killed = memory_bytes, False
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, kind: str, options: Mapping[str, Any], body: Body) -> DecoderResult:
        """The result of one job. It blocks, so it runs in a thread. Raises DecoderEnded."""
        process = self._process or self._start()
        assert process.stdin is not None, "it is a pipe"
        assert process.stdout is not None, "it is a pipe"
        try:
            write_job(process.stdin, kind, options, body)
            return read_result(process.stdout)
        except OSError:
            raise DecoderEnded from None

    def kill(self) -> None:
        """Kill the process, even while it decodes."""
        self._killed = True
        if self._process is not None:
            self._process.kill()

    def reap(self) -> None:
        """Wait for the end of the killed process. It runs in a thread that does not read from the process any more."""
        if self._process is not None:
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):  # data that could not be written any more
                    pipe.close()  # type: ignore[union-attr]  # both are pipes

    def _start(self) -> subprocess.Popen[bytes]:
        package = __package__ or ""
        root = Path(sys.modules[package.partition(".")[0]].__path__[0]).parent
        paths = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH", ""))))
        one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{package}.decoder_process", str(self._memory_bytes)],
            env={**os.environ, **one_thread, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if self._killed:
            self._process.kill()
        return self._process
