"""The build context of a service image: the Dockerfile and every file that it copies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .. import __version__
from ..engines.build_context import BuildContext
from ..escaping import escape_hidden
from ..output.package_layout import WASM_RUNTIME
from ..pins import format_pins
from ..problems import InputProblems, Problem
from ..spec.container import ContainerConfiguration
from ..wasm_backend import ISLAND_NAME, island_files, source_files
from .container_checks import container_problems
from .dockerfile import SERVICE, render_dockerfile
from .image_pins import image_pins, pin_problems, pinned_wasmtime_version
from .service.ensemble_settings import EnsembleSettings
from .service.settings import LicenseSettings, ModelSettings, ServiceSettings
from .wasm_runtimes import RuntimeFiles, runtime_problems
from .wheelhouse import select_wheels

_HERE = Path(__file__).parent
_IGNORE = "*\n!requirements.txt\n!unverified.txt\n!wheels\n!wasm-runtime\n!app\n!models\n**/__pycache__\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLabels:
    """The package's metadata for the labels of its images."""

    package: str
    version: str
    description: str = ""
    licenses: str = ""
    """An SPDX expression, or the name of a license."""
    license_text: str = ""
    source: str = ""
    created: str = ""
    """A date and time (RFC 3339); empty for no such label, as it would differ between runs."""
    authors: str = ""
    url: str = ""
    documentation: str = ""
    revision: str = ""
    """The revision of the source in its version control system."""


def build_context(
    config: ContainerConfiguration,
    *,
    models: Sequence[tuple[ModelSettings, Path]],
    labels: ImageLabels,
    label_files: Mapping[str, Path] | None = None,
    workers: int = 0,
    runtime: RuntimeFiles | None = None,
    ensembles: Sequence[EnsembleSettings] = (),
) -> BuildContext:
    """The context of an image that serves `models`, each with its settings and its module, in `runtime` if passed, and
    `ensembles` of them.

    `label_files` are the label files of the models' settings, by name. A model's `file` must be its name with
    ``.wasm``. If `config.wheelhouse` is set, the context contains the wheels
    that the image's pins refer to, and the build needs no network. Raises InputProblems if `config` is invalid.
    """
    if problems := list(image_context_problems(config)):
        raise InputProblems(problems, source="the container configuration")
    for model, _ in models:
        if model.file != f"{model.name}.wasm":
            raise ValueError(f"module of {model.name!r}: expected the file name {model.name}.wasm, got {model.file!r}")
    names = [model.name for model, _ in models]
    requirements = _requirements(config)
    recipe = render_dockerfile(
        config,
        labels=image_labels(config, names, labels),
        modules=names,
        offline=config.wheelhouse is not None,
        unverified="unverified.txt" in requirements,
        runtime=runtime,
    )
    service = ServiceSettings(
        name=labels.package,
        version=labels.version,
        description=labels.description,
        service_port=config.service_port,
        grpc_port=config.grpc_port,
        metrics_port=config.metrics_port,
        health_check_endpoint=config.health_check_endpoint,
        workers=workers,
        license=LicenseSettings(**({"name": labels.licenses} if labels.licenses else {}), text=labels.license_text),
        models=tuple(_with_runtime(runtime, model) for model, _ in models),
        ensembles=tuple(ensembles),
    )
    document = service.model_dump_json(indent=2, exclude_defaults=True)
    files: dict[str, bytes | Path] = {
        "Dockerfile": recipe.text.encode(),
        ".dockerignore": _IGNORE.encode(),
        **requirements,
        "models/service.json": (escape_hidden(document) + "\n").encode(),
    }
    files |= {f"models/{model.file}": module for model, module in models}
    files |= {f"models/{name}": path for name, path in (label_files or {}).items()}
    if runtime is not None:
        files |= {f"{WASM_RUNTIME}/{path}": source for path, source in runtime.files.items()}
    service_files = source_files((_HERE / "service").resolve())
    for name, package in ((SERVICE, service_files), (ISLAND_NAME, island_files())):
        files |= {f"app/{name}/{path}": source for path, source in package}
    return BuildContext(files={PurePosixPath(path): files[path] for path in sorted(files)}, arguments=recipe.arguments)


def image_context_problems(config: ContainerConfiguration) -> Iterator[Problem]:
    """Settings that an image cannot be built with."""
    yield from container_problems(config)
    yield from runtime_problems(config)
    problems = list(pin_problems(config))
    yield from problems
    if config.wheelhouse is not None and not problems:
        yield from select_wheels(
            config.wheelhouse, image_pins(pinned_wasmtime_version(config)), config.base_image
        ).problems


def image_labels(config: ContainerConfiguration, modules: Sequence[str], package: ImageLabels) -> dict[str, str]:
    """The labels of an image: those of the requirements (3.2), and those of the OCI image specification.

    ``wasm.module`` is the name of the module, or the names of all modules, separated by commas.
    """
    oci = {
        "title": f"{package.package}-{modules[0]}" if len(modules) == 1 else package.package,
        "version": package.version,
        "description": package.description,
        "licenses": package.licenses,
        "source": package.source,
        "created": package.created,
        "authors": package.authors,
        "url": package.url,
        "documentation": package.documentation,
        "revision": package.revision,
        "vendor": "Portalis Platform",
        "base.name": config.base_image,
        "base.digest": config.base_image.partition("@")[2],
    }
    own = {
        "maintainer": "Portalis Platform",
        "version": package.version,
        "package": package.package,
        "wasm.module": ",".join(modules),
        "io.portalis.version": __version__,
    }
    return {**own, **{f"org.opencontainers.image.{key}": value for key, value in oci.items() if value}}


def _with_runtime(runtime: RuntimeFiles | None, model: ModelSettings) -> ModelSettings:
    changes = {} if runtime is None else {"wasm_runtime": runtime.name, "wasm_runtime_command": runtime.command}
    return model.model_copy(update=changes)


def _requirements(config: ContainerConfiguration) -> dict[str, bytes | Path]:
    """The files that pip installs from.

    ``requirements.txt`` has the pins with hashes, ``unverified.txt`` the pins without (pip rejects a file that has
    both), ``wheels/`` the selected wheels.
    """
    pins, wheels = image_pins(pinned_wasmtime_version(config)), tuple[Path, ...]()
    if config.wheelhouse is not None:
        selection = select_wheels(config.wheelhouse, pins, config.base_image)
        pins, wheels = selection.pins, selection.wheels
    files: dict[str, bytes | Path] = {f"wheels/{wheel.name}": wheel for wheel in wheels}
    files["requirements.txt"] = format_pins(pin for pin in pins if pin.hashes).encode()
    if unverified := format_pins(pin for pin in pins if not pin.hashes):
        files["unverified.txt"] = unverified.encode()
    return files
