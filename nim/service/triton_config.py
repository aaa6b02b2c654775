"""The configuration of a model, as Triton reports it: its message over gRPC, and the JSON of the message over HTTP."""

from __future__ import annotations

from collections.abc import MutableMapping, MutableSequence
from typing import Any

from .codec.protobuf_messages import pb
from .codec.scalars import served_dims
from .runtime_api import TensorSpec
from .served_model import ServedModel

_MAX_INT32 = 2**31 - 1
_LATER_FIELDS = frozenset(("max_inflight_requests",))  # fields of the client's message that Triton 2.51 lacks


def model_config(model: ServedModel) -> Any:
    """The ``ModelConfig`` of `model`, with the defaults that Triton adds. Raises RequestError with status 503 before
    the model is loaded."""
    interface = model.interface
    config = pb.ModelConfigResponse().config
    config.name = model.name
    config.version_policy.latest.num_versions = 1
    config.max_batch_size = min(interface.max_batch_size, _MAX_INT32)
    for spec in interface.inputs:
        _add_tensor(config.input, spec, optional=spec.optional)
    for spec in interface.outputs:
        _add_tensor(config.output, spec, label_filename=model.label_files.get(spec.name, ""))
    model.complete_config(config)
    return config


def config_document(config: Any) -> dict[str, Any]:
    """The JSON object of `config`, in the order of the message: with all fields that have no presence, and with numbers
    of 64 bits as numbers."""
    return _document(config)


def _add_tensor(tensors: Any, spec: TensorSpec, **fields: Any) -> None:
    tensors.add(name=spec.name, data_type=spec.dtype.triton, dims=served_dims(spec), **fields)


def _document(message: Any) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if (field.has_presence and not message.HasField(field.name)) or field.name in _LATER_FIELDS:
            continue
        document[field.name] = _value(field, getattr(message, field.name))
    return document


def _value(field: Any, value: Any) -> Any:
    if isinstance(value, MutableMapping):
        entry = field.message_type.fields_by_name["value"]
        return {str(key): _value(entry, value[key]) for key in sorted(value)}
    if isinstance(value, MutableSequence):
        return [_single(field, each) for each in value]
    return _single(field, value)


def _single(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _document(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
