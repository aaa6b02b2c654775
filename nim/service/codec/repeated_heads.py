"""The JSON of requests with raw tensors, decoded once: clients repeat it byte for byte in every request."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..runtime_api import Interface
from ..sequence_step import NO_SEQUENCE
from .binary_data import Body
from .parsed_request import ParsedRequest
from .repeated_requests import RepeatedRequests
from .request import parse_request

MAX_HEADS = 64
"""Maximum number of decoded heads of one model."""
MAX_HEAD_BYTES = 4096
"""Maximum size of the JSON of a head that is kept."""


class _RawInput(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    size: int
    offset: int
    """In bytes, from the start of the body."""


class _Head(NamedTuple):
    body_bytes: int
    inputs: tuple[_RawInput, ...]
    request: ParsedRequest
    """The request without its arrays."""


class RepeatedHeads:
    """Decodes requests for one interface, and keeps what their JSON says. It belongs to one thread."""

    def __init__(self, interface: Interface) -> None:
        self._interface = interface
        self._heads: dict[bytes, _Head] = {}
        self._whole = RepeatedRequests()

    def parse(self, body: Body, header_length: bytes | None, *, v2: bool) -> ParsedRequest:
        """The request in `body`, as `parse_request` returns and rejects it."""
        if not v2 or header_length is None or not header_length.isdigit() or len(header_length) > 4:
            return self._parse(body, header_length, v2=v2)
        text = bytes(body[: int(header_length)])
        head = self._heads.get(text)
        if head is None or head.body_bytes != len(body):
            request = self._parse(body, header_length, v2=True)
            self._keep(text, body, request)
            return request
        arrays = {
            name: np.frombuffer(body, dtype, size, offset).reshape(shape)
            for name, shape, dtype, size, offset in head.inputs
        }
        request = head.request
        return ParsedRequest(None, arrays, request.outputs, request.timeout_s, request.guest_timeout_s, len(body))

    def _parse(self, body: Body, header_length: bytes | None, *, v2: bool) -> ParsedRequest:
        text = None if header_length is None else header_length.decode("latin-1")
        if v2:
            return self._whole.parse_http(self._interface, body, text)
        return parse_request(self._interface, body)

    def _keep(self, text: bytes, body: Body, request: ParsedRequest) -> None:
        """Keep the head of `request`, if the next body with the JSON `text` can be read without any check but that of
        its size."""
        if not 0 < len(text) <= MAX_HEAD_BYTES or len(text) == len(body) or request.id is not None:
            return  # an id differs in each request
        if request.uses_regions or request.sequence != NO_SEQUENCE:
            return
        inputs, offset = [], len(text)
        for name, array in request.inputs.items():
            if array.dtype.kind in "Ob" or not np.may_share_memory(array, np.frombuffer(body, np.uint8)):
                return  # elements are checked one by one, or are in the JSON
            inputs.append(_RawInput(name, array.shape, array.dtype, array.size, offset))
            offset += array.nbytes
        if offset != len(body):
            return
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        self._heads[text] = _Head(len(body), tuple(inputs), replace(request, inputs={}))
