"""What a package is made of, for its SBOM and its provenance alike: modules, runtime, images and what they install."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import PurePosixPath
from urllib.parse import quote

from .. import __version__
from ..pins import pinned
from ..spec.container import WasmRuntime
from ..spec.distribution import ChecksumAlgorithm
from ..target import Job, Module
from .checksums import checksums
from .contents import WASM
from .failure import failed
from .image_parts import ImageContext, contexts

RUNTIME = "wasmtime"
# of what portalis itself brings along; those of other distributions are read from their wheels, where they are at hand
LICENSES = {RUNTIME: "Apache-2.0 WITH LLVM-exception", "portalis": "Apache-2.0"}


class Kind(Enum):
    """What an ingredient is."""

    Module = "module"
    Runtime = "runtime"
    Backend = "backend"
    Distribution = "distribution"
    Image = "image"
    BaseImage = "base image"
    Extension = "extension"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredient:
    """One part. `ref` is unique in a package; `digests` are pairs of an algorithm, as in-toto writes it, and hex: where
    one algorithm is there several times, one of those files is meant."""

    ref: str
    kind: Kind
    name: str
    version: str = ""
    purl: str = ""
    """A package URL."""
    digests: tuple[tuple[str, str], ...] = ()
    license: str = ""
    optional: bool = False
    properties: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()
    """The refs of others."""


def ingredients(job: Job) -> tuple[Ingredient, ...]:
    """All parts of the package, as they lie in the staging folder. Raises StageError, OSError."""
    images = tuple(contexts(job))
    modules = tuple(_module(job, module) for module in job.modules)
    found = {each.ref: each for image in images for each in _installed(image)}
    runtime = next((each for each in found.values() if each.name == RUNTIME), None) or _runtime()
    found[runtime.ref] = runtime
    for image in images:
        for each in (_base_image(job), _other_runtime(job, image), _image(job, image, modules)):
            if each is not None:
                found[each.ref] = each
    for each in (*_backend(job, runtime, modules), *_extensions(job, runtime, modules)):
        found[each.ref] = each
    return (*modules, *found.values())


def _module(job: Job, module: Module) -> Ingredient:
    from ..inspection.producers import producers  # loads the runtime, which takes time

    found = checksums(module.path, ChecksumAlgorithm)
    if found[ChecksumAlgorithm.SHA256] != module.inspection.sha256:
        raise failed(f"{module.path} has changed since it was inspected", remediation="Let nothing write to it.")
    interface = module.inspection.interface
    # a property, as cyclonedx-python-lib 11 writes a component's own media type under a key that the schema has not
    properties = [("media_type", "application/wasm"), ("path", f"{WASM}/{module.name}.wasm")]
    properties += [("size_bytes", str(module.inspection.size_bytes))]
    if interface is not None:
        properties += [("convention", interface.convention.value)]
    properties += [(f"producers:{each.field}", str(each)) for each in producers(module.path)]
    names = {ChecksumAlgorithm.SHA256: "sha256", ChecksumAlgorithm.SHA512: "sha512", ChecksumAlgorithm.Blake3: "blake3"}
    return Ingredient(
        ref=f"module:{module.name}",
        kind=Kind.Module,
        name=module.name,
        version=job.spec.package_version,
        purl=purl("generic", module.name, job.spec.package_version, checksum=f"sha256:{module.inspection.sha256}"),
        digests=tuple((names[algorithm], digest) for algorithm, digest in found.items()),
        license=job.spec.distribution_config.license_type or "",
        properties=tuple(properties),
    )


def _runtime() -> Ingredient:
    """The one that portalis was tested with, where no image says otherwise."""
    (pin,) = pinned(RUNTIME)
    return _distribution(pin.name, pin.version, pin.hashes)


def _installed(image: ImageContext) -> Iterator[Ingredient]:
    for pin in image.pins:
        wheels = [each for each in image.wheels if each.is_of(pin.name, pin.version)]
        made = _distribution(pin.name, pin.version, [each.sha256 for each in wheels] or pin.hashes)
        told = next((each.license for each in wheels if each.license), made.license)
        marker = (("marker", pin.marker),) if pin.marker else ()
        yield replace(made, license=told, optional=bool(pin.marker), properties=marker)


def _distribution(name: str, version: str, hashes: Iterable[str]) -> Ingredient:
    return Ingredient(
        ref=f"pypi:{name}",
        kind=Kind.Runtime if name == RUNTIME else Kind.Distribution,
        name=name,
        version=version,
        purl=purl("pypi", name.lower().replace("_", "-"), version),
        digests=tuple(("sha256", each) for each in sorted(hashes)),
        license=LICENSES.get(name, ""),
    )


def _base_image(job: Job) -> Ingredient:
    name, tag, digest = _reference(job.spec.container_config.base_image)
    return Ingredient(
        ref="base-image",
        kind=Kind.BaseImage,
        name=name,
        version=tag or digest,
        purl=image_purl(name, digest or tag),
        digests=_digests(digest),
    )


def _image(job: Job, image: ImageContext, modules: Iterable[Ingredient]) -> Ingredient | None:
    """None where no image was built from the context."""
    config, made = job.spec.container_config, image.artifact
    if made is None:
        return None
    needs = ["base-image", *(f"pypi:{pin.name}" for pin in image.pins)]
    if config.wasm_runtime is not WasmRuntime.Wasmtime:
        needs.append(f"runtime:{config.wasm_runtime.value}")
    inside = [each.ref for each in modules if dict(each.digests)["sha256"] in image.modules]
    return Ingredient(
        ref=f"image:{made.image_name}:{made.image_tag}",
        kind=Kind.Image,
        name=made.image_name,
        version=made.image_tag,
        # without its digest, which differs from build to build: the SBOM is in the archive, which must not differ. The
        # provenance has it
        purl=image_purl(made.image_name, made.image_tag),
        license=job.spec.distribution_config.license_type or "",
        needs=(*needs, *inside),
    )


def _other_runtime(job: Job, image: ImageContext) -> Ingredient | None:
    """The program of another WebAssembly runtime that an image carries beside Wasmtime."""
    config = job.spec.container_config
    if config.wasm_runtime is WasmRuntime.Wasmtime:
        return None
    return Ingredient(
        ref=f"runtime:{config.wasm_runtime.value}",
        kind=Kind.Runtime,
        name=config.wasm_runtime.value,
        version=config.wasm_runtime_version or "",
        purl=purl("generic", config.wasm_runtime.value.lower(), config.wasm_runtime_version or ""),
        digests=tuple(("sha256", each) for each in image.runtime),
    )


def _backend(job: Job, runtime: Ingredient, modules: Iterable[Ingredient]) -> Iterator[Ingredient]:
    """What runs the modules in Triton: portalis's own code, installed there or copied beside each model."""
    if not job.made.triton_models:
        return
    yield Ingredient(
        ref="triton-backend",
        kind=Kind.Backend,
        name="portalis",
        version=__version__,
        purl=purl("pypi", "portalis", __version__),
        license=LICENSES["portalis"],
        properties=(("models", ", ".join(sorted({each.model_name for each in job.made.triton_models}))),),
        needs=(runtime.ref, *(each.ref for each in modules)),
    )


def _extensions(job: Job, runtime: Ingredient, modules: Iterable[Ingredient]) -> Iterator[Ingredient]:
    for made in job.made.omniverse_packages:
        yield Ingredient(
            ref=f"extension:{made.extension_name}",
            kind=Kind.Extension,
            name=made.extension_name,
            version=made.extension_version,
            purl=purl("generic", made.extension_name, made.extension_version),
            license=job.spec.distribution_config.license_type or "",
            needs=(runtime.ref, *(each.ref for each in modules)),
        )


def purl(kind: str, name: str, version: str = "", **qualifiers: str) -> str:
    """A package URL (https://github.com/package-url/purl-spec)."""
    path = "/".join(quote(part, safe="") for part in name.split("/") if part)
    behind = f"@{quote(version, safe=':')}" if version else ""
    asked: Mapping[str, str] = dict(sorted(qualifiers.items()))
    query = "&".join(f"{key}={quote(value, safe=':')}" for key, value in asked.items())
    return f"pkg:{kind}/{path}{behind}" + (f"?{query}" if query else "")


def image_purl(name: str, version: str) -> str:
    """That of a container image; `version` is its tag or digest. A registry in the name becomes a qualifier."""
    registry, _, rest = name.partition("/")
    if rest and (registry == "localhost" or "." in registry or ":" in registry):
        return purl("docker", rest, version, repository_url=registry)
    return purl("docker", name, version)


def _reference(image: str) -> tuple[str, str, str]:
    """Name, tag and digest of an image; what is not told is empty."""
    name, _, digest = image.partition("@")
    folder, _, last = name.rpartition("/")  # a colon before it is that of a port
    last, _, tag = last.partition(":")
    return str(PurePosixPath(folder, last)), tag, digest


def _digests(digest: str) -> tuple[tuple[str, str], ...]:
    algorithm, _, value = digest.partition(":")
    return ((algorithm, value),) if value else ()
