"""Programs that classify images, as Triton's ``image_client``, ``grpc_image_client``, ``ensemble_image_client`` and
``grpc_client`` do."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from PIL import Image
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.model_config_pb2 import ModelInput
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import deserialize_bytes_tensor

from tests.running.waiting import PATIENCE_S

from .example_models import CLASSES, ENSEMBLE, SMALL_CLASSES
from .target import Target

NAMES = {"inception_graphdef": CLASSES, "small_chw": SMALL_CLASSES, ENSEMBLE: CLASSES}
SIZE = (64, 48)


def write_images(folder: Path) -> None:
    """Three images, each with its own colors."""
    for number in range(3):
        colors = (np.arange(SIZE[0] * SIZE[1] * 3) * (7 + number) % 251).astype(np.uint8)
        Image.fromarray(colors.reshape(SIZE[1], SIZE[0], 3)).save(folder / f"{number}.png")


def preprocess(file: Path, form: int, dims: tuple[int, ...], scaling: str) -> np.ndarray:
    """The image as FP32 in the form NHWC or NCHW of `dims`, a row; pixels are scaled as the model expects."""
    height, width = dims[:2] if form == ModelInput.FORMAT_NHWC else dims[1:]
    with Image.open(file) as image:
        resized = image.convert("RGB").resize((int(width), int(height)), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized, np.float32)
    if scaling == "INCEPTION":
        pixels = pixels / np.float32(127.5) - 1
    elif scaling == "VGG":
        pixels = pixels - np.array([123, 117, 104], np.float32)
    return pixels if form == ModelInput.FORMAT_NHWC else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def check_classes(model: str, array: np.ndarray, returned: np.ndarray, count: int) -> None:
    """Compare ``score:index:label`` of each row with the highest scores, which the model takes from `array`."""
    labels = NAMES[model]
    assert returned.shape == (len(array), count)
    for row, found in zip(array, returned, strict=True):
        step = row.size // len(labels)
        scores = row.ravel()[: step * len(labels) : step]
        assert [float(text.split(b":")[0]) for text in found] == [
            float(f"{score:f}") for score in sorted(scores, reverse=True)[:count]
        ]
        for text in found:
            _, index, label = text.decode().split(":")
            assert label == labels[int(index)]


def _batches(target: Target, batch: int) -> Iterator[list[Path]]:
    files = sorted(target.images.iterdir())
    for start in range(0, len(files), batch):
        yield [files[(start + offset) % len(files)] for offset in range(batch)]


def _arrays(target: Target, model: Any, config: Any, batch: int, scaling: str) -> list[np.ndarray]:
    """The checked batches of images for a model with its metadata and configuration, as dicts."""
    assert len(model["inputs"]) == len(model["outputs"]) == len(config["input"]) == 1
    assert model["outputs"][0]["datatype"] == "FP32"
    form = ModelInput.Format.Value(config["input"][0]["format"])
    assert form in (ModelInput.FORMAT_NHWC, ModelInput.FORMAT_NCHW)
    dims = tuple(int(size) for size in model["inputs"][0]["shape"][1:])
    assert int(config["max_batch_size"]) >= batch
    return [np.stack([preprocess(file, form, dims, scaling) for file in files]) for files in _batches(target, batch)]


def classify(
    target: Target,
    *,
    protocol: str,
    how: str = "sync",
    model: str,
    scaling: str = "NONE",
    batch: int = 1,
    count: int = 1,
) -> None:
    """Classify all images with Triton's client: `how` is sync, async or stream."""
    library = triton_http if protocol == "http" else triton_grpc
    client = target.http_client(concurrency=4) if protocol == "http" else target.grpc_client()
    as_json = {} if protocol == "http" else {"as_json": True}
    with client:
        config = client.get_model_config(model, **as_json)
        config = config if protocol == "http" else config["config"]
        metadata = client.get_model_metadata(model, **as_json)
        arrays = _arrays(target, metadata, config, batch, scaling)
        requests = []
        for number, array in enumerate(arrays):
            tensor = library.InferInput(metadata["inputs"][0]["name"], list(array.shape), "FP32")
            tensor.set_data_from_numpy(array)
            output = library.InferRequestedOutput(metadata["outputs"][0]["name"], class_count=count)
            requests.append({"inputs": [tensor], "outputs": [output], "request_id": str(number)})
        results = _results(client, protocol, how, model, requests)
    for array, result in zip(arrays, results, strict=True):
        check_classes(model, array, result.as_numpy(metadata["outputs"][0]["name"]), count)


def _results(client: Any, protocol: str, how: str, model: str, requests: list[dict[str, Any]]) -> list[Any]:
    if how == "sync":
        return [client.infer(model, **request) for request in requests]
    if protocol == "http":
        return [handle.get_result() for handle in [client.async_infer(model, **request) for request in requests]]
    responses: queue.Queue[tuple[Any, Any]] = queue.Queue()

    def put(result: Any, error: Any) -> None:
        responses.put((result, error))

    if how == "stream":
        client.start_stream(put)
        for request in requests:
            client.async_stream_infer(model, **request)
        client.stop_stream()
    else:
        for request in requests:
            client.async_infer(model, callback=put, **request)
    found = {}
    for _ in requests:
        result, error = responses.get(timeout=PATIENCE_S)
        assert error is None, error
        found[int(result.get_response().id)] = result
    return [found[number] for number in range(len(requests))]


def classify_with_messages(
    target: Target, *, how: str = "sync", model: str, scaling: str = "NONE", count: int = 1
) -> None:
    """Classify all images with the generated stub: `how` is sync, async or stream."""
    with grpc.insecure_channel(target.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=model), timeout=PATIENCE_S)
        config = stub.ModelConfig(pb.ModelConfigRequest(name=model), timeout=PATIENCE_S).config
        form = config.input[0].format
        assert form in (ModelInput.FORMAT_NHWC, ModelInput.FORMAT_NCHW)
        dims = tuple(metadata.inputs[0].shape[1:])
        arrays = [preprocess(file, form, dims, scaling)[np.newaxis] for file in sorted(target.images.iterdir())]
        requests = [_message(model, metadata, array, count) for array in arrays]
        if how == "stream":
            streamed = list(stub.ModelStreamInfer(iter(requests), timeout=PATIENCE_S))
            assert [each.error_message for each in streamed] == [""] * len(requests)
            responses = [each.infer_response for each in streamed]
        elif how == "async":
            futures = [stub.ModelInfer.future(request, timeout=PATIENCE_S) for request in requests]
            responses = [future.result() for future in futures]
        else:
            responses = [stub.ModelInfer(request, timeout=PATIENCE_S) for request in requests]
    for array, response in zip(arrays, responses, strict=True):
        (content,) = response.raw_output_contents
        check_classes(model, array, deserialize_bytes_tensor(content).reshape(response.outputs[0].shape), count)


def _message(model: str, metadata: Any, array: np.ndarray, count: int) -> Any:
    request = pb.ModelInferRequest(model_name=model, raw_input_contents=[array.tobytes()])
    request.inputs.add(name=metadata.inputs[0].name, datatype="FP32", shape=array.shape)
    output = request.outputs.add(name=metadata.outputs[0].name)
    output.parameters["classification"].int64_param = count
    return request


def classify_files(target: Target, *, protocol: str, count: int = 1) -> None:
    """Send the files of all images in one batch to the ensemble, which makes images of them."""
    library = triton_http if protocol == "http" else triton_grpc
    files = sorted(target.images.iterdir())
    with target.http_client() if protocol == "http" else target.grpc_client() as client:
        contents = np.array([[file.read_bytes()] for file in files], object)
        tensor = library.InferInput("INPUT", list(contents.shape), "BYTES")
        tensor.set_data_from_numpy(contents)
        output = library.InferRequestedOutput("CLASSIFICATION", class_count=count)
        returned = client.infer(ENSEMBLE, [tensor], outputs=[output]).as_numpy("CLASSIFICATION")
    pixels = [np.resize(np.frombuffer(file.read_bytes(), np.uint8), 299 * 299 * 3) for file in files]
    check_classes(ENSEMBLE, np.stack(pixels).astype(np.float32) / np.float32(255), returned, count)


def messages_of_every_kind(target: Target) -> None:
    """Health, metadata, configuration and one inference with the generated stub."""
    model = "inception_graphdef"
    with grpc.insecure_channel(target.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(pb.ServerLiveRequest(), timeout=PATIENCE_S).live
        assert stub.ServerReady(pb.ServerReadyRequest(), timeout=PATIENCE_S).ready
        assert stub.ModelReady(pb.ModelReadyRequest(name=model), timeout=PATIENCE_S).ready
        assert stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=PATIENCE_S).extensions
        metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=model), timeout=PATIENCE_S)
        assert list(metadata.inputs[0].shape) == [-1, 299, 299, 3]
        config = stub.ModelConfig(pb.ModelConfigRequest(name=model), timeout=PATIENCE_S).config
        assert config.input[0].name == "input"
        request = pb.ModelInferRequest(model_name=model, id="my request id")
        request.inputs.add(name="input", datatype="FP32", shape=[1, 299, 299, 3])
        request.outputs.add(name=metadata.outputs[0].name)
        request.raw_input_contents.append(b"a" * (4 * 299 * 299 * 3))
        response = stub.ModelInfer(request, timeout=PATIENCE_S)
        assert response.id == "my request id" and list(response.outputs[0].shape) == [1, 1001]
        assert response.raw_output_contents[0] == b"a" * (4 * 1001)
