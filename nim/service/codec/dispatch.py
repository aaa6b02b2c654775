"""The entry to decoding and encoding: chooses where each runs, on the event loop, in a thread or in a process."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import numpy as np

from ..memory_budget import MemoryShare
from ..request_errors import input_error, memory_exhausted, response_too_large
from ..runtime_api import Interface
from .binary_data import Body, json_length
from .classification import Labels, classified
from .compressed_messages import CompressedMessage
from .compression import compress, decompress, inflate
from .decoder_pool import DecoderPool
from .parsed_request import ParsedRequest
from .protobuf_messages import LargeRequest, pb
from .protobuf_tensors import encode_bytes, encode_message, parse_infer_request
from .repeated_requests import RepeatedRequests
from .request import LARGE_BYTES, SMALL_BYTES, parse_request
from .response import EncodedResponse, encode_response, payload_bytes

Result = TypeVar("Result")
_FEW_ELEMENTS = 1 << 10  # elements whose classes are found on the event loop
_QUICKLY_COMPRESSED_BYTES = 1 << 13  # compressed in the time that switching to a thread takes
Cancellable = Callable[[Awaitable[ParsedRequest]], Awaitable[ParsedRequest]]


class Codec:
    """Decodes the requests and encodes the responses of one service. It belongs to one event loop.

    Small bodies are processed on the event loop, medium ones in one of `workers` threads. A large request of many
    objects is decoded in a separate process, since Python decodes it under the interpreter's lock.
    """

    def __init__(self, workers: int, max_request_bytes: int, max_response_bytes: int) -> None:
        self._max_request_bytes, self._max_response_bytes = max_request_bytes, max_response_bytes
        self._limiter = anyio.CapacityLimiter(workers)
        self._decoders = DecoderPool(max_request_bytes)
        self._repeated = RepeatedRequests()
        self.parse_grpc = self._repeated.parse_grpc
        """Decodes a ModelInferRequest, for any thread."""

    def close(self) -> None:
        """End the decoder processes."""
        self._decoders.close()

    async def in_thread(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """The result of ``work(*arguments)``, which runs in a worker thread."""
        return await anyio.to_thread.run_sync(work, *arguments, limiter=self._limiter)

    async def decode_http(
        self,
        interface: Interface,
        body: Body,
        *,
        content_encoding: str | None,
        header_length: str | None,
        v2: bool,
        share: MemoryShare,
        cancellable: Cancellable,
    ) -> ParsedRequest:
        """The request in `body`, as `parse_request` returns it; the size of a decompressed body is reserved in `share`.

        `cancellable` wraps the work of a decoder process, which can be abandoned; a thread cannot. Raises RequestError.
        """
        if content_encoding is not None:
            unknown_status = 501 if v2 else 415  # the first is Triton's
            body = await self.in_thread(
                decompress, body, content_encoding, self._max_request_bytes, share.reserve, unknown_status
            )
        if len(body) <= SMALL_BYTES:
            if v2:
                return self._repeated.parse_http(interface, body, header_length)
            return parse_request(interface, body)
        if json_length(body, header_length if v2 else None) < LARGE_BYTES:
            return await self.in_thread(_parse_request, interface, body, header_length, v2)
        return await cancellable(self._decoders.decode_http(interface, body, header_length, v2=v2))

    async def decompress_grpc(self, message: CompressedMessage, share: MemoryShare) -> Any:
        """The result of the deserializer of `message` for its content, whose size is reserved in `share`. Raises
        RequestError."""

        def content() -> bytes:
            return bytes(inflate(message.data, self._max_request_bytes, share.reserve))

        try:
            return message.read(await self.in_thread(content))
        except zlib.error as error:
            raise input_error(f"the request cannot be decompressed: {error}") from None

    async def decode_grpc(self, interface: Interface, message: Any, timeout_s: float | None) -> ParsedRequest:
        """The request in `message`, a ModelInferRequest or a LargeRequest.

        `timeout_s` is the time left for the call, None without a deadline. Raises RequestError.
        """
        if type(message) is not LargeRequest:
            return self.parse_grpc(interface, message, timeout_s)
        if message.message is not None:
            return await self.in_thread(_parse_infer_request, interface, message.message, timeout_s)
        rest, inputs = await self._decoders.decode_grpc(interface, message.data)
        if len(rest) > LARGE_BYTES:
            raise input_error(f"the request has more than {LARGE_BYTES} bytes in addition to its tensors")
        return parse_infer_request(interface, pb.ModelInferRequest.FromString(rest), timeout_s, inputs=inputs)

    async def classify(
        self,
        request: ParsedRequest,
        outputs: Mapping[str, np.ndarray],
        *,
        batches: bool,
        labels: Labels,
        share: MemoryShare | None = None,
    ) -> tuple[ParsedRequest, dict[str, np.ndarray]]:
        """`request` and `outputs` with classes in place of the outputs for which it requests them, as `classified`
        returns them. The size of `outputs` is reserved in `share`. Raises RequestError."""
        work = functools.partial(
            classified, request, outputs, batches=batches, labels=labels, max_bytes=self._max_response_bytes
        )
        arrays = outputs.values()
        if sum(array.size for array in arrays) <= _FEW_ELEMENTS:
            return work()
        if share is not None and not share.reserve(request.body_bytes + sum(array.nbytes for array in arrays)):
            raise memory_exhausted()
        return await self.in_thread(work)

    async def encode_http(
        self,
        model_name: str,
        model_version: str,
        request: ParsedRequest,
        outputs: Mapping[str, np.ndarray],
        share: MemoryShare,
    ) -> EncodedResponse:
        """The response to `request`, whose size is added to `share`. Raises RequestError."""
        arrays = request.response_arrays(outputs)
        if is_small(arrays.values()):
            return encode_response(model_name, model_version, request, outputs)
        size = await self._checked_size(arrays)
        if not share.reserve(request.body_bytes + size):
            raise memory_exhausted()
        return await self.in_thread(encode_response, model_name, model_version, request, outputs)

    async def encode_grpc(
        self,
        model_name: str,
        model_version: str,
        request: ParsedRequest,
        outputs: Mapping[str, np.ndarray],
        *,
        serialized: bool,
    ) -> Any:
        """The ModelInferResponse to `request`; with `serialized`, a large response can be its bytes. Raises
        RequestError."""
        arrays = request.response_arrays(outputs)
        if is_small(arrays.values()):
            return encode_message(model_name, model_version, request, outputs)
        await self._checked_size(arrays)
        encode = encode_bytes if serialized else encode_message
        return await self.in_thread(encode, model_name, model_version, request, outputs)

    async def compress(self, response: EncodedResponse, encoding: bytes) -> EncodedResponse:
        """`response` in the Content-Encoding `encoding`, gzip or deflate. A large response is compressed as it is
        sent."""
        chunks = compress(response.chunks, encoding)
        if response.size is None or response.size > SMALL_BYTES:
            return EncodedResponse(chunks, None)
        if response.size > _QUICKLY_COMPRESSED_BYTES:
            return EncodedResponse.of(*await self.in_thread(list, chunks))
        return EncodedResponse.of(*chunks)

    async def _checked_size(self, outputs: Mapping[str, np.ndarray]) -> int:
        """The size of `outputs` in bytes. Raises RequestError if it exceeds the maximum of a response."""
        size = await self.in_thread(payload_bytes, outputs.values())
        if size > self._max_response_bytes:
            raise response_too_large(size, self._max_response_bytes)
        return size


def is_small(arrays: Iterable[np.ndarray]) -> bool:
    """Whether a response with `arrays` is encoded where its model ran, and not in a thread for large ones."""
    # `nbytes` first: it does not look at the elements of BYTES tensors
    return sum(array.nbytes for array in arrays) <= SMALL_BYTES and payload_bytes(arrays) <= SMALL_BYTES


# threads are given positional arguments only


def _parse_request(interface: Interface, body: Body, header_length: str | None, v2: bool) -> ParsedRequest:
    return parse_request(interface, body, header_length, v2=v2)


def _parse_infer_request(interface: Interface, message: Any, timeout_s: float | None) -> ParsedRequest:
    return parse_infer_request(interface, message, timeout_s, thorough=True)
