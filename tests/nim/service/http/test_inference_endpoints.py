"""Inference endpoints: the fast path and the framework's routes give equal responses, and OpenAPI lists both alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime
from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send

from portalis.nim.service.app import create_app
from portalis.nim.service.http import InferenceFastPath
from portalis.nim.service.http.inference import InferenceTarget
from portalis.nim.service.http.inference_endpoints import INFERENCE_ENDPOINTS, InferenceEndpoint, inference_target
from portalis.nim.service.settings import ModelSettings, ServiceSettings
from tests.running import waiting
from tests.running.ports import free_port

DOUBLE = """(module (func (export "double") (param $x f32) (result f32)
  (f32.add (local.get $x) (local.get $x))))"""
REQUEST = b'{"id": "a", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.5, -1.0]}]}'
BINARY = (
    b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "parameters": {"binary_data_size": 4}}]}',
    b"\x00\x00\x80\x3f",
)


def settings() -> ServiceSettings:
    http, grpc = free_port(), free_port()
    models = (ModelSettings(name="double", file="double.wasm"),)
    return ServiceSettings(models=models, service_port=http, metrics_port=http, grpc_port=grpc)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "double.wasm").write_bytes(wasmtime.wat2wasm(DOUBLE))
    with TestClient(create_app(settings(), folder, "127.0.0.1")) as client:
        waiting.until(lambda: client.get("/ready").status_code == 200, lambda: client.get("/ready").text)
        yield client


def without_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pass_on(self: InferenceFastPath, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    monkeypatch.setattr(InferenceFastPath, "__call__", pass_on)


def response(client: TestClient, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    result = client.post(path, content=body, headers={"x-request-id": "same", **headers})
    return result.status_code, dict(result.headers), result.content


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/models/double/infer", REQUEST, {}, 200),
        ("/v2/models/double/infer", REQUEST, {}, 200),
        ("/v2/models/double/versions/1/infer", REQUEST, {}, 200),
        ("/v2/models/double/infer", b"".join(BINARY), {"inference-header-content-length": str(len(BINARY[0]))}, 200),
        ("/v1/models/double/infer", REQUEST, {"accept-encoding": "gzip"}, 200),
        ("/v1/models/double/infer", b"{", {}, 400),
        ("/v2/models/double/infer", b"{", {}, 400),
        ("/v1/models/none/infer", REQUEST, {}, 404),
        ("/v2/models/none/infer", REQUEST, {}, 404),
        ("/v2/models/double/versions/2/infer", REQUEST, {}, 404),
        ("/v1/models/double/infer", REQUEST, {"content-encoding": "br"}, 415),
    ],
)
@pytest.mark.service
def test_the_frameworks_route_gives_the_response_of_the_fast_path(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
) -> None:
    fast = response(client, path, body, headers)
    without_fast_path(monkeypatch)
    assert fast == response(client, path, body, headers)
    assert fast[0] == status


@pytest.mark.parametrize("endpoint", INFERENCE_ENDPOINTS, ids=lambda endpoint: endpoint.name)
@pytest.mark.service
def test_other_methods_are_rejected_by_the_framework(client: TestClient, endpoint: InferenceEndpoint) -> None:
    result = client.get(endpoint.path.format(name="double", version="1"))
    assert (result.status_code, result.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v1/models/a/infer", InferenceTarget("a", None, v2=False)),
        ("/v2/models/a/infer", InferenceTarget("a", None, v2=True)),
        ("/v2/models/a/versions/7/infer", InferenceTarget("a", "7", v2=True)),
        ("/v1/models//infer", InferenceTarget("", None, v2=False)),
        ("/v2/models/a/versions//infer", InferenceTarget("a", "", v2=True)),
        ("/v1/models/{name}.$ %2F\n/infer", InferenceTarget("{name}.$ %2F\n", None, v2=False)),
        ("/v1/models/a/versions/7/infer", None),
        ("/v1/models/a/b/infer", None),
        ("/v1/models/a/infer/", None),
        ("/v1/models/a/infer\n", None),
        ("/v1/models/infer", None),
        ("/v3/models/a/infer", None),
        ("x/v1/models/a/infer", None),
        ("", None),
    ],
)
def test_a_path_matches_only_with_its_number_of_segments(path: str, target: InferenceTarget | None) -> None:
    assert inference_target(path) == target


def test_openapi_describes_every_inference_endpoint_and_no_other(tmp_path: Path) -> None:
    paths = create_app(settings(), tmp_path).openapi()["paths"]
    assert {path for path in paths if path.endswith("/infer")} == {endpoint.path for endpoint in INFERENCE_ENDPOINTS}
    for endpoint in INFERENCE_ENDPOINTS:
        assert paths[endpoint.path].keys() == {"post"}
        operation = paths[endpoint.path]["post"]
        assert (operation["description"], operation["tags"]) == (endpoint.description, [endpoint.tag])
        names = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert names == {"name", "version"} if "{version}" in endpoint.path else {"name"}
