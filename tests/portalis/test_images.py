"""The names of images follow from the spec, and so do the directories of their build contexts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portalis.images import planned_image, planned_images
from portalis.spec import PackageSpec, WasmBinaryPath
from portalis.spec.container import ContainerConfiguration


def spec(*modules: str, **config: Any) -> PackageSpec:
    return PackageSpec(
        package_name="demo",
        package_version="1.2.0+build.4",
        output_directory=Path("/package"),
        wasm_binaries=tuple(WasmBinaryPath(path=Path(f"/{name}.wasm")) for name in modules),
        container_config=ContainerConfiguration(**config),
    )


@pytest.mark.parametrize(
    ("modules", "config", "references"),
    [
        (["add"], {}, ["demo-add:1.2.0-build.4"]),
        (["add"], {"image_name": "host:5000/acme/sum", "image_tag": "x"}, ["host:5000/acme/sum:x"]),
        (["add", "mul"], {"image_name": "acme/math"}, ["acme/math-add:1.2.0-build.4", "acme/math-mul:1.2.0-build.4"]),
        (["add", "mul"], {"package_image": True}, ["demo:1.2.0-build.4"]),
        (["add", "mul"], {"package_image": True, "image_name": "acme/math"}, ["acme/math:1.2.0-build.4"]),
    ],
)
def test_references_come_from_the_configuration_the_package_and_the_modules(
    modules: list[str], config: dict[str, Any], references: list[str]
) -> None:
    given = spec(*modules, **config)
    assert [image.reference for image in planned_images(given)] == references
    assert {planned_image(given, module) for module in given.wasm_binaries} == set(planned_images(given))


def test_the_build_context_has_the_last_part_of_the_images_name() -> None:
    (image,) = planned_images(spec("add", image_name="host:5000/acme/sum"))
    assert str(image.folder) == "containers/sum"
