"""The plan of a package: repositories, tags and manifests."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import PurePosixPath
from typing import Any

import pytest

from portalis.contracts.artifacts import ContainerArtifact, HealthCheckConfig
from portalis.contracts.published import PublishedKind
from portalis.errors import UsageError
from portalis.oci.address import parse_address
from portalis.publishing.publishing_plan import make_plan
from tests.portalis.publishing.conftest import MODULE, MakePackage, sha256

ADDRESS = parse_address("registry.example.com/team")
ARCHIVE = b"not really an archive"


def body(manifest: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(manifest.content())
    return found


def test_repositories_are_named_after_the_package(make_package: MakePackage) -> None:
    plan = make_plan(make_package({"triton/Add_One.wasm": MODULE, "archives/demo-1.2.3.tar.xz": ARCHIVE}), ADDRESS)
    assert [(each.kind, each.repository, each.tag) for each in plan.artifacts] == [
        (PublishedKind.Module, "team/demo-package/modules/add-one", "1.2.3-b"),
        (PublishedKind.Archive, "team/demo-package/archive", "1.2.3-b"),
    ]
    assert plan.images == () and plan.notes == ()


def test_a_module_is_an_artifact_in_the_layout_of_the_cncf(make_package: MakePackage) -> None:
    (module,) = make_plan(make_package({"m/add.wasm": MODULE}), ADDRESS).artifacts
    found = body(module.manifest)
    digest = f"sha256:{sha256(MODULE)}"
    assert found["config"]["mediaType"] == "application/vnd.wasm.config.v0+json"
    assert [(each["mediaType"], each["digest"]) for each in found["layers"]] == [("application/wasm", digest)]
    assert "artifactType" not in found
    config = module.manifest.config.blob.content
    assert isinstance(config, bytes)
    assert json.loads(config) == {
        "created": "2026-01-02T03:04:05Z",
        "architecture": "wasm",
        "os": "wasip1",
        "layerDigests": [digest],
    }


def test_an_archive_has_the_artifact_type_of_packages(make_package: MakePackage) -> None:
    (archive,) = make_plan(make_package({"archives/demo-1.2.3.tar.xz": ARCHIVE}), ADDRESS).artifacts
    found = body(archive.manifest)
    assert found["artifactType"] == "application/vnd.portalis.package.v1"
    assert found["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    (layer,) = found["layers"]
    assert layer["mediaType"] == "application/x-xz"
    assert layer["annotations"] == {"org.opencontainers.image.title": "demo-1.2.3.tar.xz"}
    assert found["annotations"] == {
        "org.opencontainers.image.title": "demo-1.2.3.tar.xz",
        "org.opencontainers.image.version": "1.2.3+b",
        "org.opencontainers.image.created": "2026-01-02T03:04:05Z",
        "org.opencontainers.image.description": "of no use",
    }


def statement(*digests: str) -> dict[str, Any]:
    subject = [{"name": "x", "digest": {"sha256": digest}} for digest in digests]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
    }


def envelope(content: dict[str, Any]) -> bytes:
    return json.dumps({"payloadType": "x", "payload": base64.b64encode(json.dumps(content).encode()).decode()}).encode()


@pytest.mark.parametrize("signed", [True, False])
def test_sbom_and_provenance_refer_to_the_archive(make_package: MakePackage, signed: bool) -> None:
    document = statement(sha256(ARCHIVE))
    name, content, media_type = (
        ("archives/d.zip.intoto.jsonl", envelope(document) + b"\n", "application/vnd.dsse.envelope.v1+json")
        if signed
        else ("archives/d.zip.provenance.json", json.dumps(document).encode(), "application/vnd.in-toto+json")
    )
    package = make_package({"archives/d.zip": ARCHIVE, "archives/d.zip.sbom.cdx.json": b"{}", name: content})
    (archive,) = make_plan(package, ADDRESS).artifacts
    sbom, provenance = (body(each.manifest) for each in archive.attached)
    assert sbom["subject"] == provenance["subject"] == archive.manifest.descriptor()
    assert sbom["artifactType"] == "application/vnd.cyclonedx+json"
    assert provenance["artifactType"] == media_type
    assert provenance["annotations"]["in-toto.io/predicate-type"] == "https://slsa.dev/provenance/v1"


def test_provenance_refers_only_to_its_subjects(make_package: MakePackage) -> None:
    files = {"archives/d.zip": ARCHIVE, "m/add.wasm": MODULE, "m/other.wasm": MODULE + b"\0"}
    files["archives/d.zip.intoto.jsonl"] = b"\n".join([b"not JSON", b"[]", envelope(statement(sha256(MODULE)))])
    plan = make_plan(make_package(files), ADDRESS)
    assert {each.name: [about.kind for about in each.attached] for each in plan.artifacts} == {
        "add.wasm": [PublishedKind.Provenance],
        "other.wasm": [],
        "d.zip": [],
    }


def image(name: str) -> ContainerArtifact:
    return ContainerArtifact(
        image_name=name,
        image_tag="1",
        image_id="sha256:" + "1" * 64,
        image_size_bytes=1,
        dockerfile_path="/x",
        created_at="2026-01-02T03:04:05Z",
        base_image="x",
        layers=(),
        health_check_config=HealthCheckConfig(endpoint="/", interval_seconds=1, timeout_seconds=1, retries=1),
        exposed_ports=(),
        environment_vars={},
        image_digest="sha256:" + "1" * 64,
    )


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("demo-add", "team/demo-add"),
        ("group/demo-add", "team/group/demo-add"),
        ("registry.example.com/team/demo-add", "team/demo-add"),
        ("elsewhere.example.com/x/demo-add", "team/x/demo-add"),
    ],
)
def test_images_are_published_in_the_registry_of_the_plan(
    make_package: MakePackage, name: str, repository: str
) -> None:
    plan = make_plan(make_package({}, nim_containers=(image(name),)), ADDRESS)
    assert [(each.reference, each.repository, each.tag) for each in plan.images] == [(f"{name}:1", repository, "1")]


def test_two_artifacts_with_the_same_reference_are_an_error(make_package: MakePackage) -> None:
    package = make_package({"m/add_one.wasm": MODULE, "m/add-one.wasm": MODULE + b"\0"})
    with pytest.raises(UsageError, match="2 artifacts would be published as team/demo-package/modules/add-one:1.2.3-b"):
        make_plan(package, ADDRESS)


def test_a_changed_file_is_an_error(make_package: MakePackage) -> None:
    package = make_package({"archives/d.zip": ARCHIVE})
    (package.folder / "archives/d.zip").write_bytes(b"changed")
    with pytest.raises(UsageError, match="has changed since it was packaged"):
        make_plan(package, ADDRESS)


def test_a_missing_file_is_an_error(make_package: MakePackage) -> None:
    package = make_package({"archives/d.zip": ARCHIVE})
    (package.folder / "archives/d.zip").unlink()
    with pytest.raises(UsageError, match="No such file"):
        make_plan(package, ADDRESS)


@pytest.mark.parametrize("path", ["/etc/passwd", "/made/here/../../etc/passwd"])
def test_a_path_in_a_report_cannot_point_outside_the_package(make_package: MakePackage, path: str) -> None:
    with pytest.raises(UsageError, match=r"is not in the package|points outside the package"):
        make_package({}).relative_path(path)


def test_a_module_that_is_only_in_the_archive_is_noted(make_package: MakePackage) -> None:
    package = make_package({"m/add.wasm": MODULE})
    files = dict(package.files)
    del files[PurePosixPath("m/add.wasm")]
    plan = make_plan(dataclasses.replace(package, files=files), ADDRESS)
    assert plan.artifacts == () and "the module add is only in the archive" in plan.notes[0]
