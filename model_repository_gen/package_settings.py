"""Settings of the package's ``triton_config`` for each model: a setting applies to every model that supports it.

A setting that a module does not support, for example a batch size greater than its own, is dropped for its model with
a warning. A setting in the module's own ``triton_config`` is never dropped: an unsupported one is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..contracts.errors import ErrorType, TritonConfigError
from ..contracts.output import PackagingWarning, WarningSeverity
from ..spec import PackageSpec, WasmBinaryPath
from ..spec.triton import TritonConfiguration
from ..target import StageError
from .pbtxt import ModelConfig

# in the order in which they are tested: other settings depend on the batch size, and the cache on the scheduler
SETTINGS: Final = (
    "max_batch_size",
    "backend_parameters",
    "sequence_batching",
    "dynamic_batching",
    "instance_groups",
    "warmup",
    "response_cache",
    "optimization",
    "metrics",
    "version_policy",
    "model_transaction_policy",
    "batch_inputs",
    "batch_outputs",
)
_SCHEDULERS: Final = {"dynamic_batching": "sequence_batching", "sequence_batching": "dynamic_batching"}
_DEFAULTS: Final = TritonConfiguration()
_ONE_SCHEDULER = "a model has one scheduler, and the module's own triton_config sets {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedSetting:
    """A setting of the package that does not apply to a model, or applies in part."""

    key: str
    part: str
    """The part that was dropped, as text for a message; empty if the whole setting was dropped."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedConfig:
    """The configuration of a model, the settings that it was built from, and the settings that were dropped."""

    config: ModelConfig
    settings: TritonConfiguration
    dropped: tuple[DroppedSetting, ...] = ()


def inherited_settings(spec: PackageSpec, binary: WasmBinaryPath) -> tuple[str, ...]:
    """The keys of the settings that a module inherits from the package; none for the only module of a package, whose
    settings they are."""
    own = set() if binary.triton_config is None else binary.triton_config.model_fields_set
    several = len(spec.wasm_binaries) > 1
    return tuple(key for key in SETTINGS if several and key in spec.triton_config.model_fields_set - own)


def resolve_settings(
    spec: PackageSpec, binary: WasmBinaryPath
) -> tuple[TritonConfiguration, tuple[DroppedSetting, ...]]:
    """The Triton settings of a module; the package's scheduler is dropped if the module sets the other one."""
    settings, dropped = spec.triton_for(binary), list[DroppedSetting]()
    for key, other in _SCHEDULERS.items():
        own = binary.triton_config is not None and getattr(binary.triton_config, other) is not None
        if own and key in inherited_settings(spec, binary) and getattr(settings, key) is not None:
            settings = _without(settings, key)
            dropped.append(DroppedSetting(key=key, part="", reason=_ONE_SCHEDULER.format(other)))
    return settings, tuple(dropped)


def fit_settings(
    spec: PackageSpec, binary: WasmBinaryPath, build: Callable[[TritonConfiguration], ModelConfig]
) -> FittedConfig:
    """Build the configuration of a module with every inherited setting that `build` accepts.

    Raises the StageError of `build` if it rejects the module's own settings.
    """
    settings, dropped = resolve_settings(spec, binary)
    try:
        return FittedConfig(config=build(settings), settings=settings, dropped=dropped)
    except StageError as error:
        keys = inherited_settings(spec, binary)
        accepted = settings.model_copy(update={key: getattr(_DEFAULTS, key) for key in keys})
        try:
            config = build(accepted)
        except StageError:
            raise error from None
    all_dropped = list(dropped)
    for key in keys:
        reason = ""
        for value, part in _narrower(key, getattr(settings, key), config.max_batch_size):
            try:
                config = build(accepted.model_copy(update={key: value}))
            except StageError as error:
                reason = reason or _reason(error)
                continue
            accepted = accepted.model_copy(update={key: value})
            all_dropped += [DroppedSetting(key=key, part=part, reason=reason)] if part else []
            break
        else:
            all_dropped.append(DroppedSetting(key=key, part="", reason=reason))
    return FittedConfig(config=config, settings=accepted, dropped=tuple(all_dropped))


def _narrower(key: str, value: Any, max_batch_size: int) -> Iterator[tuple[Any, str]]:
    """`value`, then reduced values, each with a description of the reduction; `max_batch_size` is the model's own."""
    yield value, ""
    if key == "max_batch_size" and max_batch_size and value is not None and value > max_batch_size:
        yield max_batch_size, f"{max_batch_size} instead of {value}"
    elif key == "dynamic_batching" and max_batch_size and value is not None:
        sizes = tuple(size for size in value.preferred_batch_size if size <= max_batch_size)
        lost = [str(size) for size in value.preferred_batch_size if size > max_batch_size]
        yield (
            value.model_copy(update={"preferred_batch_size": sizes}),
            f"without preferred_batch_size {', '.join(lost)}",
        )
    elif key == "backend_parameters":
        for name in value:
            remaining = {each: text for each, text in value.items() if each != name}
            yield remaining, f"without {name}"


def _without(settings: TritonConfiguration, key: str) -> TritonConfiguration:
    return settings.model_copy(update={key: getattr(_DEFAULTS, key)})


def _reason(error: StageError) -> str:
    details = error.details
    return "; ".join(details.config_errors) if isinstance(details, TritonConfigError) else error.message


def dropped_setting_warnings(name: str, dropped: Sequence[DroppedSetting]) -> Iterator[PackagingWarning]:
    """A warning for each setting of the package that was dropped for the model `name`."""
    for each in dropped:
        how = f"applies to model {name!r} in part ({each.part})" if each.part else f"does not apply to model {name!r}"
        yield PackagingWarning(
            message=f"triton_config.{each.key} {how}: {each.reason}",
            severity=WarningSeverity.Medium,
            remediation=f"Set {each.key} in the triton_config of the modules that support it, or set a different value"
            " for this module (wasm_binaries.triton_config).",
        )


def unused_setting_errors(
    models: Sequence[tuple[str, tuple[str, ...], Sequence[DroppedSetting]]],
) -> Iterator[StageError]:
    """An error for each setting of the package that applies to no model. `models` holds, for each model, its name, the
    keys of its inherited settings, and the dropped settings."""
    for key in SETTINGS:
        inheriting = [(name, dropped) for name, keys, dropped in models if key in keys]
        whole = [(name, each) for name, dropped in inheriting for each in dropped if each.key == key and not each.part]
        if inheriting and len(whole) == len(inheriting):
            yield StageError(
                ErrorType.TritonConfigError,
                f"triton_config.{key} applies to no model of the package: {whole[0][1].reason}",
                remediation=f"Set triton_config.{key} to a value that a module supports, or remove it.",
                details=TritonConfigError(config_errors=tuple(f"{name}: {each.reason}" for name, each in whole)),
            )
