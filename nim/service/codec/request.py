"""One inference: from the body of a request to what the runtime takes, and from what it gives to the response's body.

Both ends are work that may take long for large tensors, and touch nothing shared: any thread may do it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from ..request_errors import RequestError, guest_timeout, input_error
from ..runtime_api import Interface, TensorSpec
from . import encoding
from .binary_data import Body, Piece, Tail, explained, raw, split
from .inference_schema import (
    InferRequest,
    RequestedOutput,
    RequestParameters,
    Tensor,
    TensorParameters,
    V2InferRequest,
    V2Tensor,
)
from .json_codec import parse, written
from .json_tensors import decode, encode
from .raw_tensors import check_heads, checked_dtype, from_raw
from .validation import misfits

_Request = TypeVar("_Request", InferRequest, V2InferRequest)
SMALL_BYTES = 1 << 16
"""Up to here a body is decoded and encoded where it is met, on the event loop: anything else takes longer."""
LARGE_OUTPUT_BYTES = 1 << 18
"""From here on JSON is encoded in pieces."""
_SEND_IT = "; send the tensor itself"


@dataclass(frozen=True)
class Question:
    """What a request says: arrays by input, the outputs that are wanted and whether each is wanted as raw bytes; how
    long the answer may take, and how long the module may compute."""

    id: str | None
    inputs: dict[str, np.ndarray]
    outputs: list[tuple[TensorSpec, bool]]
    timeout_s: float | None
    guest_timeout_s: float | None


@dataclass(frozen=True)
class Answer:
    """A response's body in pieces, which for large JSON are encoded as they are taken: then `size` is None.

    `json_length` is that of the JSON in front of raw bytes, None where all is JSON.
    """

    pieces: Iterable[Piece]
    size: int | None
    json_length: int | None = None

    @classmethod
    def of(cls, *pieces: Piece, json_length: int | None = None) -> Answer:
        """One whose pieces are all there."""
        return cls(pieces, sum(map(len, pieces)), json_length)


def understood(interface: Interface, body: Body, header_length: str | None = None, *, v2: bool = False) -> Question:
    """The request in `body`. With `v2` its tensors may be raw bytes behind the JSON, which has `header_length` bytes.

    Arrays may be views of `body`. Raises RequestError with status 400 that names what is wrong.
    """
    thorough = len(body) > SMALL_BYTES
    if v2:
        head, tail = split(body, header_length)
        try:
            found = parse(head)
        except RequestError as problem:
            raise explained(problem, body, header_length, v2=True) from None
        return _question(interface, found, _read(V2InferRequest, found), Tail(tail), thorough=thorough)
    try:
        found = parse(body)
    except RequestError as problem:
        raise explained(problem, body, None, v2=False) from None
    question = _question(interface, found, _read(InferRequest, found), Tail(memoryview(b"")), thorough=thorough)
    if any(binary for _, binary in question.outputs):
        raise input_error("outputs as raw bytes are sent by /v2/models/{name}/infer only")
    return question


def inputs_of(interface: Interface, request: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a request's JSON object. Raises RequestError with status 400."""
    return _inputs(interface, _read(InferRequest, request), Tail(memoryview(b"")))


def answered(model_name: str, model_version: str, question: Question, outputs: Mapping[str, np.ndarray]) -> Answer:
    """The response to `question`. From `LARGE_OUTPUT_BYTES` on, JSON is encoded lazily."""
    answer: dict[str, Any] = {"model_name": model_name, "model_version": model_version}
    if question.id is not None:
        answer["id"] = question.id
    as_json = [outputs[spec.name] for spec, binary in question.outputs if not binary]
    if encoding.size_of(as_json) > LARGE_OUTPUT_BYTES:
        return _lazily(answer, question, outputs)
    tensors, pieces = [], []
    for spec, binary in question.outputs:
        array = outputs[spec.name]
        if not binary:
            tensors.append(encode(spec, array))
            continue
        piece = raw(spec, array)
        pieces.append(piece)
        tensors.append(_raw_head(spec, array, piece))
    answer["outputs"] = tensors
    head = written(answer)
    return Answer.of(head, *pieces, json_length=len(head)) if pieces else Answer.of(head)


def _lazily(answer: dict[str, Any], question: Question, outputs: Mapping[str, np.ndarray]) -> Answer:
    tensors: list[tuple[dict[str, Any], TensorSpec, np.ndarray | None]] = []
    pieces: list[Piece] = []
    for spec, binary in question.outputs:
        array = outputs[spec.name]
        if binary:
            pieces.append(raw(spec, array))
            tensors.append((_raw_head(spec, array, pieces[-1]), spec, None))
        else:
            tensors.append(({"name": spec.name, "datatype": spec.dtype.name, "shape": array.shape}, spec, array))
    document = encoding.document(answer, tensors)
    if not pieces:
        return Answer(document, None)
    head = list(document)  # its length is sent in front of it
    return Answer.of(*head, *pieces, json_length=sum(map(len, head)))


def _raw_head(spec: TensorSpec, array: np.ndarray, piece: Piece) -> dict[str, Any]:
    size = {"binary_data_size": len(piece)}
    return {"name": spec.name, "datatype": spec.dtype.name, "shape": array.shape, "parameters": size}


def _read(kind: type[_Request], request: Any) -> _Request:
    try:
        return kind.model_validate(request)
    except ValidationError as problem:
        raise input_error(misfits(problem)) from None


def _question(
    interface: Interface,
    found: Mapping[str, Any],
    request: InferRequest | V2InferRequest,
    tail: Tail,
    *,
    thorough: bool = False,
) -> Question:
    parameters = request.parameters or RequestParameters()
    if parameters.sequence_id:
        raise input_error("sequence_id is given, but no model of this service keeps sequences")
    guest_timeout_s = guest_timeout(found["parameters"]) if request.parameters else None
    inputs = _inputs(interface, request, tail, thorough=thorough)
    outputs = _outputs(interface, request.outputs or (), binary=bool(parameters.binary_data_output))
    timeout_s = parameters.timeout / 1e6 if parameters.timeout else None
    return Question(request.id, inputs, outputs, timeout_s, guest_timeout_s)


def _inputs(
    interface: Interface, request: InferRequest | V2InferRequest, tail: Tail, *, thorough: bool = False
) -> dict[str, np.ndarray]:
    """The arrays by name. Where `thorough`, heads are looked at before any data are: large data are dear to convert."""
    specs = {spec.name: spec for spec in interface.inputs}
    heads: dict[str, Tensor | V2Tensor] = {}
    for tensor in request.inputs:
        if tensor.name not in specs:
            raise input_error(f"there is no input {tensor.name[:128]!r}; the inputs are {', '.join(specs)}")
        if tensor.name in heads:
            raise input_error(f"input '{tensor.name}' is given twice")
        heads[tensor.name] = tensor
    missing = [spec.name for spec in interface.inputs if not spec.optional and spec.name not in heads]
    if missing:
        raise input_error("; ".join(f"input '{name}' is missing" for name in missing))
    if thorough:
        check_heads(interface, {name: (tensor.datatype, tensor.shape) for name, tensor in heads.items()})
    arrays = {name: _input(tensor, specs[name], tail) for name, tensor in heads.items()}
    tail.finish()
    return arrays


def _input(tensor: Tensor | V2Tensor, spec: TensorSpec, tail: Tail) -> np.ndarray:
    where, parameters = f"input '{tensor.name}'", tensor.parameters or TensorParameters()
    if parameters.shared_memory_region is not None:
        raise input_error(f"{where} lies in shared memory, which this service does not read{_SEND_IT}")
    size = parameters.binary_data_size
    if size is None:
        if tensor.data is None:
            raise input_error(f"{where} has neither data nor binary_data_size")
        return decode(tensor, spec)
    if tensor.data is not None:
        raise input_error(f"{where} has both data and binary_data_size")
    checked_dtype(where, tensor.datatype, spec)
    return from_raw(spec, tensor.shape, tail.take(size, where))


def _outputs(
    interface: Interface, requested: list[RequestedOutput] | tuple[()], *, binary: bool
) -> list[tuple[TensorSpec, bool]]:
    if not requested:
        return [(spec, binary) for spec in interface.outputs]
    specs = {spec.name: spec for spec in interface.outputs}
    wanted: dict[str, tuple[TensorSpec, bool]] = {}
    for output in requested:
        name, parameters = output.name, output.parameters
        if name not in specs:
            raise input_error(f"there is no output {name[:128]!r}; the outputs are {', '.join(specs)}")
        if name in wanted:
            raise input_error(f"output '{name}' is asked for twice")
        own = None
        if parameters is not None:
            if parameters.shared_memory_region is not None:
                raise input_error(f"output '{name}' cannot go into shared memory; ask for the tensor itself")
            if parameters.classification:
                raise input_error(f"output '{name}': this service has no classification; ask for the tensor itself")
            own = parameters.binary_data
        wanted[name] = (specs[name], binary if own is None else own)
    return list(wanted.values())
