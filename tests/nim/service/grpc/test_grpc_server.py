"""The gRPC service with NVIDIA's own client: examples, invalid requests, streams, limits and health."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import wasmtime
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from portalis.examples.catalog import EXAMPLES
from tests.nim.service.serving import Client, serving
from tests.running.waiting import PATIENCE_S, until

pytestmark = pytest.mark.service

TRAP = '(module (func $deep (param $x f32) (result f32) unreachable) (export "trap" (func $deep)))'
SPIN = '(module (func (export "spin") (param $x f32) (result f32) (loop br 0) (f32.const 0)))'
NARROW = '(module (func (export "narrow") (param $x i32) (result i32) (local.get $x)))'
ECHO = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
LIMIT = 1 << 20
WIDTHS = {"INT8": "i1", "UINT8": "u1", "INT16": "i2", "UINT16": "u2", "BOOL": "?"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("modules")
    models: list[dict[str, Any]] = []
    for name, example in EXAMPLES.items():
        (folder / f"{name}.wasm").write_bytes(example.module.read_bytes())
        models.append({"name": name, "file": f"{name}.wasm", "version": "3"})
    for name, text in {"trap": TRAP, "spin": SPIN, "narrow": NARROW, "echo": ECHO}.items():
        (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(text))
    # these two fail for zeros, so their first request has no row
    no_rows = ({"name": "x", "datatype": "FP32", "shape": [0], "data": []},)
    models += [{"name": name, "file": f"{name}.wasm", "warm_up": no_rows} for name in ("trap", "spin")]
    models[-1]["limits"] = {"timeout_s": 5}  # also for its first request
    models.append({"name": "echo", "file": "echo.wasm"})
    for kind in WIDTHS:
        tensor = {"name": "x", "dtype": kind, "dims": []}
        interface = {"inputs": [tensor], "outputs": [{**tensor, "name": "y"}]}
        models.append({"name": f"narrow_{kind}", "file": "narrow.wasm", "interface": interface})
    with serving(folder, models, name="shop", version="1.2.3", max_request_bytes=LIMIT) as client:
        client.wait_ready()
        yield client


@pytest.fixture(scope="module")
def triton_client(client: Client) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as triton_client:
        yield triton_client


@pytest.fixture(scope="module")
def stub(client: Client) -> Iterator[Any]:
    from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{client.grpc_port}", options) as channel:
        yield GRPCInferenceServiceStub(channel)


def infer_input(name: str, array: np.ndarray, **changes: Any) -> triton.InferInput:
    kind = changes.get("datatype") or np_to_triton_dtype(array.dtype)
    tensor = triton.InferInput(name, changes.get("shape", list(array.shape)), kind)
    return tensor.set_data_from_numpy(array)


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def rpc_error(stub: Any, request: pb.ModelInferRequest, **options: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=options.pop("timeout", PATIENCE_S), **options)
    return caught.value


def infer_request(model: str, *tensors: tuple[str, str, list[int], bytes], **fields: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, **fields)
    for name, kind, shape, data in tensors:
        request.inputs.add(name=name, datatype=kind, shape=shape)
        request.raw_input_contents.append(data)
    return request


def gelu(shape: list[int], data: bytes, kind: str = "FP32", name: str = "x") -> pb.ModelInferRequest:
    return infer_request("gelu", (name, kind, shape, data))


def test_health_metadata_and_index_of_the_service(triton_client: triton.InferenceServerClient) -> None:
    assert triton_client.is_server_live() and triton_client.is_server_ready()
    assert triton_client.is_model_ready("gelu") and triton_client.is_model_ready("gelu", "3")
    assert not triton_client.is_model_ready("gelu", "4") and not triton_client.is_model_ready("unknown")
    metadata = triton_client.get_server_metadata()
    assert (metadata.name, metadata.version) == ("shop", "1.2.3")
    assert {"model_configuration", "statistics"} <= set(metadata.extensions)
    index = {each.name: each.state for each in triton_client.get_model_repository_index().models}
    assert set(EXAMPLES) <= set(index) and set(index.values()) == {"READY"}


def test_metadata_and_configuration_of_a_model(triton_client: triton.InferenceServerClient) -> None:
    metadata = triton_client.get_model_metadata("softmax")
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("softmax", ["3"], "wasm")
    assert [(each.name, each.datatype) for each in metadata.inputs] == [("x", "FP32")]
    config = triton_client.get_model_config("softmax").config
    assert config.name == "softmax" and config.input[0].name == "x"
    assert config.max_batch_size == 0 or config.HasField("dynamic_batching")
    assert list(metadata.inputs[0].shape) == [-1] * bool(config.max_batch_size) + list(config.input[0].dims)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_returns_what_its_reference_returns(triton_client: triton.InferenceServerClient, name: str) -> None:
    example = EXAMPLES[name]
    inputs = example.inputs()
    result = triton_client.infer(name, [infer_input(key, each) for key, each in inputs.items()], request_id="7")
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == (name, "3", "7")
    rtol, atol = example.tolerances
    expected = example.reference(inputs)
    assert {each.name for each in response.outputs} == set(expected)
    for key, array in expected.items():
        output = result.as_numpy(key)
        if array.dtype == object:
            assert output.tolist() == array.tolist()
        else:
            np.testing.assert_allclose(output, array, rtol=rtol, atol=atol)


def test_bytes_arrive_unchanged(triton_client: triton.InferenceServerClient) -> None:
    rows = np.array([b"\x00\xff\n", b"", "Zürich".encode(), b"x" * 5000], dtype=object).reshape(4, 1)
    result = triton_client.infer("echo", [infer_input("stdin", rows)])
    assert result.as_numpy("stdout").tolist() == rows.tolist()
    assert result.as_numpy("exit_code").tolist() == [[0]] * len(rows)


@pytest.mark.parametrize("kind", WIDTHS)
def test_narrow_numbers_keep_their_type_raw_and_in_contents(stub: Any, kind: str) -> None:
    values = np.array([0, 1, 1, 0], dtype=WIDTHS[kind])
    raw = stub.ModelInfer(infer_request(f"narrow_{kind}", ("x", kind, [4], values.tobytes())))
    typed = pb.ModelInferRequest(model_name=f"narrow_{kind}")
    field = {"U": "uint_contents", "I": "int_contents", "B": "bool_contents"}[kind[0]]
    contents = pb.InferTensorContents(**{field: values.tolist()})
    typed.inputs.add(name="x", datatype=kind, shape=[4], contents=contents)
    assert raw.raw_output_contents[0] == values.tobytes()
    assert stub.ModelInfer(typed) == raw
    assert raw.outputs[0].datatype == kind


@pytest.mark.parametrize(("kind", "value"), [("INT8", 128), ("INT16", -32769), ("UINT8", 256), ("UINT16", 65536)])
def test_a_number_outside_of_its_type_is_rejected(stub: Any, kind: str, value: int) -> None:
    request = pb.ModelInferRequest(model_name=f"narrow_{kind}")
    field = "uint_contents" if kind[0] == "U" else "int_contents"
    request.inputs.add(name="x", datatype=kind, shape=[1], contents=pb.InferTensorContents(**{field: [value]}))
    error = rpc_error(stub, request)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"input 'x' ({kind}): {value} is outside" in error.details()


def test_contents_are_equivalent_to_raw_tensors(stub: Any) -> None:
    typed = pb.ModelInferRequest(model_name="gelu")
    typed.inputs.add(name="x", datatype="FP32", shape=[2], contents=pb.InferTensorContents(fp32_contents=[1, -2]))
    assert stub.ModelInfer(typed) == stub.ModelInfer(gelu([2], row(1, -2).tobytes()))
    text = pb.ModelInferRequest(model_name="echo")
    text.inputs.add(
        name="stdin", datatype="BYTES", shape=[1, 1], contents=pb.InferTensorContents(bytes_contents=[b"\0a"])
    )
    assert b"\0a" in stub.ModelInfer(text).raw_output_contents[0]


def test_only_requested_outputs_are_sent(triton_client: triton.InferenceServerClient) -> None:
    text = infer_input("text", np.array([b"hello"], dtype=object))
    result = triton_client.infer("wordpiece", [text], outputs=[triton.InferRequestedOutput("attention_mask")])
    assert [each.name for each in result.get_response().outputs] == ["attention_mask"]


def _contents(kind: str, **fields: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="gelu")
    request.inputs.add(name="x", datatype=kind, shape=[2], contents=pb.InferTensorContents(**fields))
    return request


def _raw_and_contents() -> pb.ModelInferRequest:
    request = _contents("FP32", fp32_contents=[1, 2])
    request.raw_input_contents.append(bytes(8))
    return request


def _request_output(**parameters: Any) -> pb.ModelInferRequest:
    request = gelu([1], bytes(4))
    output = request.outputs.add(name=parameters.pop("name", "y"))
    for key, value in parameters.items():
        field = "int64_param" if isinstance(value, int) else "string_param"
        setattr(output.parameters[key], field, value)
    return request


def _sequence() -> pb.ModelInferRequest:
    request = gelu([1], bytes(4))
    request.parameters["sequence_id"].uint64_param = 5
    return request


INVALID = {
    "input 'x' is missing": pb.ModelInferRequest(model_name="gelu"),
    "unknown input 'z'; the inputs are x": gelu([1], bytes(4), name="z"),
    "input 'x' has datatype 'FP64'; expected FP32": gelu([1], bytes(8), "FP64"),
    "expected 8 bytes of data for shape [2], got 4": gelu([2], bytes(4)),
    "expected 4 bytes of data for shape [1], got 5": gelu([1], bytes(5)),
    "expected sizes of at least 0": gelu([-1], bytes(4)),
    "input 'x' has shape [4611686018427387904, 4], which is too large": gelu([1 << 62, 4], b""),
    "which is too large": gelu([0, 1 << 62, 1 << 62], b""),
    "input 'x' has rank 40": gelu([1] * 40, bytes(4)),
    "rank 33; at most 32": gelu([1] * 33, bytes(4)),
    "rank 9": gelu([1] * 9, bytes(4)),
    "input 'x' appears twice": infer_request("gelu", *[("x", "FP32", [1], bytes(4))] * 2),
    "raw_input_contents has 1 elements, but the request has 0 inputs": pb.ModelInferRequest(
        model_name="gelu", raw_input_contents=[b"1234"]
    ),
    "both contents and raw_input_contents": _raw_and_contents(),
    "FP32) has fp64_contents; expected fp32_contents": _contents("FP32", fp64_contents=[1, 2]),
    "shape [2] has 2 elements, but fp32_contents has 1": _contents("FP32", fp32_contents=[1]),
    "invalid value for 'classification' parameter, expected >= 0": _request_output(classification=0),
    "invalid value type for 'classification' parameter, expected int64_param": _request_output(classification="3"),
    "unknown output 'nope'": _request_output(name="nope"),
    "invalid value type for 'sequence_id' parameter, expected int64_param or string_param": _sequence(),
    "(BYTES): the element at 0 has 100 bytes, but only 1 are left": infer_request(
        "echo", ("stdin", "BYTES", [1], b"\x64\0\0\0a")
    ),
    "(BYTES): 2 bytes are left at 0": infer_request("echo", ("stdin", "BYTES", [1], b"\0\0")),
    "shape [3] has 3 elements, but its data has 1": infer_request("echo", ("stdin", "BYTES", [3], b"\1\0\0\0a")),
    "(BOOL): a byte is neither 0 nor 1": infer_request("narrow_BOOL", ("x", "BOOL", [2], b"\1\2")),
}


@pytest.mark.parametrize("message", INVALID)
def test_an_invalid_request_is_an_invalid_argument(stub: Any, message: str) -> None:
    error = rpc_error(stub, INVALID[message])
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error
    assert message in error.details()


def test_unknown_models_and_versions_are_not_found(triton_client: triton.InferenceServerClient, stub: Any) -> None:
    error = rpc_error(stub, pb.ModelInferRequest(model_name="nope"))
    assert error.code() is grpc.StatusCode.NOT_FOUND and "unknown model: 'nope'" in error.details()
    error = rpc_error(stub, pb.ModelInferRequest(model_name="gelu", model_version="9"))
    text = "Request for unknown model: 'gelu' version 9 is not found; the version is 3"
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, text)
    for method in (triton_client.get_model_metadata, triton_client.get_model_config):
        with pytest.raises(InferenceServerException, match="unknown model: 'nope'"):
            method("nope")
    with pytest.raises(InferenceServerException, match="requested model 'nope' is not available") as caught:
        triton_client.get_inference_statistics("nope")
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize("version", ["x", "-1", "", str(2**63)])
def test_a_version_that_is_no_positive_number_is_invalid(
    triton_client: triton.InferenceServerClient, version: str
) -> None:
    if not version:
        assert triton_client.is_model_ready("gelu", version)
        return
    for method in (triton_client.is_model_ready, triton_client.get_model_metadata):
        with pytest.raises(InferenceServerException, match="version should be an integral value > 0") as caught:
            method("gelu", version)
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_models_are_loaded_at_startup_only_unless_clients_control_them(
    triton_client: triton.InferenceServerClient,
) -> None:
    for change in (triton_client.load_model, triton_client.unload_model):
        with pytest.raises(InferenceServerException, match="explicit model load / unload is not allowed") as caught:
            change("gelu")
        assert caught.value.status() == "StatusCode.UNAVAILABLE"
    assert triton_client.is_model_ready("gelu")


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_a_message_beyond_the_limit_exhausts_resources(stub: Any, compression: grpc.Compression | None) -> None:
    large = gelu([LIMIT // 2], bytes(2 * LIMIT))
    error = rpc_error(stub, large, compression=compression)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(LIMIT) in error.details()


def test_compressed_requests_are_accepted(triton_client: triton.InferenceServerClient) -> None:
    result = triton_client.infer("gelu", [infer_input("x", np.zeros(1000, np.float32))], compression_algorithm="gzip")
    assert result.as_numpy("y").shape == (1000,)


def test_a_trap_is_internal_with_the_guests_backtrace_and_the_service_continues(client: Client, stub: Any) -> None:
    traps = 'wasm_service_traps_total{model="trap"}'
    requests = 'wasm_service_requests_total{code="500",model="trap",protocol="grpc"}'
    before = client.metric(traps), client.metric(requests)
    error = rpc_error(stub, infer_request("trap", ("x", "FP32", [1], bytes(4))))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "unreachable" in error.details() and "deep" in error.details()
    assert "Traceback" not in error.details()
    assert stub.ModelInfer(gelu([1], bytes(4))).raw_output_contents[0] == bytes(4)
    assert (client.metric(traps), client.metric(requests)) == (before[0] + 1, before[1] + 1)


def test_the_guests_time_limit_and_the_clients_deadline_both_apply(stub: Any) -> None:
    spin = infer_request("spin", ("x", "FP32", [1], bytes(4)))
    error = rpc_error(stub, spin)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and "entry 'spin'" in error.details()
    error = rpc_error(stub, spin, timeout=0.1)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    spin.parameters["timeout"].int64_param = 49_999
    error = rpc_error(stub, spin)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and "time limit of 5 s" not in error.details()
    spin.parameters["timeout"].int64_param = -1
    error = rpc_error(stub, spin)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT and "microseconds" in error.details()
    assert stub.ModelInfer(gelu([1], bytes(4)), timeout=PATIENCE_S).id == ""


def test_statistics_count_inferences(triton_client: triton.InferenceServerClient) -> None:
    def statistics() -> Any:
        return triton_client.get_inference_statistics("gelu").model_stats[0]

    before = statistics()
    triton_client.infer("gelu", [infer_input("x", row(1, 2))])
    after = statistics()
    assert after.inference_stats.success.count == before.inference_stats.success.count + 1
    assert after.execution_count == before.execution_count + 1
    assert after.inference_stats.success.ns > before.inference_stats.success.ns
    assert {each.name for each in triton_client.get_inference_statistics().model_stats} > set(EXAMPLES)


def test_a_stream_responds_in_order_errors_included(triton_client: triton.InferenceServerClient) -> None:
    responses: queue.Queue[tuple[Any, Any]] = queue.Queue()
    triton_client.start_stream(lambda result, error: responses.put((result, error)))
    for number in range(20):
        model = "nope" if number == 7 else "trap" if number == 8 else "gelu"
        triton_client.async_stream_infer(model, [infer_input("x", row(number))], request_id=str(number))
    triton_client.stop_stream()
    for number in range(20):
        result, error = responses.get(timeout=PATIENCE_S)
        if number in (7, 8):
            assert ("unknown model" if number == 7 else "unreachable") in str(error)
            continue
        assert error is None
        response = result.get_response()
        assert response.id == str(number) and response.parameters["triton_final_response"].bool_param
    assert responses.empty()


def test_the_asynchronous_client_works_too(client: Client) -> None:
    async def infer_all() -> list[float]:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as triton_client:
            results = await asyncio.gather(
                *(triton_client.infer("gelu", [infer_input("x", row(number))]) for number in range(-30, 30))
            )
            return [float(each.as_numpy("y")[0]) for each in results]

    values = asyncio.run(infer_all())
    numbers = np.arange(-30, 30, dtype=np.float32)
    np.testing.assert_allclose(values, EXAMPLES["gelu"].reference({"x": numbers})["y"], rtol=1e-5, atol=1e-6)


def health_status(channel: grpc.Channel, service: str) -> int:
    check = channel.unary_unary("/grpc.health.v1.Health/Check", StringValue.SerializeToString, Int32Value.FromString)
    return int(check(StringValue(value=service), timeout=PATIENCE_S).value)


def test_the_standard_health_service_responds(client: Client) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{client.grpc_port}") as channel:
        assert health_status(channel, "") == health_status(channel, "inference.GRPCInferenceService") == 1
        with pytest.raises(grpc.RpcError) as caught:
            health_status(channel, "other")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_full_queue_exhausts_resources_and_later_requests_succeed(tmp_path: Path) -> None:
    (tmp_path / "spin.wasm").write_bytes(wasmtime.wat2wasm(SPIN))
    no_rows = [{"name": "x", "datatype": "FP32", "shape": [0], "data": []}]
    model = {"name": "spin", "file": "spin.wasm", "limits": {"timeout_s": PATIENCE_S}, "warm_up": no_rows}
    with serving(tmp_path, [model], max_queued_requests=1, workers=1) as client:
        client.wait_ready()
        triton_client = triton.InferenceServerClient(f"127.0.0.1:{client.grpc_port}")
        ended: queue.Queue[str] = queue.Queue()
        for _ in range(6):
            tensor = infer_input("x", row(0))
            triton_client.async_infer(
                "spin", [tensor], lambda result, error: ended.put(error.status()), timeout=2_000_000
            )
        statuses = [ended.get(timeout=PATIENCE_S) for _ in range(6)]
        assert statuses.count("StatusCode.RESOURCE_EXHAUSTED") >= 1
        assert statuses.count("StatusCode.DEADLINE_EXCEEDED") >= 2
        assert set(statuses) == {"StatusCode.RESOURCE_EXHAUSTED", "StatusCode.DEADLINE_EXCEEDED"}
        assert triton_client.infer("spin", [infer_input("x", np.zeros(0, np.float32))]).get_response().outputs[
            0
        ].shape == [0]
        triton_client.close()


def test_before_its_models_are_loaded_the_service_is_live_but_not_ready(tmp_path: Path) -> None:
    (tmp_path / "broken.wasm").write_bytes(b"\0asm")
    with serving(tmp_path, [{"name": "broken", "file": "broken.wasm"}]) as client:
        with triton.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as triton_client:
            until(lambda: triton_client.get_model_repository_index().models[0].state != "LOADING", every_s=0.02)
            model = triton_client.get_model_repository_index().models[0]
            assert model.state == "UNAVAILABLE" and model.reason
            assert (
                triton_client.is_server_live()
                and not triton_client.is_server_ready()
                and not triton_client.is_model_ready("broken")
            )
            with pytest.raises(InferenceServerException, match="model 'broken' failed") as caught:
                triton_client.infer("broken", [infer_input("x", row(0))])
            assert caught.value.status() == "StatusCode.UNAVAILABLE"
        with grpc.insecure_channel(f"127.0.0.1:{client.grpc_port}") as channel:
            assert health_status(channel, "") == 2


SEEDS = [
    infer_request("gelu", ("x", "FP32", [2], bytes(8)), id="7").SerializeToString(),
    infer_request("echo", ("stdin", "BYTES", [2, 1], b"\1\0\0\0a\2\0\0\0bc")).SerializeToString(),
    _contents("FP32", fp32_contents=[1, 2]).SerializeToString(),
    _request_output(classification=1).SerializeToString(),
]
edits = st.lists(
    st.tuples(st.integers(0, 200), st.sampled_from(["replace", "delete", "insert"]), st.integers(0, 255)), max_size=4
)


@settings(max_examples=150, deadline=None)
@given(seed=st.sampled_from(SEEDS), edits=edits)
def test_no_mangled_message_is_an_internal_error(
    client: Client, seed: bytes, edits: list[tuple[int, str, int]]
) -> None:
    message = bytearray(seed)
    for position, edit, value in edits:
        offset = position % (len(message) + 1)
        message[offset : offset + (edit != "insert")] = b"" if edit == "delete" else bytes([value])
    with grpc.insecure_channel(f"127.0.0.1:{client.grpc_port}") as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer", bytes, pb.ModelInferResponse.FromString
        )
        codes = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
        assert infer.future(bytes(message), timeout=PATIENCE_S).code() in codes
