"""Reports of the models of this process."""

from __future__ import annotations

import json

from .codec import encode_tensor, write_json
from .module_model import ModuleModel, smallest_inputs
from .reports import ModelReport
from .served_model import ServedModel
from .service import Service


def report_models(service: Service) -> tuple[ModelReport, ...]:
    """The states of all models."""
    return tuple(
        ModelReport(
            name=model.name,
            ready=model.ready,
            failure=model.failure,
            example=_example_body(model) if model.ready else "",
        )
        for model in service.models.values()
    )


def _example_body(model: ServedModel) -> str:
    """The body of a request for `model`."""
    # inputs from service.json can contain NaN, which orjson writes as null
    if isinstance(model, ModuleModel) and model.settings.warm_up:
        return json.dumps({"inputs": list(model.settings.warm_up)})
    interface = model.interface
    arrays = smallest_inputs(interface)
    inputs = [encode_tensor(spec, arrays[spec.name]) for spec in interface.inputs if spec.name in arrays]
    return write_json({"inputs": inputs}).decode()
