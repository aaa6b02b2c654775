"""The build context of a service image: the Dockerfile and all that it copies, for one module or all of a package."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .. import __version__
from ..errors import UsageError
from ..spec.container import ContainerConfiguration
from ..wasm_backend import ISLAND_NAME, island
from . import dockerfile
from .service.settings import ModelSettings, ServiceSettings

_HERE = Path(__file__).parent
_PINNED_RUNTIME = re.compile(r"^wasmtime==(\S+)", re.MULTILINE)
_IGNORE = "*\n!requirements.txt\n!wheels\n!app\n!models\n**/__pycache__\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an engine builds from. `files` are sorted by path; `arguments` are the Dockerfile's build arguments."""

    files: Mapping[PurePosixPath, bytes | Path]
    arguments: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the labels say of the package."""

    package: str
    version: str
    description: str = ""
    licenses: str = ""
    source: str = ""
    created: str = ""
    """RFC 3339; left out when empty, as it would differ from run to run."""


def build_context(
    config: ContainerConfiguration, *, models: Sequence[tuple[ModelSettings, Path]], about: About, workers: int = 0
) -> Context:
    """The context for an image that serves `models`: how each is served, and its module (`file` has to be the model's
    name with ``.wasm``).

    With `config.wheelhouse` its wheels come along, and the build needs no network. Raises InputProblems for what no
    image can be made with, UsageError for a wheelhouse without wheels or a runtime version that cannot be.
    """
    for model, _ in models:
        if model.file != f"{model.name}.wasm":
            raise ValueError(f"the module of {model.name!r} has to be called {model.name}.wasm, not {model.file!r}")
    names = [model.name for model, _ in models]
    recipe = dockerfile.render(
        config, labels=labels(config, names, about), modules=names, offline=config.wheelhouse is not None
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
        models=tuple(model for model, _ in models),
    )
    files: dict[str, bytes | Path] = {
        "Dockerfile": recipe.text.encode(),
        ".dockerignore": _IGNORE.encode(),
        "requirements.txt": requirements(config.wasm_runtime_version).encode(),
        "models/service.json": (service.model_dump_json(indent=2, exclude_defaults=True) + "\n").encode(),
    }
    files |= {f"models/{model.file}": module for model, module in models}
    for name, folder in ((dockerfile.SERVICE, _HERE / "service"), (ISLAND_NAME, island())):
        sources = [path for path in folder.resolve().rglob("*.py") if "__pycache__" not in path.parts]
        files |= {f"app/{name}/{path.relative_to(folder.resolve()).as_posix()}": path for path in sources}
    files |= {f"wheels/{wheel.name}": wheel for wheel in _wheels(config.wheelhouse)}
    return Context(files={PurePosixPath(path): files[path] for path in sorted(files)}, arguments=recipe.arguments)


def labels(config: ContainerConfiguration, modules: Sequence[str], about: About) -> dict[str, str]:
    """The labels that every image gets: those of the requirements (3.2), and those of the OCI image specification.

    ``wasm.module`` is the name of the module; of several, their names with commas between."""
    oci = {
        "title": f"{about.package}-{modules[0]}" if len(modules) == 1 else about.package,
        "version": about.version,
        "description": about.description,
        "licenses": about.licenses,
        "source": about.source,
        "created": about.created,
        "vendor": "Portalis Platform",
        "base.name": config.base_image,
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


def requirements(runtime_version: str | None = None) -> str:
    """The pins of the image, with another version of Wasmtime where `runtime_version` says so. Raises UsageError when
    that is of another major version than the one that the runtime is written for."""
    text = (_HERE / "requirements.txt").read_text()
    if runtime_version is None:
        return text
    pinned = _PINNED_RUNTIME.search(text)
    assert pinned is not None
    major = pinned[1].partition(".")[0]
    if re.fullmatch(rf"{major}\.\d+\.\d+", runtime_version) is None:
        raise UsageError(
            f"container_config.wasm_runtime_version is {runtime_version!r}, but the runtime calls Wasmtime {major}",
            remediation=f"Leave it out for {pinned[1]}, or name a version {major}.x.y.",
        )
    return _PINNED_RUNTIME.sub(f"wasmtime=={runtime_version}", text)


def _wheels(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise UsageError(
            f"container_config.wheelhouse: there are no wheels in {folder}",
            remediation="Fill it with `pip download --dest FOLDER --requirement requirements.txt` for the base image's"
            " Python, or leave it out to install from the package index.",
        )
    return found
