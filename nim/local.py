"""What the service application serves when it runs without a container: modules, a spec's modules, or a folder."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..errors import UsageError
from ..inspection import inspect_module
from ..naming import service_trouble
from .service.settings import LicenseSettings, ModelSettings, ServiceSettings, describe_settings_error

if TYPE_CHECKING:
    from ..spec import PackageSpec

# the keys of triton_config that change what a model answers, and when
_OF_TRITON = frozenset(("backend_parameters", "batch_inputs", "batch_outputs", "inputs", "max_batch_size", "outputs"))
SERVICE_FILE = "service.json"
_SPECS = (".toml", ".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """What is served: settings, the folder with the modules, and what of the sources is left out, each with the reason
    and with what serves it."""

    settings: ServiceSettings
    folder: Path
    left_out: tuple[str, ...] = ()


@contextlib.contextmanager
def staged(sources: Sequence[Path], name: str | None, changes: Mapping[str, Any]) -> Iterator[Staging]:
    """`sources` to serve, with their settings changed by `changes`: the folder of a ``service.json``, or one that is
    removed afterwards and links to modules, or to those of a spec.

    `name` is what a single module is called. Raises UsageError, WasmError, and InputProblems for a spec.
    """
    file = sources[0] / SERVICE_FILE if sources[0].is_dir() else sources[0]
    if len(sources) == 1 and file.name == SERVICE_FILE:
        yield Staging(settings=_changed(_read(file), changes), folder=file.parent)
        return
    found = _modules(sources, name)
    settings = _changed({**found.described, "models": tuple(model for model, _ in found.models)}, changes)
    with tempfile.TemporaryDirectory(prefix="portalis-run-") as text:
        folder = Path(text)
        for model, path in found.models:
            (folder / model.file).symlink_to(path.absolute())
        yield Staging(settings=settings, folder=folder, left_out=found.left_out)


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(ServiceSettings.model_validate_json(file.read_bytes()))
    except OSError as problem:
        raise UsageError(f"cannot read {file}: {problem.strerror}") from None
    except ValidationError as problem:
        raise UsageError(f"{file}: {describe_settings_error(problem)}") from None


def _changed(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> ServiceSettings:
    try:
        return ServiceSettings.model_validate({**settings, **changes})
    except ValidationError as problem:
        raise UsageError(describe_settings_error(problem)) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The service's settings without its models, the models with their files, and what is left out."""

    described: dict[str, Any]
    models: list[tuple[ModelSettings, Path]]
    left_out: tuple[str, ...] = ()


def _modules(sources: Sequence[Path], name: str | None) -> _Found:
    if len(sources) == 1 and sources[0].suffix.lower() in _SPECS:
        return _of_spec(sources[0])
    if name is not None and len(sources) > 1:
        raise UsageError("--name is for a single module", remediation="Write the names of several into a spec file.")
    models = []
    for path in sources:
        _look(path, None)
        models.append((_model(name or path.stem, {}, "Name it with --name, or in a spec file."), path))
    return _Found(described={}, models=models)


def _of_spec(file: Path) -> _Found:
    from ..spec import read_spec

    spec = read_spec(file)
    models = []
    for i, binary in enumerate(spec.wasm_binaries):
        declared = binary.interface.model_dump(mode="json", exclude_none=True)
        _look(binary.path, declared)
        remedy = f"Give it another name: wasm_binaries[{i}].name in {file}."
        models.append((_model(binary.module_name, declared, remedy), binary.path))
    described: dict[str, Any] = {
        "name": spec.package_name,
        "version": spec.package_version,
        "description": spec.description,
    }
    if spec.distribution_config.license_type:
        described["license"] = LicenseSettings(name=spec.distribution_config.license_type)
    return _Found(described=described, models=models, left_out=tuple(_left_out(spec, file)))


def _left_out(spec: PackageSpec, file: Path) -> Iterator[str]:
    """What of the spec the service does not serve, each with the reason and with what does serve it."""
    names = [ensemble.name for ensemble in spec.triton_config.ensembles]
    if names:
        repository = shlex.quote(str(spec.output_directory / str(spec.triton_config.model_repository_path)))
        yield (
            f"not served: ensemble{'s' * (len(names) > 1)} {', '.join(names)} of {file}, as the service runs single"
            f" modules. Triton serves ensembles: portalis package {shlex.quote(str(file))}, then"
            f" portalis serve {repository}"
        )
    given = [spec.triton_config, *(binary.triton_config for binary in spec.wasm_binaries)]
    keys = {key for config in given if config is not None for key in config.model_fields_set} & _OF_TRITON
    if keys:
        yield f"not used: triton_config.{', triton_config.'.join(sorted(keys))} of {file}, which is for Triton alone"
    runtime = spec.container_config.wasm_runtime.value
    if runtime != ModelSettings.model_fields["wasm_runtime"].default:
        yield (
            f"not used: container_config.wasm_runtime of {file} is {runtime}, which images run modules in;"
            " `portalis run` runs them in Wasmtime"
        )


def _model(name: str, interface: dict[str, Any], remedy: str) -> ModelSettings:
    if trouble := service_trouble(name):
        raise UsageError(f"{name!r} {trouble}", remediation=remedy)
    return ModelSettings(name=name, file=f"{name}.wasm", interface=interface)


def _look(path: Path, interface: Mapping[str, Any] | None) -> None:
    """Refuse what the service could not serve, while a person looks."""
    if not path.is_file():
        what = "is a folder without a service.json" if path.is_dir() else "does not exist"
        raise UsageError(f"{path} {what}", remediation="Name .wasm files, a service.json, or a spec file.")
    found = inspect_module(path, interface or None, "spec")
    # what a limit forbids is left to the model: the others are served without it
    refused = [each for each in found.findings("service") if not each.limit]
    if found.invalid or refused:
        why = found.invalid or "; ".join(each.why for each in refused)
        remediation = " ".join(each.remediation for each in refused) or "Build it anew."
        raise UsageError(f"{path} cannot be served: {why}", remediation=remediation)
    if found.no_interface:
        raise UsageError(
            found.no_interface,
            remediation="`portalis annotate` writes an interface into a module; a spec file says it beside it.",
        )
