"""Requests to servers whose models are loaded and unloaded by clients: each action, and what the servers answer after it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tritonclient.grpc import service_pb2 as pb

from .exchange import TIMEOUT_S, Aspects, Case, GrpcCase, HttpCase, Server

_FIXED = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]}]})
_ADD = json.dumps({"inputs": [{"name": name, "datatype": "FP32", "shape": [1, 1], "data": [1]} for name in "ab"]})
_LOADS = (
    "{}",
    "[]",
    "1",
    "{",
    '{"parameters": []}',
    '{"parameters": {}}',
    '{"parameters": 1}',
    '{"parameters": {"config": 1}}',
    '{"parameters": {"config": "x"}}',
    '{"parameters": {"config": "[]"}}',
    '{"parameters": {"config": "{}"}}',
    '{"parameters": {"config": "{\\"nonsense\\": 1}"}}',
    '{"parameters": {"config": "{\\"name\\": \\"other\\", \\"backend\\": \\"wasm\\"}"}}',
    '{"parameters": {"config": "{\\"backend\\": \\"wasm\\", \\"max_batch_size\\": 4}"}}',
    '{"parameters": {"config": "{\\"backend\\": \\"wasm\\", \\"max_batch_size\\": \\"2\\"}"}}',
    '{"parameters": {"other": "x"}}',
    '{"parameters": {"file:1/model.wasm": "AAAA"}}',
)
_UNLOADS = (
    "[]",
    "{",
    '{"parameters": []}',
    '{"parameters": {"other": 1}}',
    '{"parameters": {"unload_dependents": "x"}}',
    '{"parameters": {"unload_dependents": false}}',
)


@dataclass(frozen=True)
class SettledCase:
    """A request that is repeated while a model is finishing its last requests, or is being closed."""

    case: HttpCase

    @property
    def name(self) -> str:
        """The name of the request."""
        return self.case.name

    def send(self, server: Server) -> Aspects:
        """The last response."""
        end = time.monotonic() + TIMEOUT_S
        while "UNLOADING" in str(found := self.case.send(server)) and time.monotonic() < end:
            time.sleep(0.02)
        return found


def control_cases() -> Iterator[Case | SettledCase]:
    """All requests, in the order in which they are sent. At first, no model is loaded."""
    yield _http("at first", "GET", "/v2")
    yield _grpc("at first", "ServerMetadata", pb.ServerMetadataRequest())
    yield from _answers("at first", "add", _ADD)
    yield from _unknown()
    yield from _change("after a load", "load", "add")
    yield from _answers("after a load", "add", _ADD)
    yield from _change("a load of a ready model", "load", "add")
    for body in _LOADS:
        yield _http("parameters", "POST", "/v2/repository/models/add/load", body)
        yield _http(f"after {body}", "GET", "/v2/models/add")
    for field, value in (("string_param", "x"), ("int64_param", 1), ("bool_param", True), ("bytes_param", b"x")):
        for key in ("config", "file:1/model.wasm", "other"):
            message = pb.RepositoryModelLoadRequest(model_name="add")
            setattr(message.parameters[key], field, value)
            yield _grpc(f"{key} as {field}", "RepositoryModelLoad", message)
        unload = pb.RepositoryModelUnloadRequest(model_name="swap")
        setattr(unload.parameters["unload_dependents"], field, value)
        yield _grpc(f"unload_dependents as {field}", "RepositoryModelUnload", unload)
    yield from _change("after an unload", "unload", "add")
    yield from _answers("after an unload", "add", _ADD)
    for body in _UNLOADS:
        yield _http("parameters", "POST", "/v2/repository/models/add/unload", body)
    yield from _ensembles()
    # last: the failure stays in Triton's index
    yield _http("a load of a dependency fails", "POST", "/v2/repository/models/depends/load")
    yield from _index("a load of a dependency fails")
    yield from _change("a load fails", "load", "garbage")
    yield from _answers("a load fails", "garbage", _FIXED)
    yield from _change("unload of a failure", "unload", "garbage")
    yield _http("unload of a failure", "GET", "/v2/health/ready")


def _unknown() -> Iterator[Case | SettledCase]:
    for action in ("load", "unload"):
        for path in ("unknown", "", "%20", "a/b", "mine/models/add", "x" * 100):
            yield _http("unknown", "POST", f"/v2/repository/models/{path}/{action}")
        for name, repository in (("unknown", ""), ("", ""), ("add", "mine")):
            kind = f"RepositoryModel{action.title()}"
            message = getattr(pb, f"{kind}Request")(model_name=name, repository_name=repository)
            yield _grpc(f"unknown '{name}' in '{repository}'", kind, message)


def _ensembles() -> Iterator[Case | SettledCase]:
    for number, (action, name, parameters) in enumerate(
        (
            ("load", "ens", ""), ("unload", "fixed", ""), ("load", "fixed", ""), ("unload", "ens", ""),
            ("load", "ens", ""), ("unload", "ens", '{"parameters": {"unload_dependents": true}}'),
            ("unload", "fixed", ""), ("load", "ens", ""), ("unload", "ens", ""), ("load", "ens", ""),
            ("unload", "ens", '{"parameters": {"unload_dependents": true}}'), ("load", "ens", ""),
            ("unload", "fixed", '{"parameters": {"unload_dependents": true}}'), ("load", "fixed", ""),
            ("load", "misfit", ""),
        )
    ):  # fmt: skip
        stage = f"ensemble {number}"
        yield _http(stage, "POST", f"/v2/repository/models/{name}/{action}", parameters)
        yield from _index(stage)
        for path in ("ens", "ens/ready", "ens/versions/1", "fixed/ready"):
            yield _http(stage, "GET", f"/v2/models/{path}")


def _change(stage: str, action: str, name: str) -> Iterator[Case | SettledCase]:
    """The same request over HTTP and over gRPC, and the index."""
    yield _http(stage, "POST", f"/v2/repository/models/{name}/{action}")
    kind = f"RepositoryModel{action.title()}"
    yield _grpc(f"{stage}, {name}", kind, getattr(pb, f"{kind}Request")(model_name=name))
    yield from _index(f"{stage}, {action} {name}")


def _answers(stage: str, name: str, body: str) -> Iterator[Case | SettledCase]:
    """Requests to the model `name`, and those whose responses depend on it."""
    model = f"/v2/models/{name}"
    yield from _index(stage)
    yield _http(stage, "POST", "/v2/repository/index", '{"ready": true}')
    for path in ("/v2/health/ready", "/v2/models/stats", f"{model}/stats", f"{model}/versions/1/stats"):
        yield _http(stage, "GET", path)
    for version in ("", "/versions/1", "/versions/2"):
        for end in ("", "/ready", "/config"):
            if end != "/config" or name != "garbage":
                yield _http(stage, "GET", model + version + end)
        yield _http(stage, "POST", f"{model}{version}/infer", body)
    yield _http(stage, "GET", f"{model}/trace/setting")
    yield _grpc(stage, "ServerReady", pb.ServerReadyRequest())
    for number in ("", "1", "2"):
        for method in ("ModelReady", "ModelMetadata", "ModelConfig"):
            message = getattr(pb, f"{method}Request")(name=name, version=number)
            yield _grpc(f"{stage}, version '{number}'", method, message)
        infer = pb.ModelInferRequest(model_name=name, model_version=number)
        yield _grpc(f"{stage}, version '{number}'", "ModelInfer", infer)
    yield _grpc(f"{stage}, ready", "RepositoryIndex", pb.RepositoryIndexRequest(ready=True))


def _index(stage: str) -> Iterator[SettledCase]:
    yield SettledCase(_http(stage, "POST", "/v2/repository/index"))


def _http(stage: str, method: str, path: str, body: str = "") -> HttpCase:
    return HttpCase(f"control, {stage}: {method} {path} {body}".rstrip(), method, path, body.encode())


def _grpc(stage: str, method: str, message: pb.ModelInferRequest) -> GrpcCase:
    return GrpcCase(f"control, {stage}: {method}", method, (message.SerializeToString(),))
