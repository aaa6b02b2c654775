"""Requests of the shared memory extension and their answers, which a real Triton gives, and which those of the service
begin with."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb

from tests.backend import guests
from tests.backend.triton import models
from tests.running import waiting
from tests.running.waiting import PATIENCE_S

SIZE = 64
"""The size of the region ``r`` in bytes; its object has as many."""
ROW = np.array([1.5, -2], np.float32)
"""What is in the region, from its start on."""
ECHO, TEXTS, ADD = "shm_echo", "shm_texts", "shm_add"


def modules() -> dict[str, bytes]:
    """The modules of the models: two return their input ``x`` as ``y``, FP32 and BYTES; one adds ``a`` and ``b``."""
    x, y = guests.tensor("x", "BYTES"), guests.tensor("y", "BYTES")
    texts = guests.dlpack(models.BYTES_ECHO, inputs=[x], outputs=[y])
    return {ECHO: guests.echo(), TEXTS: texts, ADD: guests.wasm(guests.ADD)}


@dataclass(frozen=True)
class Target:
    """A server on loopback, by its ports."""

    http_port: int
    grpc_port: int

    def http(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """The status and the text of a response; of an error, its message. `body` is bytes, or sent as JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.http_port}/v2/{path}"
        request = urllib.request.Request(url, data=b"" if method == "POST" and data is None else data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            return error.code, json.loads(text)["error"] if text else ""

    def rpc(self, method: str, message: Any) -> tuple[str, Any]:
        """The code of a call, and its response or the error's details."""
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            call = channel.unary_unary(
                f"/inference.GRPCInferenceService/{method}",
                request_serializer=lambda each: each.SerializeToString(),
                response_deserializer=getattr(pb, f"{method}Response").FromString,
            )
            try:
                return "OK", call(message, timeout=PATIENCE_S)
            except grpc.RpcError as error:
                return error.code().name, error.details()

    def prepare(self, key: str) -> None:
        """Unregister all regions, and register the object `key` as ``r``."""
        # Triton uses regions for some time after its response
        waiting.until(lambda: self.http("POST", "systemsharedmemory/unregister") == (200, ""), every_s=0.001)
        assert self.http("POST", "systemsharedmemory/region/r/register", {"key": key, "byte_size": SIZE}) == (200, "")


@dataclass(frozen=True)
class HttpRow:
    """A request over HTTP and its answer. In strings, ``KEY`` and ``OTHER`` stand for the keys of two objects."""

    name: str
    status: int
    text: str
    method: str
    path: str
    body: Any = None

    @property
    def triton_status(self) -> int:
        """Triton regards values of other JSON types as its own failure, and the service as one of the client."""
        return 500 if "attempt to access JSON" in self.text else self.status

    def answer(self, target: Target, key: str, other: str) -> tuple[int, str]:
        body = json.loads(json.dumps(self.body).replace("KEY", key).replace("OTHER", other))
        return target.http(self.method, self.path, body)


def _infer(name: str, status: int, text: str, *, region: Mapping[str, Any] | None = None, **more: Any) -> HttpRow:
    """A row of an inference whose input is in shared memory. `region` are its parameters; `output` those of the output;
    other arguments are fields of the input."""
    parameters = {"shared_memory_region": "r", "shared_memory_byte_size": 8} if region is None else region
    output = more.pop("output", None)
    tensor = {"name": "x", "datatype": "FP32", "shape": [2], "parameters": parameters, **more}
    body: dict[str, Any] = {"inputs": [tensor]}
    if output is not None:
        body["outputs"] = [{"name": "y", "parameters": output}]
    return HttpRow(name, status, text, "POST", f"models/{ECHO}/infer", body)


def _place(offset: Any = None, size: Any = 8, region: Any = "r") -> dict[str, Any]:
    values = {"shared_memory_region": region, "shared_memory_offset": offset, "shared_memory_byte_size": size}
    return {name: value for name, value in values.items() if value is not None}


_REGION = '{"name":"r","key":"KEY","offset":0,"byte_size":64}'
_OUTPUT = '{"model_name":"shm_echo","model_version":"1","outputs":[{"name":"y","datatype":"FP32","shape":[2]'
_DIRECT, _IN_REGION = _OUTPUT + ',"data":[1.5,-2.0]}]}', _OUTPUT + "}]}"
_ONE_OF = (
    "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters',"
    " 'shared_memory_region' in 'parameters'. But"
)
_UNSIGNED = "attempt to access JSON non-unsigned-integer as unsigned-integer"
_OUTSIDE = "Invalid offset + byte size for shared memory region: 'r'"
_R, _N = "systemsharedmemory/region/r", "systemsharedmemory/region/n"


def _register(name: str, status: int, text: str, body: Any, path: str = f"{_N}/register") -> HttpRow:
    return HttpRow(name, status, text, "POST", path, body)


HTTP_ROWS = (
    HttpRow("status", 200, f"[{_REGION}]", "GET", "systemsharedmemory/status"),
    HttpRow("status_of_one", 200, f"[{_REGION}]", "GET", f"{_R}/status"),
    HttpRow("status_of_none", 404, "Unable to find system shared memory region: 'n'", "GET", f"{_N}/status"),
    _register("register", 200, "", {"key": "OTHER", "offset": 0, "byte_size": 8}),
    _register("no_name", 400, "'region name' is necessary to register system shared memory region", {}, "systemsharedmemory/register"),
    _register("no_key", 400, "Shared memory register request has no 'key' field", {"byte_size": 8}),
    _register("a_list", 400, "Shared memory register request has no 'key' field", []),
    _register("empty_region", 400, "failed to register shared memory region 'n': unable to process address spaceInvalid argument", {"key": "OTHER", "byte_size": 0}),
    _register("large_region", 400, "failed to register shared memory region 'n': invalid args", {"key": "OTHER", "byte_size": SIZE + 1}),
    _register("region_behind", 400, "failed to register shared memory region 'n': invalid args", {"key": "OTHER", "byte_size": 8, "offset": SIZE}),
    _register("no_size", 400, "Shared memory register request has no 'byte_size' field", {"key": "KEY"}),
    _register("key_is_a_number", 400, "attempt to access JSON non-string as string", {"key": 5, "byte_size": 8}),
    _register("size_is_negative", 400, _UNSIGNED, {"key": "KEY", "byte_size": -8}),
    _register("size_is_text", 400, _UNSIGNED, {"key": "KEY", "byte_size": "8"}),
    _register("size_is_huge", 400, _UNSIGNED, {"key": "KEY", "byte_size": 1 << 64}),
    _register("offset_is_a_fraction", 400, _UNSIGNED, {"key": "KEY", "byte_size": 8, "offset": 0.5}),
    _register("same_name", 400, "shared memory region 'r' already in manager", {"key": "KEY", "byte_size": 8}, f"{_R}/register"),
    _register("no_object", 500, "Unable to open shared memory region: '/no-such-object'", {"key": "/no-such-object", "byte_size": 8}),
    _register("key_leaves", 500, "Unable to open shared memory region: '/../etc/passwd'", {"key": "/../etc/passwd", "byte_size": 8}),
    _register("key_is_a_parent", 500, "Unable to open shared memory region: '/..'", {"key": "/..", "byte_size": 8}),
    _register("key_has_a_folder", 500, "Unable to open shared memory region: '/a/b'", {"key": "/a/b", "byte_size": 8}),
    _register("key_is_empty", 500, "Unable to open shared memory region: ''", {"key": "", "byte_size": 8}),
    _register("key_is_long", 500, f"Unable to open shared memory region: '{'k' * 256}'", {"key": "k" * 256, "byte_size": 8}),
    HttpRow("unregister", 200, "", "POST", f"{_R}/unregister"),
    HttpRow("unregister_none", 200, "", "POST", f"{_N}/unregister"),
    HttpRow("unregister_all", 200, "", "POST", "systemsharedmemory/unregister"),
    HttpRow("cuda_status", 200, "[]", "GET", "cudasharedmemory/status"),
    HttpRow("cuda_status_of_none", 404, "Unable to find cuda shared memory region: 'n'", "GET", "cudasharedmemory/region/n/status"),
    HttpRow("cuda_status_of_a_system_region", 404, "The region named 'r' is registered as system shared memory, not CUDA shared memory", "GET", "cudasharedmemory/region/r/status"),
    HttpRow("cuda_no_name", 400, "'region name' is necessary to register cuda shared memory region", "POST", "cudasharedmemory/register", {}),
    HttpRow("cuda_unregister", 200, "", "POST", "cudasharedmemory/region/r/unregister"),
    HttpRow("cuda_unregister_all", 200, "", "POST", "cudasharedmemory/unregister"),
    _infer("input", 200, _DIRECT),
    _infer("input_and_output", 200, _IN_REGION, output=_place(16)),
    _infer("region_unknown", 404, "Unable to find shared memory region: 'n'", region=_place(region="n")),
    _infer("region_is_a_number", 400, "Unable to parse 'shared_memory_region': attempt to access JSON non-string as string", region=_place(region=5)),
    _infer("offset_is_behind", 400, "Invalid offset for shared memory region: 'r'", region=_place(64)),
    _infer("offset_is_text", 400, f"Unable to parse 'shared_memory_offset': {_UNSIGNED}", region=_place("0")),
    _infer("offset_is_negative", 400, f"Unable to parse 'shared_memory_offset': {_UNSIGNED}", region=_place(-1)),
    _infer("offset_is_huge", 400, "Invalid offset for shared memory region: 'r'", region=_place((1 << 64) - 8)),
    _infer("end_is_behind", 400, _OUTSIDE, region=_place(60)),
    _infer("size_is_true", 400, f"Unable to parse 'shared_memory_byte_size': {_UNSIGNED}", region=_place(0, True)),
    _infer("size_is_missing", 400, _OUTSIDE, region=_place(0, None)),
    _infer("size_is_zero", 400, _OUTSIDE, region=_place(0, 0)),
    _infer("size_is_huge_", 400, _OUTSIDE, region=_place(0, (1 << 64) - 1)),
    _infer("with_data", 400, f"{_ONE_OF} set 'data' 'shared_memory_region'", data=[1, 2]),
    _infer("without_any", 400, f"{_ONE_OF} no field is set", region={}),
    _infer("output_unknown", 404, "Unable to find shared memory region: 'n'", output=_place(region="n")),
    _infer("output_is_behind", 400, _OUTSIDE, output=_place(60)),
    _infer("output_is_small", 500, "shared memory size specified with the request for output 'y' (4 bytes) should be at least 8 bytes to hold the results", output=_place(16, 4)),
    _infer("output_is_binary", 400, "Output can't set both 'shared_memory_region' and 'binary_data'", output=_place(16) | {"binary_data": True}),
    _infer("output_is_classes", 400, "Output can't set both 'shared_memory_region' and 'classification'", output=_place(16) | {"classification": 1}),
    _infer("output_is_not_binary", 200, _IN_REGION, output=_place(16) | {"binary_data": False}),
)  # fmt: skip


@dataclass(frozen=True)
class GrpcRow:
    """A call over gRPC and its answer. In strings, ``KEY`` and ``OTHER`` stand for the keys of two objects."""

    name: str
    code: str
    details: str
    method: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def answer(self, target: Target, key: str, other: str) -> tuple[str, Any]:
        kind = getattr(pb, f"{self.method}Request")
        keys = {"KEY": key, "OTHER": other}
        fields = {
            name: keys.get(value, value) if isinstance(value, str) else value for name, value in self.fields.items()
        }

        return target.rpc(self.method, kind(**fields))


def _parameter(value: Any) -> Any:
    kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
    return pb.InferParameter(**{kind: value})


def _call(name: str, code: str, details: str, *, region: Mapping[str, Any] | None = None, **more: Any) -> GrpcRow:
    output = more.pop("output", None)
    parameters = {key: _parameter(each) for key, each in (_place() if region is None else region).items()}
    fields: dict[str, Any] = {"raw_input_contents": more.pop("raw", [])}
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[2], parameters=parameters, **more)
    if output is not None:
        parameters = {key: _parameter(each) for key, each in output.items()}
        fields["outputs"] = [pb.ModelInferRequest.InferRequestedOutputTensor(name="y", parameters=parameters)]
    return GrpcRow(name, code, details, "ModelInfer", {"model_name": ECHO, "inputs": [tensor], **fields})


_S, _A, _F, _I = "OK", "INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL"
_OFFSET, _BYTES = "shared_memory_offset", "shared_memory_byte_size"
GRPC_ROWS = (
    GrpcRow("status", _S, "", "SystemSharedMemoryStatus"),
    GrpcRow("status_of_one", _S, "", "SystemSharedMemoryStatus", {"name": "r"}),
    GrpcRow("status_of_none", _F, "Unable to find system shared memory region: 'n'", "SystemSharedMemoryStatus", {"name": "n"}),
    GrpcRow("register", _S, "", "SystemSharedMemoryRegister", {"name": "n", "key": "OTHER", "byte_size": 8}),
    GrpcRow("same_name", "ALREADY_EXISTS", "shared memory region 'r' already in manager", "SystemSharedMemoryRegister", {"name": "r", "key": "KEY", "byte_size": 8}),
    GrpcRow("no_object", _I, "Unable to open shared memory region: '/no-such-object'", "SystemSharedMemoryRegister", {"name": "n", "key": "/no-such-object", "byte_size": 8}),
    GrpcRow("key_leaves", _I, "Unable to open shared memory region: '/../etc/passwd'", "SystemSharedMemoryRegister", {"name": "n", "key": "/../etc/passwd", "byte_size": 8}),
    GrpcRow("unregister", _S, "", "SystemSharedMemoryUnregister", {"name": "r"}),
    GrpcRow("unregister_none", _S, "", "SystemSharedMemoryUnregister", {"name": "n"}),
    GrpcRow("unregister_all", _S, "", "SystemSharedMemoryUnregister"),
    GrpcRow("cuda_status", _S, "", "CudaSharedMemoryStatus"),
    GrpcRow("cuda_status_of_none", _F, "Unable to find cuda shared memory region: 'n'", "CudaSharedMemoryStatus", {"name": "n"}),
    GrpcRow("cuda_status_of_a_system_region", _F, "The region named 'r' is registered as system shared memory, not CUDA shared memory", "CudaSharedMemoryStatus", {"name": "r"}),
    GrpcRow("cuda_unregister", _S, "", "CudaSharedMemoryUnregister", {"name": "r"}),
    GrpcRow("cuda_unregister_all", _S, "", "CudaSharedMemoryUnregister"),
    _call("input", _S, ""),
    _call("input_and_output", _S, "", output=_place(16)),
    _call("region_unknown", _F, "Unable to find shared memory region: 'n'", region=_place(region="n")),
    _call("region_is_a_number", _A, "invalid value type for 'shared_memory_region' parameter for tensor 'x', expected string_param.", region=_place(region=5)),
    _call("offset_is_behind", _A, "Invalid offset for shared memory region: 'r'", region=_place(64)),
    _call("offset_is_text", _A, "invalid value type for 'shared_memory_offset' parameter for tensor 'x', expected int64_param.", region=_place("0")),
    _call("offset_is_negative", _A, "Invalid offset for shared memory region: 'r'", region=_place(-8)),
    _call("offset_alone", _A, "'shared_memory_offset' can not be specified without 'shared_memory_region' parameter for tensor 'x'", region={_OFFSET: 0}),
    _call("end_is_behind", _A, _OUTSIDE, region=_place(60)),
    _call("size_is_negative", _A, _OUTSIDE, region=_place(0, -8)),
    _call("size_is_text", _A, "invalid value type for 'shared_memory_byte_size' parameter for tensor 'x', expected int64_param.", region=_place(0, "8")),
    _call("size_is_missing", _A, "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter for tensor 'x'", region=_place(0, None)),
    _call("size_alone", _A, "'shared_memory_byte_size' can not be specified without 'shared_memory_region' parameter for tensor 'x'", region={_BYTES: 8}),
    _call("with_contents", _A, f"unexpected 'content' provided when using shared memory for input tensor 'x' for model '{ECHO}'", contents=pb.InferTensorContents(fp32_contents=[1, 2])),
    _call("output_unknown", _F, "Unable to find shared memory region: 'n'", output=_place(region="n")),
    _call("output_is_behind", _A, _OUTSIDE, output=_place(60)),
    _call("output_without_size", _A, "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter for tensor 'y'", output=_place(16, None)),
    _call("output_is_small", _I, "shared memory size specified with the request for output 'y' (4 bytes) should be at least 8 bytes to hold the results", output=_place(16, 4)),
    _call("output_is_classes", _A, "output can't set both 'shared_memory_region' and 'classification'", output=_place(16) | {"classification": 1}),
)  # fmt: skip
