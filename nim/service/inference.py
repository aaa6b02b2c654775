"""One inference: the JSON of a request to the JSON of its response. It is work for a thread, not for the event loop."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from pydantic import ValidationError

from .models import Model
from .problems import Problem, bad_input, of_runtime
from .runtime import Interface, TensorSpec, WasmError
from .schema import InferRequest
from .settings import told
from .tensors import decode, encode


def infer(model: Model, body: bytes) -> bytes:
    """The response of `model` to the request in `body`, both JSON. Raises Problem."""
    program = model.program
    request = _read(_parse(body))
    inputs = _inputs(program.interface, request)
    wanted = _wanted(program.interface, [each.name for each in request.outputs or ()])
    try:
        outputs = program.run(inputs)
    except WasmError as error:
        raise of_runtime(error) from None
    answer: dict[str, Any] = {"model_name": model.name, "model_version": model.settings.version}
    if request.id is not None:
        answer["id"] = request.id
    answer["outputs"] = [encode(spec, outputs[spec.name]) for spec in wanted]
    try:
        return json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise bad_input("id has half of a surrogate pair, which is no text") from None


def inputs_of(interface: Interface, request: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a request's JSON object. Raises Problem with status 400."""
    return _inputs(interface, _read(request))


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise bad_input("the request is nested too deeply") from None
    except ValueError as problem:
        raise bad_input(f"the request is no JSON: {problem}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON; write it as text")


def _read(request: Any) -> InferRequest:
    try:
        return InferRequest.model_validate(request)
    except ValidationError as problem:
        raise bad_input(told(problem)[:2000]) from None


def _inputs(interface: Interface, request: InferRequest) -> dict[str, np.ndarray]:
    specs = {spec.name: spec for spec in interface.inputs}
    arrays: dict[str, np.ndarray] = {}
    for tensor in request.inputs:
        if tensor.name not in specs:
            raise bad_input(f"there is no input {tensor.name[:128]!r}; the inputs are {', '.join(specs)}")
        if tensor.name in arrays:
            raise bad_input(f"input '{tensor.name}' is given twice")
        arrays[tensor.name] = decode(tensor, specs[tensor.name])
    return arrays


def _wanted(interface: Interface, names: Sequence[str]) -> list[TensorSpec]:
    specs = {spec.name: spec for spec in interface.outputs}
    for name in names:
        if name not in specs:
            raise bad_input(f"there is no output {name[:128]!r}; the outputs are {', '.join(specs)}")
    return [specs[name] for name in names] or list(specs.values())


__all__ = ["Problem", "infer", "inputs_of"]
