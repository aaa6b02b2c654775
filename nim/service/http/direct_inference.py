"""Small inference requests that are answered in the callback of the parser which completes them.

They need neither the framework nor a task, which take several times as long as a small inference, nor another thread
while the model is idle and its calls are short. Every other request takes the ordinary path, with what is known of it
in its scope.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from ..access_log import log_request
from ..codec import SMALL_BYTES, EncodedResponse, ParsedRequest, encode_response, payload_bytes
from ..codec.binary_data import HEADER, Body
from ..codec.compression import response_encoding
from ..codec.core_faults import describe_rejected
from ..codec.repeated_heads import RepeatedHeads
from ..logs import REQUEST_ID, request_id
from ..request_errors import RequestError, internal_error
from ..scheduling import Outputs
from ..served_model import ServedModel
from ..service import Service
from .inference import COMPUTED, InferenceTarget
from .inference_endpoints import inference_target
from .middleware import REQUEST_ID_HEADER

Header = tuple[bytes, bytes]
_LENGTH, _CONTENT_ENCODING, _ACCEPT_ENCODING = HEADER.encode(), b"content-encoding", b"accept-encoding"
_READ = frozenset((_LENGTH, REQUEST_ID_HEADER, _CONTENT_ENCODING, _ACCEPT_ENCODING))
_MAX_TARGETS = 1024  # URLs whose targets are kept


class DirectInference:
    """Answers inference requests of `service` without waiting. It belongs to the thread of the event loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._targets: dict[bytes, InferenceTarget | None] = {}
        self._heads: weakref.WeakKeyDictionary[ServedModel, RepeatedHeads] = weakref.WeakKeyDictionary()

    def target(self, url: bytes) -> InferenceTarget | None:
        """The target of an inference request to `url`; None for all other URLs, and those with a query or escapes."""
        if url not in self._targets:
            if len(self._targets) >= _MAX_TARGETS:
                self._targets.clear()
            is_path = url.isascii() and not (b"%" in url or b"?" in url or b"#" in url)
            self._targets[url] = inference_target(url.decode("ascii")) if is_path else None
        return self._targets[url]

    def answer(
        self, target: InferenceTarget, url: bytes, scope: Any, body: Body, default_headers: Iterable[Header]
    ) -> bytes | None:
        """The response to the complete request for `target` with the headers of `scope`; None if it needs the ordinary
        path, which then continues with what `scope` has under `COMPUTED`."""
        try:
            return self._answer(target, url, scope, body, default_headers)
        except Exception as error:  # noqa: BLE001  # the parser would report an invalid request
            scope[COMPUTED] = internal_error(error)
            return None

    def _answer(
        self, target: InferenceTarget, url: bytes, scope: Any, body: Body, default_headers: Iterable[Header]
    ) -> bytes | None:
        began = time.perf_counter()
        model = self._service.models.get(target.name)
        if model is None or not model.ready or target.version not in (None, model.version):
            return None
        if self._service.drain.stopping:
            return None  # the ordinary path closes the connection
        request = self._request(model, scope["headers"], body, v2=target.v2)
        if request is None:
            return None
        identity = _identity(scope["headers"])
        token = REQUEST_ID.set(identity)
        try:
            outputs = self._run(model, request, identity, scope, v2=target.v2)
            if outputs is None:
                return None
            response = encode_response(model.name, model.version, request, outputs)
            seconds = time.perf_counter() - began
            self._service.metrics.count_request(model.name, seconds, None, "v2" if target.v2 else "json")
            log_request("POST", url.decode("ascii"), 200, seconds, model.name)
        finally:
            REQUEST_ID.reset(token)
        return _http_response(response, default_headers, identity)

    def _request(self, model: ServedModel, headers: Iterable[Header], body: Body, *, v2: bool) -> ParsedRequest | None:
        """The request, if it is an ordinary one."""
        length = None
        for name, value in headers:
            if name not in _READ:
                continue
            if name == _LENGTH:
                length = value
            elif name == _CONTENT_ENCODING or (name == _ACCEPT_ENCODING and _compresses(value, v2=v2)):
                return None
        heads = self._heads.get(model)
        if heads is None:
            heads = self._heads[model] = RepeatedHeads(model.interface)
        try:
            return heads.parse(body, length, v2=v2)
        except RequestError:
            return None  # the ordinary path reports it

    def _run(
        self, model: ServedModel, request: ParsedRequest, identity: str, scope: Any, *, v2: bool
    ) -> Outputs | None:
        """The outputs, if they can be computed and sent at once."""
        try:
            outputs = self._service.try_run(model, request)
            if outputs is None:
                return None
            if not request.has_classes and _is_small(request.response_arrays(outputs).values()):
                return outputs
            scope[COMPUTED] = request, outputs
        except RequestError as error:
            scope[COMPUTED] = describe_rejected(error, model.interface, request) if v2 else error
        scope["headers"].insert(0, (REQUEST_ID_HEADER, identity.encode()))  # the guest's output was logged with this id
        return None


def _identity(headers: Iterable[Header]) -> str:
    return request_id(next((value for name, value in headers if name == REQUEST_ID_HEADER), b""))


def _compresses(accepted: bytes, *, v2: bool) -> bool:
    """Whether the response to a request with this Accept-Encoding is compressed."""
    if v2:
        return response_encoding(accepted.decode("latin-1")) != "identity"
    return accepted.strip() in (b"gzip", b"deflate")


def _is_small(arrays: Collection[np.ndarray]) -> bool:
    return sum(array.nbytes for array in arrays) <= SMALL_BYTES and payload_bytes(arrays) <= SMALL_BYTES


def _http_response(response: EncodedResponse, default_headers: Iterable[Header], identity: str) -> bytes:
    size = sum(map(len, chunks := tuple(response.chunks)))
    head = b"HTTP/1.1 200 OK\r\n"
    for pair in default_headers:
        head += b"%s: %s\r\n" % pair
    head += b"content-length: %d\r\n" % size
    if response.json_length is None:
        head += b"content-type: application/json\r\n"
    else:
        head += b"content-type: application/octet-stream\r\n%s: %d\r\n" % (_LENGTH, response.json_length)
    return b"".join((head, b"x-request-id: %s\r\n\r\n" % identity.encode(), *chunks))
