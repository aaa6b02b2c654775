"""The build context of a service image: the Dockerfile and all that it copies, for one module or all of a package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from .image_pins import image_pins, pin_problems, wasmtime_version
from .service.settings import LicenseSettings, ModelSettings, ServiceSettings
from .wasm_runtimes import RuntimeFiles, runtime_problems
from .wheelhouse import select_wheels

_HERE = Path(__file__).parent
_IGNORE = "*\n!requirements.txt\n!unverified.txt\n!wheels\n!wasm-runtime\n!app\n!models\n**/__pycache__\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLabels:
    """What the labels say of the package."""

    package: str
    version: str
    description: str = ""
    licenses: str = ""
    """An SPDX expression, or a name."""
    license_text: str = ""
    source: str = ""
    created: str = ""
    """RFC 3339; left out when empty, as it would differ from run to run."""
    authors: str = ""
    url: str = ""
    documentation: str = ""
    revision: str = ""
    """Of the source, in its version control."""


def build_context(
    config: ContainerConfiguration,
    *,
    models: Sequence[tuple[ModelSettings, Path]],
    about: ImageLabels,
    workers: int = 0,
    runtime: RuntimeFiles | None = None,
) -> BuildContext:
    """The context for an image that serves `models`: how each is served, and its module (`file` has to be the model's
    name with ``.wasm``), in `runtime` where that is given.

    With `config.wheelhouse` those of its wheels come along that the image's pins mean, and the build needs no network.
    Raises InputProblems for what no image can be made with.
    """
    if found := list(image_context_problems(config)):
        raise InputProblems(found, source="the container configuration")
    for model, _ in models:
        if model.file != f"{model.name}.wasm":
            raise ValueError(f"the module of {model.name!r} has to be called {model.name}.wasm, not {model.file!r}")
    names = [model.name for model, _ in models]
    install = _install(config)
    recipe = render_dockerfile(
        config,
        labels=image_labels(config, names, about),
        modules=names,
        offline=config.wheelhouse is not None,
        unverified="unverified.txt" in install,
        runtime=runtime,
    )
    service = ServiceSettings(
        name=about.package,
        version=about.version,
        description=about.description,
        service_port=config.service_port,
        grpc_port=config.grpc_port,
        metrics_port=config.metrics_port,
        health_check_endpoint=config.health_check_endpoint,
        workers=workers,
        license=LicenseSettings(**({"name": about.licenses} if about.licenses else {}), text=about.license_text),
        models=tuple(_run_in(runtime, model) for model, _ in models),
    )
    document = service.model_dump_json(indent=2, exclude_defaults=True)
    files: dict[str, bytes | Path] = {
        "Dockerfile": recipe.text.encode(),
        ".dockerignore": _IGNORE.encode(),
        **install,
        "models/service.json": (escape_hidden(document) + "\n").encode(),
    }
    files |= {f"models/{model.file}": module for model, module in models}
    if runtime is not None:
        files |= {f"{WASM_RUNTIME}/{path}": source for path, source in runtime.files.items()}
    service_files = source_files((_HERE / "service").resolve())
    for name, package in ((SERVICE, service_files), (ISLAND_NAME, island_files())):
        files |= {f"app/{name}/{path}": source for path, source in package}
    return BuildContext(files={PurePosixPath(path): files[path] for path in sorted(files)}, arguments=recipe.arguments)


def image_context_problems(config: ContainerConfiguration) -> Iterator[Problem]:
    """What no image can be made with, each with its path in the spec."""
    yield from container_problems(config)
    yield from runtime_problems(config)
    found = list(pin_problems(config))
    yield from found
    if config.wheelhouse is not None and not found:
        yield from select_wheels(config.wheelhouse, image_pins(wasmtime_version(config)), config.base_image).problems


def image_labels(config: ContainerConfiguration, modules: Sequence[str], about: ImageLabels) -> dict[str, str]:
    """The labels that every image gets: those of the requirements (3.2), and those of the OCI image specification.

    ``wasm.module`` is the name of the module; of several, their names with commas between."""
    oci = {
        "title": f"{about.package}-{modules[0]}" if len(modules) == 1 else about.package,
        "version": about.version,
        "description": about.description,
        "licenses": about.licenses,
        "source": about.source,
        "created": about.created,
        "authors": about.authors,
        "url": about.url,
        "documentation": about.documentation,
        "revision": about.revision,
        "vendor": "Portalis Platform",
        "base.name": config.base_image,
        "base.digest": config.base_image.partition("@")[2],
    }
    told = {f"org.opencontainers.image.{key}": value for key, value in oci.items() if value}
    own = {
        "maintainer": "Portalis Platform",
        "version": about.version,
        "package": about.package,
        "wasm.module": ",".join(modules),
        "io.portalis.version": __version__,
    }
    return {**own, **told}


def _run_in(runtime: RuntimeFiles | None, model: ModelSettings) -> ModelSettings:
    how = {} if runtime is None else {"wasm_runtime": runtime.name, "wasm_runtime_command": runtime.command}
    return model.model_copy(update=how)


def _install(config: ContainerConfiguration) -> dict[str, bytes | Path]:
    """What pip is given: ``requirements.txt`` with the hash of every file, ``unverified.txt`` with pins whose hashes
    are not known (pip takes no file with some of both), and the wheels."""
    wanted, wheels = image_pins(wasmtime_version(config)), tuple[Path, ...]()
    if config.wheelhouse is not None:
        chosen = select_wheels(config.wheelhouse, wanted, config.base_image)
        wanted, wheels = chosen.pins, chosen.wheels
    files: dict[str, bytes | Path] = {f"wheels/{wheel.name}": wheel for wheel in wheels}
    files["requirements.txt"] = format_pins(pin for pin in wanted if pin.hashes).encode()
    if unverified := format_pins(pin for pin in wanted if not pin.hashes):
        files["unverified.txt"] = unverified.encode()
    return files
