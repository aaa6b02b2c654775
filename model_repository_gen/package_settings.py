"""Settings of the package's ``triton_config`` for each of its models: they apply where they can.

What one module cannot have, such as a batch size above its own, is left out of its model, and the report says so. What
a module sets itself is never left out: there it is an error.
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

# in this order they are tried: the others depend on the batch size, and the cache on the scheduler
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
_ONE_OF = "a model is scheduled in one way, and the module's own triton_config sets {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedSetting:
    """A setting, or a part of one, that a model does not have, and why."""

    key: str
    part: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedConfig:
    """The configuration of a model, what it was made of, and what of the package's settings it is without."""

    config: ModelConfig
    given: TritonConfiguration
    left_out: tuple[DroppedSetting, ...] = ()


def inherited_settings(spec: PackageSpec, binary: WasmBinaryPath) -> tuple[str, ...]:
    """The settings that a module has from the package; none where it is the only one, as they are its own then."""
    own = set() if binary.triton_config is None else binary.triton_config.model_fields_set
    several = len(spec.wasm_binaries) > 1
    return tuple(key for key in SETTINGS if several and key in spec.triton_config.model_fields_set - own)


def resolve_settings(
    spec: PackageSpec, binary: WasmBinaryPath
) -> tuple[TritonConfiguration, tuple[DroppedSetting, ...]]:
    """The Triton configuration of a module, without a scheduler of the package where the module has another."""
    given, left_out = spec.triton_for(binary), list[DroppedSetting]()
    for key, other in _SCHEDULERS.items():
        own = binary.triton_config is not None and getattr(binary.triton_config, other) is not None
        if own and key in inherited_settings(spec, binary) and getattr(given, key) is not None:
            given = _without(given, key)
            left_out.append(DroppedSetting(key=key, part="", why=_ONE_OF.format(other)))
    return given, tuple(left_out)


def fit_settings(
    spec: PackageSpec, binary: WasmBinaryPath, build: Callable[[TritonConfiguration], ModelConfig]
) -> FittedConfig:
    """What `build` makes of the settings that the module can have. Raises its StageError where the module's own are
    refused."""
    given, left_out = resolve_settings(spec, binary)
    try:
        return FittedConfig(config=build(given), given=given, left_out=left_out)
    except StageError as refusal:
        keys = inherited_settings(spec, binary)
        kept = given.model_copy(update={key: getattr(_DEFAULTS, key) for key in keys})
        try:
            config = build(kept)
        except StageError:
            raise refusal from None
    found = list(left_out)
    for key in keys:
        why = ""
        for value, part in _narrower(key, getattr(given, key), config.max_batch_size):
            try:
                config = build(kept.model_copy(update={key: value}))
            except StageError as problem:
                why = why or _reason(problem)
                continue
            kept = kept.model_copy(update={key: value})
            found += [DroppedSetting(key=key, part=part, why=why)] if part else []
            break
        else:
            found.append(DroppedSetting(key=key, part="", why=why))
    return FittedConfig(config=config, given=kept, left_out=tuple(found))


def _narrower(key: str, value: Any, most: int) -> Iterator[tuple[Any, str]]:
    """`value`, and less of it, with what is missing then. `most` is the batch size that the model has without it."""
    yield value, ""
    if key == "max_batch_size" and most and value is not None and value > most:
        yield most, f"{value} is {most} there"
    elif key == "dynamic_batching" and most and value is not None:
        sizes = tuple(size for size in value.preferred_batch_size if size <= most)
        lost = [str(size) for size in value.preferred_batch_size if size > most]
        yield (
            value.model_copy(update={"preferred_batch_size": sizes}),
            f"without preferred_batch_size {', '.join(lost)}",
        )
    elif key == "backend_parameters":
        for name in value:
            rest = {each: text for each, text in value.items() if each != name}
            yield rest, f"without {name}"


def _without(given: TritonConfiguration, key: str) -> TritonConfiguration:
    return given.model_copy(update={key: getattr(_DEFAULTS, key)})


def _reason(problem: StageError) -> str:
    details = problem.details
    return "; ".join(details.config_errors) if isinstance(details, TritonConfigError) else problem.message


def dropped_setting_warnings(name: str, left_out: Sequence[DroppedSetting]) -> Iterator[PackagingWarning]:
    """What the report says of a model that is without settings of the package."""
    for each in left_out:
        how = f"applies to model {name!r} in part ({each.part})" if each.part else f"does not apply to model {name!r}"
        yield PackagingWarning(
            message=f"triton_config.{each.key} {how}: {each.why}",
            severity=WarningSeverity.Medium,
            remediation=f"Set {each.key} in the triton_config of the modules that it is for, or another one for this"
            " module (wasm_binaries.triton_config).",
        )


def unused_setting_errors(
    made: Sequence[tuple[str, tuple[str, ...], Sequence[DroppedSetting]]],
) -> Iterator[StageError]:
    """An error for each setting of the package that no model has. `made` has, of each model, its name, the keys of the
    package's settings, and those that it is without."""
    for key in SETTINGS:
        wanted = [(name, left_out) for name, keys, left_out in made if key in keys]
        without = [(name, each) for name, left_out in wanted for each in left_out if each.key == key and not each.part]
        if wanted and len(without) == len(wanted):
            yield StageError(
                ErrorType.TritonConfigError,
                f"triton_config.{key} applies to no model of the package: {without[0][1].why}",
                remediation=f"Change triton_config.{key} to what a module can have, or leave it out.",
                details=TritonConfigError(config_errors=tuple(f"{name}: {each.why}" for name, each in without)),
            )
