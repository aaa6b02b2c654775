"""One request to a server and its response, as values that can be compared: HTTP over a socket, gRPC with raw messages."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

INFERENCE = "/inference.GRPCInferenceService/"
TIMEOUT_S = 60.0
HEADERS = (
    "content-type",
    "content-encoding",
    "inference-header-content-length",
    "accept-encoding",
    "allow",
)
"""The response headers that are compared."""
Aspects = dict[str, Any]
"""What is compared of a response, by name: ``status``, ``body``, ``error``, ``header …``; ``code``, ``details``, …"""


class Server:
    """A server on loopback: its HTTP port, and a channel to its gRPC port."""

    def __init__(self, http_port: int, grpc_port: int) -> None:
        self.http_port = http_port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()


@dataclass(frozen=True)
class HttpCase:
    """A request over HTTP. `raw` replaces the whole request; `times` repeats it on one connection."""

    name: str
    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None
    times: int = 1

    def send(self, server: Server) -> Aspects:
        """The response to the last of the requests."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if (self.body or self.method == "POST") and not any(name == "Transfer-Encoding" for name, _ in self.headers):
            lines.append(f"Content-Length: {len(self.body)}")
        content = self.raw or "\r\n".join((*lines, "", "")).encode("latin-1") + self.body
        with socket.create_connection(("127.0.0.1", server.http_port), TIMEOUT_S) as connection:
            for _ in range(self.times):
                connection.sendall(content)
                response = http.client.HTTPResponse(connection, method=self.method)
                try:
                    response.begin()
                    body = response.read()
                except (http.client.HTTPException, ConnectionError) as error:
                    return {"status": type(error).__name__}
        headers = {name: response.getheader(name) for name in HEADERS}
        return {"status": response.status, **_body(response, body), **_headers(headers)}


def _headers(headers: Mapping[str, str | None]) -> Aspects:
    return {f"header {name}": value for name, value in headers.items()}


def _body(response: http.client.HTTPResponse, body: bytes) -> Aspects:
    length = response.getheader("inference-header-content-length")
    text, tail = (body[: int(length)], body[int(length) :]) if length else (body, b"")
    try:
        document = json.loads(text)
    except ValueError:
        return {"body": body}
    if isinstance(document, dict) and list(document) == ["error"]:
        return {"error": document["error"]}
    return {"body": document, "tail": tail}


@dataclass(frozen=True)
class GrpcCase:
    """A call over gRPC, with its messages as bytes. `method` is one of the inference service, or begins with a slash."""

    name: str
    method: str
    messages: tuple[bytes, ...]

    def send(self, server: Server) -> Aspects:
        """The response, or the responses of a stream."""
        path = self.method if self.method.startswith("/") else INFERENCE + self.method
        try:
            if "Stream" in path:
                found = list(server.channel.stream_stream(path)(iter(self.messages), timeout=TIMEOUT_S))
            else:
                found = [server.channel.unary_unary(path)(self.messages[0], timeout=TIMEOUT_S)]
        except grpc.RpcError as error:
            return {"code": error.code().name, "details": error.details()}
        return {"code": "OK", **self._parsed(found)}

    def _parsed(self, found: Sequence[bytes]) -> Aspects:
        kind = getattr(pb, f"{self.method}Response", None)
        if kind is None:
            return {"message": found}
        messages = [kind.FromString(each) for each in found]
        if "Stream" not in self.method:
            return {"message": messages[0]}
        return {
            "errors": [each.error_message for each in messages],
            "messages": [each.infer_response for each in messages],
        }


Case = HttpCase | GrpcCase
