"""The request parameter `wasm.timeout_ms` has the same meaning as on Triton, over HTTP and gRPC."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from portalis.nim.service.grpc.methods import InferenceMethods
from portalis.nim.service.grpc.region_methods import RegionMethods
from portalis.nim.service.grpc.settings_methods import SettingsMethods
from portalis.nim.service.shared_memory import RegionChanges, RegionRegistry
from tests.running.waiting import PATIENCE_S

from .process import SPIN, write_modules
from .serving import Client, serving

pytestmark = pytest.mark.service

SAME = '(module (func (export "same") (param $x f32) (result f32) (local.get $x)))'
NOTHING = [{"name": "x", "datatype": "FP32", "shape": [0], "data": []}]
ENOUGH: dict[Any, Any] = {
    50: 60_000,
    "50": "60000",
    50.5: 60_000.5,
}  # values of the same types that are long enough for a guest that ends
LIMIT_S = PATIENCE_S / 2  # of the model that never ends: its own limit is not what ends the calls


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("modules")
    models = write_modules(folder, spin=SPIN, same=SAME)
    models[0] |= {"limits": {"timeout_s": LIMIT_S}, "warm_up": NOTHING}
    with serving(folder, models) as client:
        client.wait_ready()
        yield client


def infer_over_http(client: Client, api: str, model: str, parameters: Any) -> tuple[int, str]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
    body = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    status, document = client.send(f"/{api}/models/{model}/infer", body)
    error = document.get("error", "")
    return status, error["message"] if isinstance(error, dict) else error


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("value", [50, "50", 50.5])
def test_a_guest_ends_at_the_timeout_of_its_request(client: Client, api: str, value: Any) -> None:
    status, text = infer_over_http(client, api, "spin", {"wasm.timeout_ms": value})
    assert status == 504 and "0.05" in text
    assert infer_over_http(client, api, "same", {"wasm.timeout_ms": ENOUGH[value], "other": 1.5}) == (200, "")


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"wasm.timeout_ms": "abc"},
            "request parameter wasm.timeout_ms is 'abc': use a number of milliseconds above 0",
        ),
        ({"wasm.timeout_ms": 0}, "wasm.timeout_ms is 0: use a number of milliseconds above 0"),
        ({"wasm.timeout_ms": -5}, "wasm.timeout_ms is -5"),
        ({"wasm.timeout_ms": True}, "wasm.timeout_ms is true"),
        ({"wasm.timeout_ms": None}, "wasm.timeout_ms is null"),
        ({"wasm.timeout_ms": [1]}, "wasm.timeout_ms is a list"),
        ({"wasm.timeout_ms": float("nan")}, "wasm.timeout_ms is NaN"),
        ({"wasm.timeout_ms": 10**40}, "wasm.timeout_ms is 1e+40"),
        ({"wasm.timeout": 1}, "request parameter wasm.timeout is unknown: a request can set wasm.timeout_ms"),
        ({"wasm.max_memory_bytes": 1, "wasm.timeout_ms": 1}, "wasm.max_memory_bytes is unknown"),
    ],
)
def test_invalid_values_and_other_wasm_keys_are_rejected(
    client: Client, api: str, parameters: dict[str, Any], message: str
) -> None:
    status, text = infer_over_http(client, api, "same", parameters)
    assert status == 400 and message in text
    assert infer_over_http(client, api, "same", {}) == (200, "")


def infer_over_grpc(client: Client, model: str, parameters: dict[str, Any]) -> Any:
    tensor = grpc_client.InferInput("x", [1], "FP32").set_data_from_numpy(np.ones(1, np.float32))
    with grpc_client.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as triton_client:
        return triton_client.infer(model, [tensor], parameters=parameters, client_timeout=PATIENCE_S).as_numpy("y")


@pytest.mark.parametrize("value", [50, "50", 50.5])
def test_the_timeout_applies_over_grpc(client: Client, value: Any) -> None:
    with pytest.raises(InferenceServerException) as caught:
        infer_over_grpc(client, "spin", {"wasm.timeout_ms": value})
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED" and "0.05" in caught.value.message()
    assert infer_over_grpc(client, "same", {"wasm.timeout_ms": ENOUGH[value]}).tolist() == [1]


@pytest.mark.parametrize("parameters", [{"wasm.timeout_ms": "abc"}, {"wasm.timeout_ms": True}, {"wasm.nope": 1}])
def test_invalid_values_are_rejected_over_grpc(client: Client, parameters: dict[str, Any]) -> None:
    with pytest.raises(InferenceServerException, match="wasm.timeout_ms") as caught:
        infer_over_grpc(client, "same", parameters)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert infer_over_grpc(client, "same", {}).tolist() == [1]


@pytest.mark.parametrize(
    ("method", "request_", "message"),
    [
        ("update_trace_settings", (None, {"trace_rate": "100"}), "does not support traces"),
        ("update_log_settings", ({"log_verbose_level": 1},), "NIM_LOG_LEVEL"),
    ],
)
def test_methods_of_triton_that_the_service_lacks_are_unimplemented_with_the_reason(
    client: Client, method: str, request_: tuple[Any, ...], message: str
) -> None:
    with grpc_client.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as triton_client:
        with pytest.raises(InferenceServerException, match=message) as caught:
            getattr(triton_client, method)(*request_)
        assert caught.value.status() == str(grpc.StatusCode.UNIMPLEMENTED)
        assert triton_client.is_model_ready("same")


def test_every_method_of_the_protocol_is_served() -> None:
    methods = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    served = {name for name in dir(InferenceMethods) if not name.startswith("_")}
    regions = RegionRegistry(0)
    region_methods = RegionMethods(regions, RegionChanges(regions, None)).by_name()
    served |= {_snake(name) for name in (*region_methods, *SettingsMethods(()).by_name())}
    served |= {"repository_model_load", "repository_model_unload"}  # in control_methods, for a service
    assert {_snake(method.name) for method in methods} <= served


def _snake(name: str) -> str:
    return re.sub("(?<=.)([A-Z])", r"_\1", name).lower()


def test_a_wrong_method_is_rejected_with_the_allowed_one(client: Client) -> None:
    status, document = client.get("/v2/models/same/infer")
    assert (status, document["error"]) == (
        405,
        "Method Not Allowed; method GET is not allowed for this path, which accepts POST",
    )


def test_an_unknown_content_encoding_is_rejected_with_the_supported_ones(client: Client) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{client.port}/v2/models/same/infer", b"{}", {"Content-Encoding": "br"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=PATIENCE_S)
    assert caught.value.code == 501 and caught.value.headers["Accept-Encoding"] == "gzip, deflate"
