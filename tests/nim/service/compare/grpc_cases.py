"""Calls over gRPC: every method of the inference service, good requests, and the faults of their messages."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from .exchange import GrpcCase

_ROWS = struct.pack("<2f", 1.5, -2.25)
GARBAGE = b"\xff\xff\xff"


def call(name: str, method: str, message: Message | bytes) -> GrpcCase:
    """One call."""
    content = message if isinstance(message, bytes) else message.SerializeToString()
    return GrpcCase(f"grpc {name}", method, (content,))


def request(model: str = "add", **fields: Any) -> Any:
    """A request for a model with two FP32 inputs, a and b, in raw bytes."""
    message = pb.ModelInferRequest(model_name=model, raw_input_contents=[_ROWS, _ROWS], **fields)
    for name in "ab":
        message.inputs.add(name=name, datatype="FP32", shape=[2, 1])
    return message


def one(model: str, datatype: str, shape: list[int], content: bytes | None, **contents: Any) -> Any:
    """A request with one input, x."""
    message = pb.ModelInferRequest(model_name=model)
    if content is not None:
        message.raw_input_contents.append(content)
    tensor = message.inputs.add(name="x", datatype=datatype, shape=shape)
    if contents:
        tensor.contents.MergeFrom(pb.InferTensorContents(**contents))
    return message


def set_parameter(parameters: Any, key: str, value: Any) -> None:
    """Add a parameter of the field that fits to the type of `value`; a tuple names the field."""
    kind, content = (
        value
        if isinstance(value, tuple)
        else ({bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)], value)
    )
    setattr(parameters[key], kind, content)


def grpc_cases() -> Iterator[GrpcCase]:
    """All calls that change no settings."""
    yield from _management()
    yield from _inference()
    yield from _parameters()
    yield from _outputs()
    yield from _streams()


def _management() -> Iterator[GrpcCase]:
    for method in ("ServerLive", "ServerReady", "ServerMetadata", "RepositoryIndex", "TraceSetting", "LogSettings"):
        yield call(method, method, b"")
    yield call("index of ready models", "RepositoryIndex", pb.RepositoryIndexRequest(ready=True))
    yield call("index of a repository", "RepositoryIndex", pb.RepositoryIndexRequest(repository_name="mine"))
    for name, version in (
        ("add", ""), ("add", "1"), ("add", "2"), ("add", "x"), ("add", "-1"), ("add", "01"), ("add", "99999999999999999999"),
        ("unknown", ""), ("unknown", "1"), ("", ""), ("", "1"),
    ):  # fmt: skip
        for method in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"):
            if method == "ModelStatistics" and name in {"", "add"} and version in {"", "1", "01", "-1"}:
                continue  # counts depend on the other cases
            yield call(
                f"{method} {name}/{version}", method, getattr(pb, f"{method}Request")(name=name, version=version)
            )
    for name in ("sum", "swap", "optional", "echo_bytes"):
        yield call(f"ModelMetadata {name}", "ModelMetadata", pb.ModelMetadataRequest(name=name))
        yield call(f"ModelConfig {name}", "ModelConfig", pb.ModelConfigRequest(name=name))
    yield call("statistics", "ModelStatistics", pb.ModelStatisticsRequest(name="counted"))
    yield call("load", "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="add"))
    yield call(
        "load from a repository",
        "RepositoryModelLoad",
        pb.RepositoryModelLoadRequest(repository_name="r", model_name="add"),
    )
    yield call("load an unknown model", "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="unknown"))
    yield call("unload", "RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="add"))
    yield call(
        "unload an unknown model", "RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="unknown")
    )
    for kind in ("System", "Cuda"):
        for action, message in (
            ("Status", {}), ("Status", {"name": "unknown"}), ("Register", {"name": "r", "byte_size": 8}),
            ("Register", {"byte_size": 8}), ("Unregister", {}), ("Unregister", {"name": "unknown"}),
        ):  # fmt: skip
            method = f"{kind}SharedMemory{action}"
            yield call(f"{method} {message}", method, getattr(pb, f"{method}Request")(**message))
    yield call("trace of a model", "TraceSetting", pb.TraceSettingRequest(model_name="add"))
    yield call("trace of an unknown model", "TraceSetting", pb.TraceSettingRequest(model_name="unknown"))
    yield call("unknown method", "Nothing", b"")
    yield call("unknown service", "/inference.Other/ServerLive", b"")
    yield call("health", "/grpc.health.v1.Health/Check", b"")
    yield call("health of the service", "/grpc.health.v1.Health/Check", b"\x0a\x1einference.GRPCInferenceService")
    yield call("health of another service", "/grpc.health.v1.Health/Check", b"\x0a\x01x")
    for method in ("ServerLive", "ModelReady", "ModelInfer", "ModelConfig", "RepositoryIndex"):
        yield call(f"{method} with garbage", method, GARBAGE)


def settings_calls() -> Iterator[GrpcCase]:
    """Calls that change the settings of a Triton, or try to."""
    for key, value in (("trace_rate", "100"), ("trace_rate", "x"), ("trace_file", "x"), ("unknown", "1")):
        message = pb.TraceSettingRequest()
        message.settings[key].value.append(value)
        yield call(f"TraceSetting {key}={value}", "TraceSetting", message)
    for key, kind, setting in (
        ("log_info", "bool_param", True), ("log_info", "string_param", "x"), ("log_verbose_level", "uint32_param", 0),
        ("log_file", "string_param", "x"), ("log_format", "string_param", "other"), ("unknown", "bool_param", True),
    ):  # fmt: skip
        settings = pb.LogSettingsRequest()
        setattr(settings.settings[key], kind, setting)
        yield call(f"LogSettings {key}={setting}", "LogSettings", settings)


def _inference() -> Iterator[GrpcCase]:
    yield call("infer: raw", "ModelInfer", request())
    yield call("infer: id", "ModelInfer", request(id="seven"))
    yield call("infer: version", "ModelInfer", request(model_version="1"))
    yield call("infer: empty message", "ModelInfer", b"")
    yield call("infer: unknown model", "ModelInfer", request("unknown"))
    yield call("infer: no model", "ModelInfer", request(""))
    for version in ("2", "x", "-1"):
        yield call(f"infer: version {version}", "ModelInfer", request(model_version=version))
    for name, message in {
        "contents": one("sum", "FP32", [1, 2], None, fp32_contents=[1, 2]),
        "scalar output": one("sum", "FP32", [2, 2], _ROWS * 2),
        "trap": one("trap", "FP32", [1, 1], struct.pack("<f", 1)),
        "refuse": one("refuse", "FP32", [1, 1], struct.pack("<f", 1)),
        "BYTES": one("echo_bytes", "BYTES", [1, 2], b"\1\0\0\0a\0\0\0\0"),
        "BYTES in contents": one("echo_bytes", "BYTES", [1, 1], None, bytes_contents=[b"\xff"]),
        "BYTES, cut": one("echo_bytes", "BYTES", [1, 1], b"\5\0\0\0a"),
        "BYTES, cut length": one("echo_bytes", "BYTES", [1, 1], b"\5\0"),
        "BYTES, too few": one("echo_bytes", "BYTES", [1, 2], b"\1\0\0\0a"),
        "BYTES, too many": one("echo_bytes", "BYTES", [1, 1], b"\1\0\0\0a\1\0\0\0a"),
        "FP16": one("echo_fp16", "FP16", [1, 2], b"\0\x3c\0\0"),
        "BF16": one("echo_bf16", "BF16", [1, 2], b"\0\x3c\0\0"),
        "FP16 in contents": one("echo_fp16", "FP16", [1, 1], None, fp32_contents=[1]),
        "BOOL in contents": one("echo_bool", "BOOL", [1, 2], None, bool_contents=[True, False]),
        "BOOL that is 2": one("echo_bool", "BOOL", [1, 1], b"\2"),
        "INT8 in contents": one("echo_int8", "INT8", [1, 2], None, int_contents=[-128, 127]),
        "INT8 in contents, out of range": one("echo_int8", "INT8", [1, 1], None, int_contents=[128]),
        "UINT64 in contents": one("echo_uint64", "UINT64", [1, 1], None, uint64_contents=[2**64 - 1]),
        "wrong contents": one("sum", "FP32", [1, 1], None, fp64_contents=[1]),
        "two contents": one("sum", "FP32", [1, 1], None, fp32_contents=[1], fp64_contents=[1]),
        "too few contents": one("sum", "FP32", [1, 2], None, fp32_contents=[1]),
        "too many contents": one("sum", "FP32", [1, 1], None, fp32_contents=[1, 2]),
        "no contents": one("sum", "FP32", [1, 1], None),
        "no contents, no elements": one("sum", "FP32", [1, 0], None),
        "no raw contents, no elements": one("sum", "FP32", [1, 0], b""),
        "contents and raw contents": one("sum", "FP32", [1, 1], _ROWS[:4], fp32_contents=[1]),
        "raw contents too short": one("sum", "FP32", [1, 2], _ROWS[:4]),
        "raw contents too long": one("sum", "FP32", [1, 1], _ROWS),
        "wrong datatype": one("sum", "FP64", [1, 1], _ROWS),
        "unknown datatype": one("sum", "FP99", [1, 1], _ROWS[:4]),
        "no datatype": one("sum", "", [1, 1], _ROWS[:4]),
        "negative shape": one("sum", "FP32", [1, -1], _ROWS[:4]),
        "no shape": one("sum", "FP32", [], _ROWS[:4]),
        "rank 1": one("sum", "FP32", [2], _ROWS),
        "rank 3": one("sum", "FP32", [1, 2, 1], _ROWS),
        "9 rows": one("sum", "FP32", [9, 1], _ROWS[:4] * 9),
        "no rows": one("sum", "FP32", [0, 1], b""),
        "huge shape": one("sum", "FP32", [2**40, 2**40], _ROWS),
        "wrong fixed size": one("fixed", "FP32", [2], _ROWS),
    }.items():
        yield call(f"infer: {name}", "ModelInfer", message)
    for name, contents in {
        "one raw content": [_ROWS],
        "three raw contents": [_ROWS] * 3,
        "empty raw content": [_ROWS, b""],
    }.items():
        message = request()
        message.raw_input_contents[:] = contents
        yield call(f"infer: {name}", "ModelInfer", message)
    message = request()
    message.inputs[1].name = "a"
    yield call("infer: input twice", "ModelInfer", message)
    message = request()
    message.inputs[1].name = "z"
    yield call("infer: unknown input", "ModelInfer", message)
    message = request()
    message.inputs[1].shape[:] = [1, 2]
    yield call("infer: other batch", "ModelInfer", message)
    for name, count in (("input missing", 1), ("no inputs", 0)):
        message = request()
        del message.inputs[count:], message.raw_input_contents[count:]
        yield call(f"infer: {name}", "ModelInfer", message)
    message = request()
    message.inputs.add(name="z", datatype="FP32", shape=[2, 1])
    message.raw_input_contents.append(_ROWS)
    yield call("infer: input too many", "ModelInfer", message)


def _parameters() -> Iterator[GrpcCase]:
    for key, value in (
        ("mine", 1), ("mine", "x"), ("mine", True), ("mine", ("uint64_param", 1)), ("mine", ("double_param", 1.5)), ("triton_x", 1),
        ("triton_enable_empty_final_response", True), ("triton_enable_empty_final_response", 1),
        ("timeout", 100_000_000), ("timeout", 0), ("timeout", -1), ("timeout", "x"), ("timeout", ("uint64_param", 100_000_000)),
        ("priority", 1), ("priority", 0), ("priority", -1), ("priority", "x"), ("priority", ("uint64_param", 1)),
        ("sequence_id", 5), ("sequence_id", 0), ("sequence_id", "s"), ("sequence_id", True),
        ("sequence_start", True), ("sequence_start", 1), ("sequence_end", "x"),
        ("binary_data_output", True), ("wasm.timeout_ms", 5000), ("wasm.timeout_ms", "x"), ("wasm.other", 1),
    ):  # fmt: skip
        message = request()
        set_parameter(message.parameters, key, value)
        yield call(f"parameter {key}={value}", "ModelInfer", message)
    message = request()
    message.parameters["mine"].SetInParent()
    yield call("parameter without value", "ModelInfer", message)
    for key, value in (("shared_memory_region", "r"), ("mine", 1), ("binary_data_size", 8)):
        message = request()
        set_parameter(message.inputs[0].parameters, key, value)
        yield call(f"input parameter {key}={value}", "ModelInfer", message)


def _outputs() -> Iterator[GrpcCase]:
    for name, outputs in {
        "known": ["y"],
        "unknown": ["z"],
        "twice": ["y", "y"],
        "known and unknown": ["y", "z"],
        "empty name": [""],
    }.items():
        message = request()
        for each in outputs:
            message.outputs.add(name=each)
        yield call(f"outputs: {name}", "ModelInfer", message)
    swapped = pb.ModelInferRequest(model_name="swap", raw_input_contents=[struct.pack("<4f", 1, 2, 3, 4), bytes(4)])
    swapped.inputs.add(name="a", datatype="FP32", shape=[1, 4])
    swapped.inputs.add(name="b", datatype="INT32", shape=[1, 1])
    for each in ("d", "c"):
        swapped.outputs.add(name=each)
    yield call("outputs: in the other order", "ModelInfer", swapped)
    for key, value in (
        ("classification", 1), ("classification", 0), ("classification", -1), ("classification", 9), ("classification", "x"),
        ("shared_memory_region", "r"), ("binary_data", True), ("mine", 1),
    ):  # fmt: skip
        message = request()
        set_parameter(message.outputs.add(name="y").parameters, key, value)
        yield call(f"output parameter {key}={value}", "ModelInfer", message)


def stream(name: str, *messages: Any) -> GrpcCase:
    """A stream of requests."""
    contents = tuple(each if isinstance(each, bytes) else each.SerializeToString() for each in messages)
    return GrpcCase(f"grpc stream: {name}", "ModelStreamInfer", contents)


def _streams() -> Iterator[GrpcCase]:
    yield stream("nothing")
    yield stream("one request", request(id="1"))
    yield stream("three requests", *(request(id=str(number)) for number in range(3)))
    yield stream("unknown model", request("unknown", id="1"))
    yield stream("unknown version", request(id="1", model_version="7"))
    yield stream("trap", one("trap", "FP32", [1, 1], struct.pack("<f", 1)))
    faulty = request(id="2")
    del faulty.inputs[1:], faulty.raw_input_contents[1:]
    yield stream("input missing", faulty)
    yield stream("error between requests", request(id="1"), faulty, request(id="3"))
    for value in (True, False, 1):
        final = request(id="1")
        set_parameter(final.parameters, "triton_enable_empty_final_response", value)
        yield stream(f"triton_enable_empty_final_response={value}", final)
    final = request("unknown", id="1")
    set_parameter(final.parameters, "triton_enable_empty_final_response", True)
    yield stream("error with triton_enable_empty_final_response", final)
    yield stream("garbage", GARBAGE)
    yield stream("raw contents missing", one("sum", "FP32", [1, 1], None))
