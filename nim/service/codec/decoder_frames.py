"""The messages between the service and a decoder process, over the pipes of its standard input and output.

A job is pickled, since the service is trusted. A result has no form that could be executed: it is JSON and raw arrays.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import IO, Any, BinaryIO

import numpy as np

from ..request_errors import RequestError
from ..runtime_api import Interface, deserialize, object_array, serialize
from .binary_data import Body
from .parsed_request import RegionInput, RegionSlice

HTTP, GRPC = "http", "grpc"
"""The kinds of jobs."""
_LENGTHS = struct.Struct("<QQ")


@dataclass(frozen=True)
class DecoderResult:
    """The result of a job."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the ParsedRequest, without its arrays."""
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """The input arrays by name."""
    rest: bytes = b""
    """A gRPC message without its tensors."""
    error: RequestError | None = None
    failure: str = ""
    """The traceback of a bug."""
    ends: bool = False
    """Whether the process must not be used again."""


class DecoderEnded(Exception):
    """The process has ended before its result was complete."""


def decoding_memory_exceeded() -> RequestError:
    """The Python objects of a request need more memory than a decoder process may use."""
    text = "decoding the request takes too much memory; send its tensors as raw bytes"
    return RequestError(413, "RequestTooLargeError", text)


def write_job(pipe: IO[bytes], kind: str, options: Mapping[str, Any], body: Body) -> None:
    """Send a job of `kind`: the arguments of its function, and the body to decode."""
    job = pickle.dumps((kind, dict(options)))
    pipe.write(_LENGTHS.pack(len(job), len(body)) + job)
    pipe.write(body)
    pipe.flush()


def read_job(pipe: BinaryIO) -> tuple[str, dict[str, Any], bytearray] | None:
    """The next job; None at the end of the input."""
    lengths = pipe.read(_LENGTHS.size)
    if len(lengths) != _LENGTHS.size:
        return None
    job_size, body_size = _LENGTHS.unpack(lengths)
    kind, options = pickle.loads(pipe.read(job_size))  # noqa: S301  # the service wrote it
    body = bytearray(body_size)
    pipe.readinto(body)  # type: ignore[attr-defined]  # it is a BufferedReader
    return kind, options, body


def write_result(pipe: BinaryIO, result: DecoderResult) -> None:
    """Send the result of a job."""
    buffers = [_raw(array) for array in result.arrays.values()]
    error = result.error
    header = json.dumps(
        {
            "fields": result.fields,
            "error": error and [error.status, error.kind, error.message],
            "failure": result.failure,
            "ends": result.ends,
            "arrays": [
                [name, array.dtype.str, array.shape, len(buffer)]
                for (name, array), buffer in zip(result.arrays.items(), buffers)
            ],
        }
    ).encode()
    pipe.write(_LENGTHS.pack(len(header), len(result.rest)))
    pipe.writelines((header, result.rest, *buffers))
    pipe.flush()


def read_result(pipe: IO[bytes]) -> DecoderResult:
    """The result of a job. Raises DecoderEnded."""
    header_size, rest_size = _LENGTHS.unpack(_read(pipe, _LENGTHS.size))
    header = json.loads(_read(pipe, header_size))
    rest = bytes(_read(pipe, rest_size))
    arrays = {name: _array(pipe, *described) for name, *described in header["arrays"]}
    error = header["error"] and RequestError(*header["error"])
    return DecoderResult(header["fields"], arrays, rest, error, header["failure"], header["ends"])


def pack_region_inputs(inputs: Mapping[str, RegionInput]) -> dict[str, Any]:
    """`inputs` as JSON values of a result's fields."""
    return {name: [each.shape, astuple(each.place)] for name, each in inputs.items()}


def unpack_region_inputs(interface: Interface, packed: Mapping[str, Any]) -> dict[str, RegionInput]:
    """The inputs of `pack_region_inputs`, in a result for a model with `interface`."""
    specs = {spec.name: spec for spec in interface.inputs}
    return {
        name: RegionInput(specs[name], tuple(shape), RegionSlice(*place)) for name, (shape, place) in packed.items()
    }


def _raw(array: np.ndarray) -> bytes | memoryview:
    if array.dtype == object:
        return serialize(array.ravel().tolist())
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b""


def _array(pipe: IO[bytes], dtype: str, shape: list[int], size: int) -> np.ndarray:
    data = _read(pipe, size)
    if dtype == "|O":
        return object_array(deserialize(bytes(data)), tuple(shape))
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def _read(pipe: IO[bytes], size: int) -> bytearray:
    data = bytearray(size)
    if pipe.readinto(data) != size:  # type: ignore[attr-defined]  # it is a BufferedReader
        raise DecoderEnded
    return data
