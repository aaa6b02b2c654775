"""Requests whose tensors are all in shared memory, decoded once: clients repeat them byte for byte."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..runtime_api import Interface
from .binary_data import Body
from .parsed_request import ParsedRequest
from .protobuf_tensors import parse_infer_request
from .request import parse_request

MAX_REQUESTS = 64
"""Maximum number of requests that are kept."""
MAX_REQUEST_BYTES = 2048
"""Maximum size of a request that is kept."""


class RepeatedRequests:
    """Decodes small requests, and keeps those without data: nothing in them changes. Any thread can use it."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str | None, bytes], tuple[Interface, ParsedRequest]] = {}

    def parse_http(self, interface: Interface, body: Body, header_length: str | None) -> ParsedRequest:
        """The request in the `body` of a /v2 request, as `parse_request` returns and rejects it."""

        def parse() -> ParsedRequest:
            return parse_request(interface, body, header_length, v2=True)

        if len(body) > MAX_REQUEST_BYTES:
            return parse()
        return self._parse(interface, f"HTTP {header_length}", bytes(body), parse)

    def parse_grpc(self, interface: Interface, message: Any, timeout_s: float | None) -> ParsedRequest:
        """The request in `message`, a ModelInferRequest, as `parse_infer_request` returns and rejects it."""
        if message.raw_input_contents or message.ByteSize() > MAX_REQUEST_BYTES:
            return parse_infer_request(interface, message, timeout_s)
        octets = message.SerializeToString()
        request = self._parse(interface, None, octets, lambda: parse_infer_request(interface, message, None))
        if timeout_s is None or not math.isfinite(timeout_s):
            return request
        return replace(request, timeout_s=min(max(timeout_s, 1e-6), request.timeout_s or math.inf))

    def _parse(
        self, interface: Interface, form: str | None, octets: bytes, parse: Callable[[], ParsedRequest]
    ) -> ParsedRequest:
        key = id(interface), form, octets  # the interface of an entry is in it, so that no other has its id
        known = self._known.get(key)
        if known is not None:
            return known[1]
        request = parse()
        if request.region_inputs and not request.inputs:
            if len(self._known) >= MAX_REQUESTS:
                self._known.clear()
            self._known[key] = interface, request
        return request
