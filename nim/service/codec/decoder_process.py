"""The process that decodes large requests: ``python -m …codec.decoder_process BYTES``, started by `decoder_pool`.

Decoding JSON creates a Python object for each element, under the interpreter's lock: in the service's own process that
would stop all other requests, health among them, for seconds. Here it costs the memory of a process that may be killed.
It answers on standard output what `decoders` reads: nothing that could be executed, only JSON and raw arrays.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import signal
import struct
import sys
import traceback
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from ..memory_budget import malloc_trim
from ..request_errors import RequestError, input_error
from ..runtime_api import Interface, serialize
from .request import Question, understood

LENGTHS = struct.Struct("<QQ")
HTTP, GRPC = "http", "grpc"


def main(max_bytes: int) -> None:
    """Answer jobs until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the service, which ends this
    # what a request makes is a tree, freed as a whole: looking through it for cycles takes most of the time
    gc.disable()
    _confine(max_bytes)
    trim = malloc_trim()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(lengths := source.read(LENGTHS.size)) == LENGTHS.size:
        about, size = LENGTHS.unpack(lengths)
        job = pickle.loads(source.read(about))  # noqa: S301  # the service wrote it
        body = bytearray(size)
        source.readinto(body)  # type: ignore[union-attr]  # it is a BufferedReader
        _answer(sink, job, body)
        del body
        if trim is not None:
            trim(0)


def _confine(max_bytes: int) -> None:
    """Of memory `max_bytes` and no more: a request can be built so that its objects take 30 times its size. And of
    CPUs what the service leaves."""
    if sys.platform == "win32":
        return
    import resource

    os.nice(5)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, max_bytes))


def _answer(sink: BinaryIO, job: Mapping[str, Any], body: bytearray) -> None:
    arrays: dict[str, np.ndarray] = {}
    rest = b""
    try:
        if job["kind"] == HTTP:
            told, arrays = _http(body, **job["how"])
        else:
            told, arrays, rest = _grpc(body, **job["how"])
    except RequestError as problem:
        told = {"problem": [problem.status, problem.kind, problem.message]}
    except (MemoryError, SystemError) as error:  # orjson makes the second of the first
        if not isinstance(error, MemoryError) and not isinstance(error.__cause__, MemoryError):
            raise
        told = {"problem": too_much_memory(), "ends": True}  # who knows what else was not made
    except Exception:  # noqa: BLE001  # the service logs it and answers as for every error of its own
        told = {"failure": traceback.format_exc()}
    raw = [_raw(array) for array in arrays.values()]
    told["arrays"] = [
        [name, array.dtype.str, array.shape, len(data)] for (name, array), data in zip(arrays.items(), raw)
    ]
    head = json.dumps(told).encode()
    sink.write(LENGTHS.pack(len(head), len(rest)))
    sink.writelines((head, rest, *raw))
    sink.flush()


def _raw(array: np.ndarray) -> bytes | memoryview:
    if array.dtype == object:
        return serialize(array.ravel().tolist())
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b""


def _http(body: bytearray, *, interface: Interface, length: str | None, v2: bool) -> tuple[dict[str, Any], Any]:
    question: Question = understood(interface, body, length, v2=v2)
    fields = {name: getattr(question, name) for name in question.__dataclass_fields__}
    arrays = fields.pop("inputs")
    fields["outputs"] = [[spec.name, binary] for spec, binary in question.outputs]
    return {"fields": fields}, arrays


def _grpc(body: bytearray, *, interface: Interface) -> tuple[dict[str, Any], Any, bytes]:
    from google.protobuf.message import DecodeError
    from tritonclient.grpc import service_pb2 as pb

    from .protobuf_tensors import inputs_of

    try:
        request = pb.ModelInferRequest.FromString(bytes(body))
    except DecodeError:
        raise input_error("the request is no message of type inference.ModelInferRequest") from None
    arrays = inputs_of(interface, request, thorough=True)
    del request.inputs[:], request.raw_input_contents[:]
    return {}, arrays, request.SerializeToString()


def too_much_memory() -> tuple[int, str, str]:
    """The RequestError of a request whose objects do not fit into the memory that they may take."""
    return 413, "RequestTooLargeError", "the request takes too much memory to be decoded; send its tensors as raw bytes"


if __name__ == "__main__":
    main(int(sys.argv[1]))
