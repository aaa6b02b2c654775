"""Models without a module, as the steps of ensembles in tests: a function of arrays, which notes its requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portalis.nim.service.codec import OutputRequest, ParsedRequest
from portalis.nim.service.ensemble_settings import EnsembleSettings
from portalis.nim.service.ensembles import EnsembleModel
from portalis.nim.service.memory_budget import MemoryBudget
from portalis.nim.service.runtime_api import Convention, Interface, TensorSpec, parse_dtype
from portalis.nim.service.scheduling import Outputs
from portalis.nim.service.served_model import ServedModel
from tests.nim.service.test_ensemble_checks import ensemble


class FunctionModel(ServedModel):
    """`function` with the inputs a, b, … and the outputs y, z; `dims` as in an interface."""

    platform = "test"

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        inputs: str = "a",
        outputs: str = "y",
        optional: str = "",
        dims: tuple[int, ...] = (-1,),
        max_batch_size: int = 0,
        dtype: str = "FP32",
    ) -> None:
        super().__init__(name, "1", {})
        self._function = function
        self.requests: list[ParsedRequest] = []
        kind = parse_dtype(dtype)
        self._interface = Interface(
            "f",
            Convention.DLPACK,
            tuple(TensorSpec(each, kind, dims, each in optional) for each in inputs),
            tuple(TensorSpec(each, kind, dims) for each in outputs),
            max_batch_size=max_batch_size,
        )

    @property
    def interface(self) -> Interface:
        return self._interface

    async def run(self, request: ParsedRequest) -> Outputs:
        self.requests.append(request)
        found = self._function(**request.inputs)
        found = await found if hasattr(found, "__await__") else found
        return dict(zip("yz", found if isinstance(found, tuple) else (found,)))

    def complete_config(self, config: Any) -> None:
        pass

    def statistics_document(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass

    def _start(self) -> None:
        pass


def started(
    models: Sequence[ServedModel],
    document: dict[str, Any],
    folder: Path = Path(),
    budget: MemoryBudget | None = None,
    max_response_bytes: int = 1 << 30,
) -> EnsembleModel:
    """The ensemble of `models` with the settings `document`, which is started after them."""
    settings = EnsembleSettings.model_validate(document)
    budget = budget or MemoryBudget(1 << 30)
    model = EnsembleModel(settings, {each.name: each for each in models}, folder, budget, max_response_bytes)
    for each in (*models, model):
        if not each.settled.is_set():
            each.start()
    return model


def asking(model: ServedModel, *outputs: str, timeout_s: float | None = None, **inputs: np.ndarray) -> ParsedRequest:
    """A request for `outputs`, by default for all of them."""
    specs = {spec.name: spec for spec in model.interface.outputs}
    return ParsedRequest("7", inputs, [OutputRequest(specs[name]) for name in outputs or specs], timeout_s)


def run(model: ServedModel, *outputs: str, timeout_s: float | None = None, **inputs: np.ndarray) -> Any:
    """The outputs of one request."""
    return asyncio.run(model.run(asking(model, *outputs, timeout_s=timeout_s, **inputs)))


def same(a: np.ndarray) -> np.ndarray:
    """The identity, without a copy."""
    return a


def nested(n: int, innermost: FunctionModel) -> ServedModel:
    """`n` ensembles around a model, with the inputs and outputs of the model."""
    model: ServedModel = innermost
    for i in range(n):
        around = {"model_name": model.name, "input_map": {"a": "a"}, "output_map": {"y": "y"}}
        model = started([model], ensemble(f"e{i}", "a", "y", around))
    return model
