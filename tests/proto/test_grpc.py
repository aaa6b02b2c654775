"""The .proto files, compiled by the real protoc, and their messages against Triton's own."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from portalis.errors import MissingPart
from portalis.proto.api_models import ApiModel, ApiTensor
from portalis.proto.proto_file import file_name, models_proto, proto_package, shared_files
from portalis.proto.protoc import ProtocFailed, descriptor_set

from .test_openapi import DTYPES

KEYWORDS = [
    "syntax",
    "import",
    "package",
    "option",
    "message",
    "enum",
    "service",
    "rpc",
    "stream",
    "repeated",
    "optional",
    "oneof",
    "map",
    "reserved",
    "extend",
    "true",
    "string",
    "None",
    "class",
    "inf",
    "to",
    "max",
    "weak",
    "public",
    "returns",
    "group",
]
NAMES = st.text(min_size=1) | st.sampled_from(
    [*KEYWORDS, 'a"b', "a\\", "a\nb", "a\0b", "*/", "//", "ä", "foo_bar", "fooBar"]
)


def files(package: str, models: list[ApiModel]) -> dict[str, str]:
    shared = shared_files()
    return {**shared, file_name(package): models_proto(package, models)}


class Compiled:
    """A descriptor pool of protoc's output."""

    def __init__(self, package: str, models: list[ApiModel]) -> None:
        found = descriptor_set(files(package, models), file_name(package))
        parsed = descriptor_pb2.FileDescriptorSet.FromString(found)
        self.pool = descriptor_pool.DescriptorPool()
        for file in parsed.file:
            self.pool.Add(file)
        self.package = proto_package(package)

    def kind(self, name: str) -> Any:
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def options(self, descriptor: Any, extension: str) -> Any:
        """The value of an option, read with the pool's extension."""
        known = self.pool.FindExtensionByName(extension)
        kind = self.kind(known.containing_type.full_name)
        return kind.FromString(descriptor.GetOptions().SerializeToString()).Extensions[known]


def model(*tensors: ApiTensor, name: str = "m", description: str = "") -> ApiModel:
    return ApiModel(name=name, version="3", description=description, max_batch_size=8, inputs=tensors, outputs=tensors)


def test_every_data_type_has_a_typed_tensor_that_round_trips() -> None:
    tensors = [ApiTensor(name=datatype, datatype=datatype, shape=(-1,)) for datatype in DTYPES]
    compiled = Compiled("demo", [model(*tensors, name="all-types")])
    (name,) = [
        n for n in compiled.pool.FindFileByName("demo_models.proto").message_types_by_name if n.endswith("Inputs")
    ]
    message = compiled.kind(f"portalis.models.demo.{name}")()
    values: dict[str, Any] = {"BOOL": [True], "BYTES": [b"\xff"], "FP16": b"\0\x3c", "BF16": b"\x80\x3f"}
    for datatype in DTYPES:
        tensor = getattr(message, datatype)
        tensor.shape.append(1)
        value = values.get(datatype, [1])
        if isinstance(value, bytes):
            tensor.data = value
        else:
            tensor.data.extend(value)
    again = type(message).FromString(message.SerializeToString())
    assert again == message
    assert again.UINT64.data == [1]


@given(
    st.lists(NAMES, min_size=1, max_size=3, unique=True),
    st.lists(NAMES, min_size=1, max_size=5, unique=True),
    st.text(),
)
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_protoc_accepts_any_names_and_the_options_contain_them(
    names: list[str], tensors: list[str], description: str
) -> None:
    given = [ApiTensor(name=each, datatype="FP32", shape=(-1, 4), optional=True) for each in tensors]
    package = names[0]
    compiled = Compiled(package, [model(*given, name=name, description=description) for name in names])
    found = compiled.pool.FindFileByName(file_name(package)).message_types_by_name.values()
    assert {compiled.options(each, "portalis.v1.model").name for each in found} == set(names)
    for each in found:
        options = [compiled.options(field, "portalis.v1.tensor") for field in each.fields]
        assert [option.name for option in options] == tensors
        assert all(option.shape == [-1, 4] and option.optional for option in options)


def fields_of(message: Any) -> set[tuple[Any, ...]]:
    return {
        (f.name, f.number, f.type, f.is_repeated, f.message_type.full_name if f.message_type else None)
        for f in message.fields
    }


def test_the_protocol_has_the_names_numbers_and_types_of_tritons() -> None:
    compiled = Compiled("demo", [model(ApiTensor(name="x", datatype="FP32", shape=()))])
    ours = compiled.pool.FindFileByName("open_inference.proto")
    theirs = service_pb2.DESCRIPTOR
    checked = 0

    def compare(mine: Any, other: Any) -> None:
        nonlocal checked
        assert fields_of(mine) <= fields_of(other), mine.full_name
        checked += 1
        for name, nested in mine.nested_types_by_name.items():
            compare(nested, other.nested_types_by_name[name])

    for name, message in ours.message_types_by_name.items():
        compare(message, theirs.message_types_by_name[name])
    assert checked > 20
    service, real = ours.services_by_name["GRPCInferenceService"], theirs.services_by_name["GRPCInferenceService"]
    for method in service.methods:
        known = real.methods_by_name[method.name]
        assert (method.input_type.full_name, method.output_type.full_name) == (
            known.input_type.full_name,
            known.output_type.full_name,
        )


def test_a_request_of_the_protocol_is_read_by_tritons_client_and_back() -> None:
    compiled = Compiled("demo", [model(ApiTensor(name="x", datatype="FP32", shape=(2,)))])
    request = compiled.kind("inference.ModelInferRequest")(model_name="m", id="7")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[2])
    tensor.contents.fp32_contents.extend([0.5, 1.5])
    request.parameters["priority"].int64_param = 3
    theirs = service_pb2.ModelInferRequest.FromString(request.SerializeToString())
    assert (theirs.model_name, theirs.id, theirs.parameters["priority"].int64_param) == ("m", "7", 3)
    np.testing.assert_array_equal(theirs.inputs[0].contents.fp32_contents, [0.5, 1.5])
    answer = service_pb2.ModelInferResponse(model_name="m", raw_output_contents=[b"\0\0\0?"])
    mine = compiled.kind("inference.ModelInferResponse").FromString(answer.SerializeToString())
    assert mine.raw_output_contents == [b"\0\0\0?"]


def test_an_error_of_protoc_contains_its_message() -> None:
    with pytest.raises(ProtocFailed, match="bad.proto:1:1"):
        descriptor_set({"bad.proto": "nonsense"}, "bad.proto")


def test_the_error_without_protoc_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc_tools", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPart, match=r"portalis\[proto\]"):
        descriptor_set({}, "a.proto")
