"""Components of a package, for both SBOM and provenance: modules, runtimes, images and what they install,
extensions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import PurePosixPath

from packageurl import PackageURL

from ... import __version__
from ...naming import oci_parts
from ...pins import Pin, all_pins, select_pins
from ...spec.container import WasmRuntime
from ...spec.distribution import ChecksumAlgorithm
from ...target import Job, Module
from ..archive import DIGEST_NAMES, WASM, file_checksums
from ..archive_errors import archive_error
from .image_contents import ImageContext, image_contexts, unpacked_distributions

PROPERTY_PREFIX = "portalis:"  # of the properties of a component in an SBOM
RUNTIME = "wasmtime"
# of the components that are part of portalis; licenses of other distributions are read from their wheels, if available
LICENSES = {RUNTIME: "Apache-2.0 WITH LLVM-exception", "portalis": "Apache-2.0"}


class ComponentKind(Enum):
    """Type of a component; the value is the one in an SBOM."""

    Module = "module"
    Runtime = "runtime"
    Backend = "backend"
    Distribution = "distribution"
    Image = "image"
    BaseImage = "base image"
    Extension = "extension"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageComponent:
    """A component. `ref` is unique in a package. `digests` are pairs of an algorithm, with its name in in-toto, and a
    digest in hex; if an algorithm is repeated, the component is one of several files, one digest each."""

    ref: str
    kind: ComponentKind
    name: str
    version: str = ""
    purl: PackageURL | None = None
    digests: tuple[tuple[str, str], ...] = ()
    license: str = ""
    optional: bool = False
    properties: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()
    """The refs of the components that it depends on."""


def purl(kind: str, name: str, version: str = "", **qualifiers: str) -> PackageURL | None:
    """Create a package URL (https://github.com/package-url/purl-spec); None for a blank name. The part of `name` before
    its last slash is the namespace."""
    *namespace, last = [part for part in name.split("/") if part.strip()] or [""]
    if not last:
        return None
    return PackageURL(kind, "/".join(namespace), last, version, qualifiers)


def image_purl(name: str, version: str) -> PackageURL | None:
    """Create the package URL of a container image; `version` is its tag or digest. A registry in the name becomes the
    qualifier `repository_url`."""
    registry, rest = oci_parts(name)
    if registry and rest:
        return purl("docker", rest, version, repository_url=registry)
    return purl("docker", name, version)


def image_reference(image: str) -> tuple[str, str, str]:
    """Split an image reference into name, tag and digest, each "" if it is missing."""
    name, _, digest = image.partition("@")
    folder, _, last = name.rpartition("/")  # a colon before the slash belongs to the port
    last, _, tag = last.partition(":")
    return str(PurePosixPath(folder, last)), tag, digest


def image_digests(digest: str) -> tuple[tuple[str, str], ...]:
    """Convert ``sha256:…`` to the digests of a component; "" converts to none."""
    algorithm, _, value = digest.partition(":")
    return ((algorithm, value),) if value else ()


def package_components(job: Job) -> tuple[PackageComponent, ...]:
    """Return all components of the package in the staging directory. Raises StageError, OSError."""
    images = tuple(image_contexts(job))
    modules = tuple(_module(job, module) for module in job.modules)
    installed = {each.ref: each for image in images for each in _installed(image)}
    prebundled = tuple(_prebundled(job))
    components = {each.ref: each for each in prebundled} | installed
    runtime = next((each for each in components.values() if each.name == RUNTIME), None) or _runtime()
    components[runtime.ref] = runtime
    for image in images:
        for each in (_base_image(job), _other_runtime(job, image), _image(job, image, modules)):
            if each is not None:
                components[each.ref] = each
    for each in (*_backend(job, runtime, modules), *_extensions(job, prebundled or (runtime,), modules)):
        components[each.ref] = each
    return (*modules, *components.values())


def _module(job: Job, module: Module) -> PackageComponent:
    from ...inspection import producers  # loads the runtime, which is slow

    digests = file_checksums(module.path, ChecksumAlgorithm)
    if digests[ChecksumAlgorithm.SHA256] != module.inspection.sha256:
        raise archive_error(
            f"{module.path} changed after it was inspected",
            remediation=f"Make sure that no other process writes to {module.path}, then package again.",
        )
    interface = module.inspection.interface
    # the media type is a property: cyclonedx-python-lib 11 writes a component's media type under a key that the schema
    # does not have
    properties = [("media_type", "application/wasm"), ("path", f"{WASM}/{module.name}.wasm")]
    properties += [("size_bytes", str(module.inspection.size_bytes))]
    if interface is not None:
        properties += [("convention", interface.convention.value)]
    properties += [(f"producers:{each.field}", str(each)) for each in producers(module.path)]
    return PackageComponent(
        ref=f"module:{module.name}",
        kind=ComponentKind.Module,
        name=module.name,
        version=job.spec.package_version,
        purl=purl("generic", module.name, job.spec.package_version, checksum=f"sha256:{module.inspection.sha256}"),
        digests=tuple((DIGEST_NAMES[algorithm], digest) for algorithm, digest in digests.items()),
        license=job.spec.distribution_config.license_type or "",
        properties=tuple(properties),
    )


def _runtime() -> PackageComponent:
    """The pinned Wasmtime, for a package without an image or extension that contains a different version."""
    (pin,) = select_pins(RUNTIME)
    return _distribution(pin.name, pin.version, pin.hashes)


def _installed(image: ImageContext) -> Iterator[PackageComponent]:
    """The distributions that an image installs; with a wheelhouse, the digests are those of its wheels."""
    for pin in image.pins:
        wheels = [each for each in image.wheels if each.is_of(pin.name, pin.version)]
        component = _distribution(pin.name, pin.version, [each.sha256 for each in wheels] or pin.hashes)
        license_expression = next((each.license for each in wheels if each.license), component.license)
        marker = (("marker", pin.marker),) if pin.marker else ()
        yield replace(component, license=license_expression, optional=bool(pin.marker), properties=marker)


def _prebundled(job: Job) -> Iterator[PackageComponent]:
    """The distributions unpacked in extensions; the digests are those of the pinned wheels that they can come from."""
    pins: dict[str, Pin] = {_ref(pin.name, pin.version): pin for pin in all_pins()}
    for each in unpacked_distributions(job):
        pin = pins.get(_ref(each.name, each.version))
        component = _distribution(each.name, each.version, () if pin is None else pin.hashes)
        yield replace(component, license=each.license or component.license)


def _distribution(name: str, version: str, hashes: Iterable[str]) -> PackageComponent:
    return PackageComponent(
        ref=_ref(name, version),
        kind=ComponentKind.Runtime if name == RUNTIME else ComponentKind.Distribution,
        name=name,
        version=version,
        purl=purl("pypi", name, version),
        digests=tuple(("sha256", each) for each in sorted(hashes)),
        license=LICENSES.get(name, ""),
    )


def _ref(name: str, version: str) -> str:
    return f"pypi:{name.lower().replace('_', '-')}@{version}"


def _base_image(job: Job) -> PackageComponent:
    name, tag, digest = image_reference(job.spec.container_config.base_image)
    return PackageComponent(
        ref="base-image",
        kind=ComponentKind.BaseImage,
        name=name,
        version=tag or digest,
        purl=image_purl(name, digest or tag),
        digests=image_digests(digest),
    )


def _image(job: Job, image: ImageContext, modules: Iterable[PackageComponent]) -> PackageComponent | None:
    """The image built from a context, or None if none was built."""
    config, artifact = job.spec.container_config, image.artifact
    if artifact is None:
        return None
    needs = ["base-image", *(_ref(pin.name, pin.version) for pin in image.pins)]
    if config.wasm_runtime is not WasmRuntime.Wasmtime:
        needs.append(f"runtime:{config.wasm_runtime.value}")
    contained = [each.ref for each in modules if dict(each.digests)["sha256"] in image.modules]
    return PackageComponent(
        ref=f"image:{artifact.reference}",
        kind=ComponentKind.Image,
        name=artifact.image_name,
        version=artifact.image_tag,
        # without the digest, which differs from build to build: the SBOM is in the archive, which must be reproducible.
        # The provenance has the digest
        purl=image_purl(artifact.image_name, artifact.image_tag),
        license=job.spec.distribution_config.license_type or "",
        needs=(*needs, *contained),
    )


def _other_runtime(job: Job, image: ImageContext) -> PackageComponent | None:
    """The executable of a WebAssembly runtime that an image contains in addition to Wasmtime."""
    config = job.spec.container_config
    if config.wasm_runtime is WasmRuntime.Wasmtime:
        return None
    return PackageComponent(
        ref=f"runtime:{config.wasm_runtime.value}",
        kind=ComponentKind.Runtime,
        name=config.wasm_runtime.value,
        version=config.wasm_runtime_version or "",
        purl=purl("generic", config.wasm_runtime.value.lower(), config.wasm_runtime_version or ""),
        digests=tuple(("sha256", each) for each in image.runtime),
    )


def _backend(job: Job, runtime: PackageComponent, modules: Iterable[PackageComponent]) -> Iterator[PackageComponent]:
    """The backend that runs the modules in Triton: part of portalis, installed in the server or copied next to each
    model."""
    if not job.artifacts.triton_models:
        return
    yield PackageComponent(
        ref="triton-backend",
        kind=ComponentKind.Backend,
        name="portalis",
        version=__version__,
        purl=purl("pypi", "portalis", __version__),
        license=LICENSES["portalis"],
        properties=(("models", ", ".join(sorted({each.model_name for each in job.artifacts.triton_models}))),),
        needs=(runtime.ref, *(each.ref for each in modules)),
    )


def _extensions(
    job: Job, prebundled: Iterable[PackageComponent], modules: Iterable[PackageComponent]
) -> Iterator[PackageComponent]:
    """The Omniverse extensions. Distributions that are not unpacked in them come from Kit, or are downloaded."""
    for extension in job.artifacts.omniverse_packages:
        yield PackageComponent(
            ref=f"extension:{extension.extension_name}",
            kind=ComponentKind.Extension,
            name=extension.extension_name,
            version=extension.extension_version,
            purl=purl("generic", extension.extension_name, extension.extension_version),
            license=job.spec.distribution_config.license_type or "",
            needs=(*(each.ref for each in prebundled), *(each.ref for each in modules)),
        )
