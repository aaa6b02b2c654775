"""What the service application serves when it runs without a container: modules, a spec's modules, or a folder."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import UsageError
from ..inspection import inspect
from .service.settings import LicenseSettings, ModelSettings, ServiceSettings, told

SERVICE_FILE = "service.json"
_SPECS = (".toml", ".yaml", ".yml", ".json")


@contextlib.contextmanager
def staged(
    sources: Sequence[Path], name: str | None, changes: Mapping[str, Any]
) -> Iterator[tuple[ServiceSettings, Path]]:
    """The settings for `sources`, changed by `changes`, and the folder to serve: that of a ``service.json``, or one
    that is removed afterwards and links to modules, or to those of a spec.

    `name` is what a single module is called. Raises UsageError, WasmError, and InputProblems for a spec.
    """
    file = sources[0] / SERVICE_FILE if sources[0].is_dir() else sources[0]
    if len(sources) == 1 and file.name == SERVICE_FILE:
        yield _changed(_read(file), changes), file.parent
        return
    described, models = _modules(sources, name)
    settings = _changed({**described, "models": tuple(model for model, _ in models)}, changes)
    with tempfile.TemporaryDirectory(prefix="portalis-run-") as text:
        folder = Path(text)
        for model, path in models:
            (folder / model.file).symlink_to(path.absolute())
        yield settings, folder


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(ServiceSettings.model_validate_json(file.read_bytes()))
    except OSError as problem:
        raise UsageError(f"cannot read {file}: {problem.strerror}") from None
    except ValidationError as problem:
        raise UsageError(f"{file}: {told(problem)}") from None


def _changed(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> ServiceSettings:
    try:
        return ServiceSettings.model_validate({**settings, **changes})
    except ValidationError as problem:
        raise UsageError(told(problem)) from None


def _modules(sources: Sequence[Path], name: str | None) -> tuple[dict[str, Any], list[tuple[ModelSettings, Path]]]:
    if len(sources) == 1 and sources[0].suffix.lower() in _SPECS:
        return _of_spec(sources[0])
    if name is not None and len(sources) > 1:
        raise UsageError("--name is for a single module", remediation="Write the names of several into a spec file.")
    models = []
    for path in sources:
        _look(path, None)
        models.append((_model(name or path.stem, {}), path))
    return {}, models


def _of_spec(file: Path) -> tuple[dict[str, Any], list[tuple[ModelSettings, Path]]]:
    from ..spec import read_spec

    spec = read_spec(file)
    models = []
    for binary in spec.wasm_binaries:
        declared = binary.interface.model_dump(mode="json", exclude_none=True)
        _look(binary.path, declared)
        models.append((_model(binary.module_name, declared), binary.path))
    described: dict[str, Any] = {
        "name": spec.package_name,
        "version": spec.package_version,
        "description": spec.description,
    }
    if spec.distribution_config.license_type:
        described["license"] = LicenseSettings(name=spec.distribution_config.license_type)
    return described, models


def _model(name: str, interface: dict[str, Any]) -> ModelSettings:
    try:
        return ModelSettings(name=name, file=f"{name}.wasm", interface=interface)
    except ValidationError:
        raise UsageError(
            f"{name!r} is no name for a model, which has letters, digits, dots, dashes and underscores",
            remediation="Name it with --name, or in a spec file.",
        ) from None


def _look(path: Path, interface: Mapping[str, Any] | None) -> None:
    """Refuse what the service could not serve, while a person looks."""
    if not path.is_file():
        what = "is a folder without a service.json" if path.is_dir() else "does not exist"
        raise UsageError(f"{path} {what}", remediation="Name .wasm files, a service.json, or a spec file.")
    found = inspect(path, interface or None)
    why = found.invalid or found.refused or found.no_interface
    if why:
        raise UsageError(
            why if str(path) in why else f"{path} cannot be served: {why}",
            remediation="`portalis annotate` writes an interface into a module; a spec file says it beside it.",
        )
