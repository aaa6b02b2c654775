"""Streams of inference requests: each has a thread that reads requests, and one that sends the responses."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue

import grpc

MAX_OPEN_STREAMS = 256
"""Maximum number of open streams: each holds two threads."""
MAX_IN_STREAM = 64
"""Maximum number of requests of one stream in flight."""


class InferenceStream:
    """One call with a stream of requests. `submit` starts to answer a request."""

    def __init__(self, requests: Iterator[bytes], submit: Callable[[bytes], Future[bytes]]) -> None:
        self._requests, self._submit = requests, submit
        self._answers: SimpleQueue[Future[bytes] | None] = SimpleQueue()  # in the order of the requests
        self._running: set[Future[bytes]] = set()
        self._places = threading.Semaphore(MAX_IN_STREAM)
        self._ended = False

    def responses(self) -> Iterator[bytes]:
        """The responses in the order of the requests, several of which run concurrently."""
        reader = threading.Thread(
            target=contextvars.copy_context().run, args=(self._read,), name="gRPC stream", daemon=True
        )
        reader.start()
        try:
            while (answer := self._answers.get()) is not None:
                yield answer.result()
                self._places.release()
        except CancelledError:
            return  # the client has cancelled the call
        finally:
            self.end()
            self.cancel()

    def end(self) -> None:
        """Read no more requests, which clients can keep sending. The stream ends after the responses to the requests
        that were read."""
        self._ended = True
        self._answers.put(None)
        self._places.release()

    def cancel(self) -> None:
        """Cancel the requests in flight."""
        for answer in list(self._running):
            answer.cancel()

    def _read(self) -> None:
        try:
            for data in self._requests:
                if self._ended:
                    break
                answer = self._submit(data)
                self._running.add(answer)
                answer.add_done_callback(self._running.discard)
                self._answers.put(answer)
                self._places.acquire()
        except grpc.RpcError:
            self.cancel()  # the client has cancelled the call
        finally:
            self._answers.put(None)
