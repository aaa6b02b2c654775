"""Every call of Triton's four Python clients: HTTP, gRPC, and the asyncio form of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from .any_client import KINDS, AnyClient
from .management_runs import CONTROLLED
from .target import Target, check_results, operands

MODEL = "simple"


@pytest.fixture(params=KINDS)
def client(service_target: Target, request: pytest.FixtureRequest) -> Iterator[AnyClient]:
    client = AnyClient(request.param, service_target)
    yield client
    client.close()


def arrays() -> dict[str, np.ndarray]:
    return dict(zip(("INPUT0", "INPUT1"), operands(), strict=True))


def error(client: AnyClient, name: str, *arguments: Any, **options: Any) -> InferenceServerException:
    with pytest.raises(InferenceServerException) as caught:
        client.call(name, *arguments, **options)
    return caught.value


@pytest.mark.service
def test_health(client: AnyClient) -> None:
    assert client.call("is_server_live") and client.call("is_server_ready")
    assert client.call("is_model_ready", MODEL) and client.call("is_model_ready", MODEL, "1")
    assert not client.call("is_model_ready", MODEL, "2") and not client.call("is_model_ready", "unknown")


@pytest.mark.service
def test_metadata_configuration_and_index(client: AnyClient) -> None:
    server = client.document("get_server_metadata")
    assert server["name"] == "triton" and server["version"] and "statistics" in server["extensions"]
    model = client.document("get_model_metadata", MODEL, "1")
    assert model["name"] == MODEL and [each["name"] for each in model["inputs"]] == ["INPUT0", "INPUT1"]
    assert [int(size) for size in model["inputs"][0]["shape"]] == [-1, 16]
    config = client.document("get_model_config", MODEL)
    config = config if client.is_http else config["config"]
    assert config["name"] == MODEL and int(config["max_batch_size"]) > 0
    assert [each["data_type"] for each in config["output"]] == ["TYPE_INT32"] * 2
    index = client.document("get_model_repository_index")
    states = {each["name"]: each.get("state") for each in (index if client.is_http else index["models"])}
    assert states[MODEL] == "READY"


@pytest.mark.service
def test_statistics(client: AnyClient) -> None:
    def count() -> int:
        (model,) = client.document("get_inference_statistics", MODEL)["model_stats"]
        return int(model["inference_stats"]["success"]["count"])

    client.infer(MODEL, arrays())
    before = count()
    client.infer(MODEL, arrays())
    assert count() == before + 1
    names = {each["name"] for each in client.document("get_inference_statistics")["model_stats"]}
    assert {MODEL, "simple_string"} <= names


@pytest.mark.service
def test_inference_with_all_options(client: AnyClient) -> None:
    outputs = [client.library.InferRequestedOutput(name) for name in ("OUTPUT1", "OUTPUT0")]
    result = client.infer(
        MODEL,
        arrays(),
        model_version="1",
        outputs=outputs,
        request_id="my id",
        priority=1,
        timeout=60_000_000,
        headers={"x-request-id": "7", "custom": "value"},
        parameters={"custom": "value", "number": 3, "flag": True},
    )
    check_results(*operands(), result)
    response = result.get_response() if client.is_http else result.get_response(as_json=True)
    assert response["id"] == "my id" and response["model_name"] == MODEL and response["model_version"] == "1"
    assert result.get_output("OUTPUT0") is not None and result.get_output("unknown") is None
    assert result.as_numpy("unknown") is None


@pytest.mark.service
def test_a_single_requested_output_is_the_only_one(client: AnyClient) -> None:
    result = client.infer(MODEL, arrays(), outputs=[client.library.InferRequestedOutput("OUTPUT1")])
    assert result.as_numpy("OUTPUT0") is None
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), operands()[0] - operands()[1])


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.service
def test_compression_both_ways(client: AnyClient, algorithm: str) -> None:
    names = ("request_compression_algorithm", "response_compression_algorithm")
    options = dict.fromkeys(names, algorithm) if client.is_http else {"compression_algorithm": algorithm}
    check_results(*operands(), client.infer(MODEL, arrays(), **options))


@pytest.mark.service
def test_classification(client: AnyClient) -> None:
    image = np.arange(2 * 3 * 8 * 8, dtype=np.float32).reshape(2, 3, 8, 8)
    output = client.library.InferRequestedOutput("scores", class_count=2)
    returned = client.infer("small_chw", {"data": image}, outputs=[output]).as_numpy("scores")
    assert returned.tolist() == [
        [b"144.000000:3:three", b"96.000000:2:two"],
        [b"336.000000:3:three", b"288.000000:2:two"],
    ]


@pytest.mark.service
def test_the_time_limit_of_a_request_is_enforced_by_the_server(client: AnyClient) -> None:
    failed = error(client, "infer", MODEL, client.inputs(arrays()), timeout=1)
    assert "time" in failed.message(), failed
    assert failed.status() == ("504" if client.is_http else "StatusCode.DEADLINE_EXCEEDED")


@pytest.mark.parametrize("client", ["grpc", "grpc.aio"], indirect=True)  # those for HTTP have none per call
@pytest.mark.service
def test_the_time_limit_of_a_call_is_enforced_by_the_client(client: AnyClient) -> None:
    large = client.inputs({"input": np.zeros((8, 299, 299, 3), np.float32)})  # takes longer than a tick of gRPC's clock
    failed = error(client, "infer", "inception_graphdef", large, client_timeout=1e-6)
    assert failed.status() == "StatusCode.DEADLINE_EXCEEDED" and failed.message() == "Deadline Exceeded"


@pytest.mark.service
def test_a_plug_in_adds_a_header_to_each_request(client: AnyClient) -> None:
    plugin = client.plugin("BasicAuth")("user", "password")
    client.call("register_plugin", plugin)
    try:
        check_results(*operands(), client.infer(MODEL, arrays()))
        assert client.call("is_server_ready")
    finally:
        client.call("unregister_plugin")


@pytest.mark.service
def test_the_fields_of_an_error(client: AnyClient) -> None:
    failed = error(client, "infer", MODEL, client.inputs(arrays())[:1])
    assert "INPUT1" in failed.message() or "expected 2 inputs but got 1" in failed.message()
    assert failed.status() == ("400" if client.is_http else "StatusCode.INVALID_ARGUMENT")
    assert str(failed) == f"[{failed.status()}] {failed.message()}"
    assert (failed.debug_details() is None) == client.is_http


@pytest.mark.service
def test_errors_are_those_of_triton(client: AnyClient) -> None:
    inputs = client.inputs(arrays())
    failed = error(client, "infer", "unknown", inputs)
    assert failed.message().startswith("Request for unknown model: 'unknown' is not found")
    assert failed.status() == ("404" if client.is_http else "StatusCode.NOT_FOUND")
    failed = error(client, "infer", MODEL, inputs[:1])
    assert "expected 2 inputs but got 1 inputs for model 'simple'" in failed.message()
    failed = error(client, "infer", MODEL, inputs, outputs=[client.library.InferRequestedOutput("unknown")])
    assert "unexpected inference output 'unknown' for model 'simple'" in failed.message()
    failed = error(client, "get_model_metadata", MODEL, "3")
    assert "Request for unknown model: 'simple' version 3 is not found" in failed.message()


@pytest.mark.service
def test_shared_memory_calls(client: AnyClient) -> None:
    for kind in ("system", "cuda"):
        status = client.document(f"get_{kind}_shared_memory_status")
        assert not status
        client.call(f"unregister_{kind}_shared_memory")
        client.call(f"unregister_{kind}_shared_memory", "unknown")
    failed = error(client, "register_system_shared_memory", "missing", "/portalis_no_such_region", 64)
    assert "/portalis_no_such_region" in failed.message()
    failed = error(client, "register_cuda_shared_memory", "region", b"aGFuZGxl", 0, 64)
    assert "failed to register CUDA shared memory region: 'region'" in failed.message()


@pytest.mark.service
def test_settings_of_the_log_and_of_traces_can_be_read(client: AnyClient) -> None:
    assert "log_info" in str(client.document("get_log_settings"))
    assert "trace_level" in str(client.document("get_trace_settings"))
    assert "trace_level" in str(client.document("get_trace_settings", MODEL))
    for name, settings in (
        ("update_log_settings", {"log_verbose_level": 1}),
        ("update_trace_settings", {"trace_rate": "1"}),
    ):
        with pytest.raises(InferenceServerException):
            client.document(name, settings=settings)


@pytest.mark.service
def test_models_are_loaded_and_unloaded(client: AnyClient) -> None:
    assert "failed to load 'unknown'" in error(client, "load_model", "unknown").message()
    client.call("load_model", CONTROLLED)
    assert client.call("is_model_ready", CONTROLLED)
    check_results(*operands(), client.infer(CONTROLLED, arrays()))
    client.call("unload_model", CONTROLLED)
    assert not client.call("is_model_ready", CONTROLLED)
    assert client.call("is_model_ready", MODEL)
