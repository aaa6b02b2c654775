"""The SBOM, validated with the schema that CycloneDX publishes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blake3
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from portalis.contracts.artifacts import OmniversePackageArtifact
from portalis.dist.attest.components import ComponentKind, package_components, purl
from portalis.dist.attest.sbom import create_sbom
from portalis.pins import REQUIREMENTS_FILE, parse_pins, select_pins
from portalis.spec.read import make_spec
from tests.dist.conftest import CREATED_AT, MODULE, Package
from tests.portalis.inspection.test_producers import RUST, module

CONTEXT = "containers/demo-gelu"


def sbom_document(package: Package) -> dict[str, Any]:
    job = package.job()
    data = create_sbom(job.spec, package_components(job), job.created_at)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    found: dict[str, Any] = json.loads(data)
    return found


def components(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Components by their refs; those of distributions without the version."""
    return {plain(each["bom-ref"]): each for each in document["components"]}


def plain(ref: str) -> str:
    return ref.partition("@")[0] if ref.startswith("pypi:") else ref


def needs(document: dict[str, Any]) -> dict[str, set[str]]:
    return {plain(each["ref"]): set(map(plain, each.get("dependsOn", []))) for each in document["dependencies"]}


def hashes(component: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in component.get("hashes", []):
        found.setdefault(each["alg"], []).append(each["content"])
    return found


def properties(component: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["name"], each["value"]) for each in component["properties"]]


def wheel(name: str, version: str, license_expression: str) -> bytes:
    """A wheel that contains only its metadata."""
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        text = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: {license_expression}\n\n"
        file.writestr(f"{name}-{version}.dist-info/METADATA", text)
    return buffer.getvalue()


def test_the_root_component_is_the_package(package: Package) -> None:
    package.configure(
        license_type="Apache-2.0 OR MIT",
        publish_metadata={
            "author": "A. Author",
            "maintainer": "The team",
            "homepage": "https://example.com/a",
            "repository": "not a URL",
        },
    )
    document = sbom_document(package)
    about = document["metadata"]["component"]
    assert about["externalReferences"] == [{"type": "website", "url": "https://example.com/a"}]
    assert about["authors"] == [{"name": "A. Author"}] and about["supplier"] == {"name": "The team"}
    assert (document["specVersion"], about["name"], about["version"]) == ("1.6", "demo", "1.2.3")
    assert about["licenses"] == [{"expression": "Apache-2.0 OR MIT"}]
    assert document["metadata"]["timestamp"].replace("+00:00", "Z") == CREATED_AT


def test_a_module_has_its_hashes_its_language_and_its_tools(package: Package) -> None:
    data = module(RUST)
    package.spec["wasm_binaries"] = [package.input("from_rust.wasm", data)]
    component = components(sbom_document(package))["module:from_rust"]
    found = hashes(component)
    assert set(found) == {"SHA-256", "SHA-512", "BLAKE3"} and found["BLAKE3"] == [blake3.blake3(data).hexdigest()]
    found_properties = properties(component)
    assert ("portalis:path", "wasm/from_rust.wasm") in found_properties
    assert ("portalis:producers:language", "Rust") in found_properties
    assert [value for name, value in found_properties if name == "portalis:producers:processed-by"] == [
        "clang 18",
        "rustc 1.83.0",
    ]


def test_the_runtime_is_listed_without_an_image(package: Package) -> None:
    component = components(sbom_document(package))["pypi:wasmtime"]
    (pin,) = select_pins("wasmtime")
    assert component["version"] == pin.version and component["purl"] == f"pkg:pypi/wasmtime@{pin.version}"
    assert set(hashes(component)["SHA-256"]) == pin.hashes


def test_distributions_of_an_image_are_listed_with_the_hashes_that_pip_checks(package: Package) -> None:
    package.stage(f"{CONTEXT}/requirements.txt", REQUIREMENTS_FILE.read_bytes())
    package.stage(f"{CONTEXT}/models/gelu.wasm", MODULE.read_bytes())
    document = sbom_document(package)
    found = components(document)
    for pin in parse_pins(REQUIREMENTS_FILE.read_text()):
        component = found[f"pypi:{pin.name}"]
        assert set(hashes(component)["SHA-256"]) == pin.hashes and component["version"] == pin.version
        assert component["scope"] == ("optional" if pin.marker else "required")
    image = found["image:demo-gelu:1.2.3"]
    assert image["type"] == "container" and hashes(image) == {}  # its digest differs from build to build
    graph = needs(document)
    assert {"base-image", "module:gelu", "pypi:wasmtime", "pypi:numpy"} <= graph["image:demo-gelu:1.2.3"]
    assert graph["triton-backend"] == {"pypi:wasmtime", "module:gelu"}
    assert graph["package"] == {"image:demo-gelu:1.2.3", "module:gelu", "triton-backend"}


def test_distributions_of_a_wheelhouse_have_the_digests_of_its_wheels(package: Package) -> None:
    data = wheel("anyio", "4.16.0", "MIT")
    package.stage(f"{CONTEXT}/requirements.txt", REQUIREMENTS_FILE.read_bytes())
    package.stage(f"{CONTEXT}/wheels/anyio-4.16.0-py3-none-any.whl", data)
    package.stage(f"{CONTEXT}/wheels/numpy-9.9.9-py3-none-any.whl", b"of another version, and no wheel")
    found = components(sbom_document(package))
    import hashlib

    assert hashes(found["pypi:anyio"]) == {"SHA-256": [hashlib.sha256(data).hexdigest()]}
    assert found["pypi:anyio"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert len(hashes(found["pypi:numpy"])["SHA-256"]) > 1


@pytest.mark.parametrize(
    ("image", "name", "version", "url"),
    [
        ("python:3.12-slim", "python", "3.12-slim", "pkg:docker/python@3.12-slim"),
        ("python", "python", None, "pkg:docker/python"),
        (
            f"registry.example:5000/team/python:3@sha256:{'a' * 64}",
            "registry.example:5000/team/python",
            "3",
            f"pkg:docker/team/python@sha256:{'a' * 64}?repository_url=registry.example:5000",
        ),
    ],
)
def test_the_base_image_is_identified_by_its_digest_if_known(
    package: Package, image: str, name: str, version: str | None, url: str
) -> None:
    package.spec["container_config"] = {"base_image": image}
    component = components(sbom_document(package))["base-image"]
    assert (component["name"], component.get("version"), component["purl"]) == (name, version, url)
    assert hashes(component) == ({"SHA-256": ["a" * 64]} if "@" in image else {})


def test_a_runtime_other_than_wasmtime_is_listed_with_its_files(package: Package) -> None:
    package.spec["container_config"] = {"wasm_runtime": "WasmEdge", "wasm_runtime_version": "0.14.1"}
    package.stage(f"{CONTEXT}/wasm-runtime/wasmedge", b"a program")
    document = sbom_document(package)
    component = components(document)["runtime:WasmEdge"]
    assert component["version"] == "0.14.1" and len(hashes(component)["SHA-256"]) == 1
    graph = needs(document)
    assert "runtime:WasmEdge" in graph["image:demo-gelu:1.2.3"]


def test_distributions_unpacked_in_an_extension_are_listed(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    extension = OmniversePackageArtifact(
        extension_name="portalis_ext.demo",
        extension_version="1.2.3",
        package_path=str(package.output / "omniverse/demo.zip"),
        extension_toml_path=str(package.output / "omniverse/demo/config/extension.toml"),
        wasm_modules=(),
        readme_path=str(package.output / "omniverse/demo/docs/README.md"),
        kit_version_compatibility="110",
        validated=True,
    )
    artifacts = package.artifacts()
    monkeypatch.setattr(package, "artifacts", lambda: artifacts.model_copy(update={"omniverse_packages": (extension,)}))
    (pin,) = select_pins("numpy")
    metadata = b"Metadata-Version: 2.4\nLicense-Expression: BSD-3-Clause\n\nIt is free.\n"
    package.stage(f"omniverse/demo/pip_prebundle/numpy-{pin.version}.dist-info/METADATA", metadata)
    package.stage("omniverse/demo/pip_prebundle/wasmtime-50.9.9.dist-info/METADATA", metadata)
    document = sbom_document(package)
    found = components(document)
    assert found["pypi:numpy"]["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert set(hashes(found["pypi:numpy"])["SHA-256"]) == pin.hashes
    assert found["pypi:wasmtime"]["version"] == "50.9.9" and hashes(found["pypi:wasmtime"]) == {}
    assert needs(document)["extension:portalis_ext.demo"] == {"pypi:numpy", "pypi:wasmtime", "module:gelu"}


def test_the_same_package_has_the_same_document_in_every_directory(new_package: Callable[[str], Package]) -> None:
    first, second = (sbom_document(new_package(name)) for name in ("a", "b"))
    assert first == second
    changed = new_package("c")
    changed.spec["package_version"] = "1.2.4"
    assert sbom_document(changed)["serialNumber"] != first["serialNumber"]


def test_a_module_that_changed_after_inspection_is_an_error(package: Package) -> None:
    from portalis.target import StageError

    package.spec["wasm_binaries"] = [package.input("m.wasm", module(b""))]
    job = package.job()
    package.input("m.wasm", module(RUST))
    with pytest.raises(StageError, match="changed after it was inspected"):
        package_components(job)


TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30
)  # all that a spec accepts


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(text=TEXT, more=TEXT)
@example(text="https://a:b@c:d/%zz#x", more="https://example.com:/")
@example(text="ssh://git@example.com/x.git", more="\\")
@example(text="\x85", more="/")
@example(text="//", more=" ")
def test_the_document_is_valid_for_every_spec(package: Package, text: str, more: str) -> None:
    spec = dict(package.spec, package_name=text, description=more)
    config = {"license_type": text, "publish_metadata": {"author": more, "homepage": text, "repository": more}}
    spec["distribution_config"] = config
    read_spec = make_spec(spec, base=package.base, source="the test's spec")
    data = create_sbom(read_spec, package_components(package.job()), CREATED_AT)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("generic", "a b", "1+x"), "pkg:generic/a%20b@1%2Bx"),
        (("pypi", "numpy"), "pkg:pypi/numpy"),
        (("pypi", "Typing_Extensions", "4.12"), "pkg:pypi/typing-extensions@4.12"),
        (("docker", "team/app", "sha256:ab"), "pkg:docker/team/app@sha256:ab"),
        (("generic", "a//b"), "pkg:generic/a/b"),
        (("generic", " / "), "None"),
    ],
)
def test_a_package_url_is_normalized_and_quoted(arguments: tuple[str, ...], found: str) -> None:
    assert str(purl(*arguments)) == found


def test_every_kind_has_a_type_of_component() -> None:
    from portalis.dist.attest.sbom import TYPES

    assert set(TYPES) == set(ComponentKind)


def test_an_invalid_wheel_has_no_license(package: Package, tmp_path: Path) -> None:
    package.stage(f"{CONTEXT}/requirements.txt", REQUIREMENTS_FILE.read_bytes())
    package.stage(f"{CONTEXT}/wheels/anyio-4.16.0-py3-none-any.whl", b"PK nonsense")
    assert "licenses" not in components(sbom_document(package))["pypi:anyio"]
