"""The sequences of a spec's stateful modules, as settings of the service and its images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from .service.sequence_settings import SequenceSettings
from .service.settings import describe_settings_error

if TYPE_CHECKING:
    from ..spec.triton import TritonConfiguration

_ISOLATION = "wasm.isolation"
MAX_INSTANCES = 1024
"""The largest `sequence_instances`; a model has no more sequences than that."""


def sequence_settings(config: TritonConfiguration) -> dict[str, Any]:
    """The settings of a model that its `config` changes because the model has sequences; none if it has none."""
    if config.sequence_batching is None or sequence_problem(config):
        return {}
    isolation = config.backend_parameters.get(_ISOLATION, "batch")
    return {
        "sequence_batching": _settings(config),
        "isolation": isolation,
        "sequence_instances": _instances(config),
    }


def _instances(config: TritonConfiguration) -> int:
    """The number of instances that run requests in Triton, within the range of the setting."""
    active = [group for group in config.instance_groups if not group.passive]
    return min(max(1, sum(group.count * max(1, len(group.gpus or ())) for group in active)), MAX_INSTANCES)


def sequence_problem(config: TritonConfiguration) -> str:
    """The reason why the service cannot run the sequences of a model with `config`; "" if it can."""
    if config.sequence_batching is None:
        return ""
    try:
        _settings(config)
    except ValidationError as error:
        return f"triton_config.sequence_batching: {describe_settings_error(error)}"
    return ""


def _settings(config: TritonConfiguration) -> SequenceSettings:
    assert config.sequence_batching is not None
    return SequenceSettings.model_validate(config.sequence_batching.model_dump(mode="json", exclude_unset=True))
