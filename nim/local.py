"""The models and settings of a service that runs without a container: of modules, a spec or a directory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..errors import UsageError
from ..inspection import inspect_module
from ..naming import service_problem
from .ensembles_of_spec import ensembles_of_spec
from .model_labels import is_image, with_labels
from .model_sequences import sequence_problem
from .service.settings import LicenseSettings, ModelSettings, ServiceSettings, describe_settings_error

if TYPE_CHECKING:
    from ..spec import PackageSpec

# keys of triton_config that change the results of a model or their timing, and that the service does not apply
_TRITON_KEYS = frozenset(("backend_parameters", "batch_inputs", "batch_outputs", "inputs", "max_batch_size", "outputs"))
_TENSOR_KEYS = frozenset(("allow_ragged_batch", "format", "is_shape_tensor"))
SERVICE_FILE = "service.json"
_SPEC_SUFFIXES = (".toml", ".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedFolder:
    """The settings of a service and the directory of its modules."""

    settings: ServiceSettings
    folder: Path
    warnings: tuple[str, ...] = ()
    """Everything in the sources that is not served, each with the reason and with the command that serves it."""


@contextlib.contextmanager
def served_folder(sources: Sequence[Path], name: str | None, changes: Mapping[str, Any]) -> Iterator[ServedFolder]:
    """The directory to serve for `sources`, with its settings changed by `changes`.

    A ``service.json`` or its directory is served as it is. Modules, or those of a single spec, are linked into a
    temporary directory, which is removed at the end. `name` replaces the name of a single module. Raises UsageError,
    WasmError, and InputProblems for a spec.
    """
    file = sources[0] / SERVICE_FILE if sources[0].is_dir() else sources[0]
    if len(sources) == 1 and file.name == SERVICE_FILE:
        yield ServedFolder(settings=_with_changes(_read_settings(file), changes), folder=file.parent)
        return
    selection = _select_models(sources, name)
    models = tuple(model for model, _ in selection.models)
    settings = _with_changes({**selection.settings, "models": models}, changes)
    with tempfile.TemporaryDirectory(prefix="portalis-run-") as path:
        folder = Path(path)
        for model, module in selection.models:
            (folder / model.file).symlink_to(module.absolute())
        for label_file, source in selection.label_files.items():
            (folder / label_file).symlink_to(source.absolute())
        yield ServedFolder(settings=settings, folder=folder, warnings=selection.warnings)


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        return dict(ServiceSettings.model_validate_json(file.read_bytes()))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except ValidationError as error:
        raise UsageError(f"{file}: {describe_settings_error(error)}") from None


def _with_changes(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> ServiceSettings:
    try:
        return ServiceSettings.model_validate({**settings, **changes})
    except ValidationError as error:
        raise UsageError(describe_settings_error(error)) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selection:
    """Settings of the service without its models, the models with their modules, label files by name, and warnings."""

    settings: dict[str, Any]
    models: list[tuple[ModelSettings, Path]]
    label_files: Mapping[str, Path] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def _select_models(sources: Sequence[Path], name: str | None) -> _Selection:
    if len(sources) == 1 and sources[0].suffix.lower() in _SPEC_SUFFIXES:
        return _select_from_spec(sources[0])
    if name is not None and len(sources) > 1:
        raise UsageError(
            "--name requires a single module", remediation="Set the names of several modules in a spec file."
        )
    models = []
    for path in sources:
        _check_module(path, None)
        models.append((_model_settings(name or path.stem, {}, "Name it with --name, or in a spec file."), path))
    return _Selection(settings={}, models=models)


def _select_from_spec(file: Path) -> _Selection:
    from ..spec import read_spec

    spec = read_spec(file)
    models = []
    label_files: dict[str, Path] = {}
    for i, binary in enumerate(spec.wasm_binaries):
        interface = binary.interface.model_dump(mode="json", exclude_none=True)
        _check_module(binary.path, interface)
        remediation = f"Change the name: wasm_binaries[{i}].name in {file}."
        if problem := sequence_problem(spec.triton_for(binary)):
            raise UsageError(
                f"{binary.path} cannot be served: {problem}",
                remediation="Serve the model repository of the package with Triton, or omit the key.",
            )
        model, files = with_labels(_model_settings(binary.module_name, interface, remediation), spec, binary)
        models.append((model, binary.path))
        label_files |= files
    settings: dict[str, Any] = {
        "name": spec.package_name,
        "version": spec.package_version,
        "description": spec.description,
    }
    if spec.distribution_config.license_type:
        settings["license"] = LicenseSettings(name=spec.distribution_config.license_type)
    ensembles = ensembles_of_spec(spec, [model.name for model, _ in models])
    settings["ensembles"] = ensembles.settings
    label_files |= ensembles.label_files
    warnings = tuple(_warnings(spec, file, ensembles.skipped))
    return _Selection(settings=settings, models=models, label_files=label_files, warnings=warnings)


def _warnings(spec: PackageSpec, file: Path, skipped: Mapping[str, str]) -> Iterator[str]:
    """Everything in `spec` that the service does not serve, with the reason. `skipped` has the ensembles that are not
    served."""
    for name, reason in skipped.items():
        yield f"not served: ensemble {name} of {file}: {reason}"
    tensors = [tensor for each in spec.triton_config.ensembles for tensor in (*each.inputs, *each.outputs)]
    unused = {key for tensor in tensors for key in tensor.model_fields_set} & _TENSOR_KEYS
    if unused:
        yield f"not used: {', '.join(sorted(unused))} of tensors of ensembles in {file}, because only Triton uses it"
    configs = [spec.triton_config, *(binary.triton_config for binary in spec.wasm_binaries)]
    keys = {key for config in configs if config is not None for key in config.model_fields_set} & _TRITON_KEYS
    if keys:
        labels = any(output.label_filename for config in configs if config is not None for output in config.outputs)
        formats = any(is_image(each) for config in configs if config is not None for each in config.inputs)
        used = "; the label files of outputs are used" * labels + "; the formats of images are used" * formats
        names = ", triton_config.".join(sorted(keys))
        yield f"not used: triton_config.{names} of {file}, because only Triton uses it{used}"
    runtime = spec.container_config.wasm_runtime.value
    if runtime != ModelSettings.model_fields["wasm_runtime"].default:
        yield (
            f"not used: container_config.wasm_runtime of {file}, because {runtime} is the runtime of images;"
            " `portalis run` uses Wasmtime"
        )


def _model_settings(name: str, interface: dict[str, Any], remediation: str) -> ModelSettings:
    if problem := service_problem(name):
        raise UsageError(f"{name!r} {problem}", remediation=remediation)
    return ModelSettings(name=name, file=f"{name}.wasm", interface=interface)


def _check_module(path: Path, interface: Mapping[str, Any] | None) -> None:
    """Raise UsageError for a module that the service could not serve, before the service starts."""
    if not path.is_file():
        problem = "is a directory without a service.json" if path.is_dir() else "does not exist"
        raise UsageError(f"{path} {problem}", remediation="Name .wasm files, a service.json, or a spec file.")
    module = inspect_module(path, interface or None, "spec")
    # a module that exceeds a limit fails when it is loaded, and the others are served without it
    findings = [finding for finding in module.findings("service") if not finding.limit]
    if module.invalid or findings:
        reason = module.invalid or "; ".join(finding.why for finding in findings)
        remediation = " ".join(finding.remediation for finding in findings) or "Rebuild the module."
        raise UsageError(f"{path} cannot be served: {reason}", remediation=remediation)
    if module.no_interface:
        raise UsageError(
            module.no_interface,
            remediation="Write an interface into the module with `portalis annotate`, or declare it in a spec file.",
        )
