"""What a package is made of, for its SBOM and its provenance alike: modules, runtime, images and what they install."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ... import __version__
from ...pins import Pin, all_pins, select_pins
from ...spec.container import WasmRuntime
from ...spec.distribution import ChecksumAlgorithm
from ...target import Job, Module
from ..archive.checksums import checksums
from ..archive.contents import WASM
from ..archive_errors import failed
from .image_contents import ImageContext, contexts, unpacked
from .ingredient import Ingredient, Kind, image_digests, image_purl, image_reference, purl

RUNTIME = "wasmtime"
# of what portalis itself brings along; those of other distributions are read from their wheels, where they are at hand
LICENSES = {RUNTIME: "Apache-2.0 WITH LLVM-exception", "portalis": "Apache-2.0"}


def ingredients(job: Job) -> tuple[Ingredient, ...]:
    """All parts of the package, as they lie in the staging folder. Raises StageError, OSError."""
    images = tuple(contexts(job))
    modules = tuple(_module(job, module) for module in job.modules)
    found = {each.ref: each for image in images for each in _installed(image)}
    carried = tuple(_carried(job))
    found = {each.ref: each for each in carried} | found
    runtime = next((each for each in found.values() if each.name == RUNTIME), None) or _runtime()
    found[runtime.ref] = runtime
    for image in images:
        for each in (_base_image(job), _other_runtime(job, image), _image(job, image, modules)):
            if each is not None:
                found[each.ref] = each
    for each in (*_backend(job, runtime, modules), *_extensions(job, carried or (runtime,), modules)):
        found[each.ref] = each
    return (*modules, *found.values())


def _module(job: Job, module: Module) -> Ingredient:
    from ...inspection import producers  # loads the runtime, which takes time

    found = checksums(module.path, ChecksumAlgorithm)
    if found[ChecksumAlgorithm.SHA256] != module.inspection.sha256:
        raise failed(
            f"{module.path} has changed since it was inspected",
            remediation=f"Package again while nothing writes to {module.path}.",
        )
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
    (pin,) = select_pins(RUNTIME)
    return _distribution(pin.name, pin.version, pin.hashes)


def _installed(image: ImageContext) -> Iterator[Ingredient]:
    for pin in image.pins:
        wheels = [each for each in image.wheels if each.is_of(pin.name, pin.version)]
        made = _distribution(pin.name, pin.version, [each.sha256 for each in wheels] or pin.hashes)
        told = next((each.license for each in wheels if each.license), made.license)
        marker = (("marker", pin.marker),) if pin.marker else ()
        yield replace(made, license=told, optional=bool(pin.marker), properties=marker)


def _carried(job: Job) -> Iterator[Ingredient]:
    """What extensions have unpacked in them; the hashes are those of the wheels that it may have come from."""
    pins: dict[str, Pin] = {_ref(pin.name, pin.version): pin for pin in all_pins()}
    for wheel in unpacked(job):
        pin = pins.get(_ref(wheel.name, wheel.version))
        made = _distribution(wheel.name, wheel.version, () if pin is None else pin.hashes)
        yield replace(made, license=wheel.license or made.license)


def _distribution(name: str, version: str, hashes: Iterable[str]) -> Ingredient:
    return Ingredient(
        ref=_ref(name, version),
        kind=Kind.Runtime if name == RUNTIME else Kind.Distribution,
        name=name,
        version=version,
        purl=purl("pypi", name.lower().replace("_", "-"), version),
        digests=tuple(("sha256", each) for each in sorted(hashes)),
        license=LICENSES.get(name, ""),
    )


def _ref(name: str, version: str) -> str:
    return f"pypi:{name.lower().replace('_', '-')}@{version}"


def _base_image(job: Job) -> Ingredient:
    name, tag, digest = image_reference(job.spec.container_config.base_image)
    return Ingredient(
        ref="base-image",
        kind=Kind.BaseImage,
        name=name,
        version=tag or digest,
        purl=image_purl(name, digest or tag),
        digests=image_digests(digest),
    )


def _image(job: Job, image: ImageContext, modules: Iterable[Ingredient]) -> Ingredient | None:
    """None where no image was built from the context."""
    config, made = job.spec.container_config, image.artifact
    if made is None:
        return None
    needs = ["base-image", *(_ref(pin.name, pin.version) for pin in image.pins)]
    if config.wasm_runtime is not WasmRuntime.Wasmtime:
        needs.append(f"runtime:{config.wasm_runtime.value}")
    inside = [each.ref for each in modules if dict(each.digests)["sha256"] in image.modules]
    return Ingredient(
        ref=f"image:{made.reference}",
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
    if not job.artifacts.triton_models:
        return
    yield Ingredient(
        ref="triton-backend",
        kind=Kind.Backend,
        name="portalis",
        version=__version__,
        purl=purl("pypi", "portalis", __version__),
        license=LICENSES["portalis"],
        properties=(("models", ", ".join(sorted({each.model_name for each in job.artifacts.triton_models}))),),
        needs=(runtime.ref, *(each.ref for each in modules)),
    )


def _extensions(job: Job, carried: Iterable[Ingredient], modules: Iterable[Ingredient]) -> Iterator[Ingredient]:
    """They find in Kit, or fetch, what is not unpacked in them."""
    for made in job.artifacts.omniverse_packages:
        yield Ingredient(
            ref=f"extension:{made.extension_name}",
            kind=Kind.Extension,
            name=made.extension_name,
            version=made.extension_version,
            purl=purl("generic", made.extension_name, made.extension_version),
            license=job.spec.distribution_config.license_type or "",
            needs=(*(each.ref for each in carried), *(each.ref for each in modules)),
        )
