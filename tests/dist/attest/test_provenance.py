"""The provenance statement: its content, and the values that it does not record."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.dist.archive.members import Members, bytes_member
from portalis.dist.attest.components import package_components
from portalis.dist.attest.dsse import Malformed
from portalis.dist.attest.provenance import (
    BUILD_TYPE,
    BUILDER,
    NOT_RECORDED,
    PREDICATE_TYPE,
    FinishedArchive,
    create_provenance,
    recorded_spec,
)
from portalis.dist.attest.statement import TYPE, Subject, encode_statement, parse_statement
from portalis.pins import REQUIREMENTS_FILE
from tests.dist.conftest import CREATED_AT, Package

SHA = "0" * 64


def statement(package: Package) -> dict[str, Any]:
    job = package.job()
    archive = FinishedArchive(
        name="demo-1.2.3.tar.gz",
        digests={"sha256": "a" * 64, "sha512": "b" * 128},
        top="demo-1.2.3",
        members=Members([bytes_member("README.md", b"x", "readme")]),
        sidecars=(bytes_member("demo-1.2.3.tar.gz.sbom.cdx.json", b"{}", "sbom"),),
    )
    found: dict[str, Any] = json.loads(create_provenance(job, archive, package_components(job)))
    return found


def test_its_subjects_are_the_archive_its_files_and_the_images(package: Package) -> None:
    found = statement(package)
    assert (found["_type"], found["predicateType"]) == (TYPE, PREDICATE_TYPE)
    subjects = {each["name"]: each for each in found["subject"]}
    assert subjects["demo-1.2.3.tar.gz"]["digest"] == {"sha256": "a" * 64, "sha512": "b" * 128}
    assert set(subjects) == {
        "demo-1.2.3.tar.gz",
        "demo-1.2.3.tar.gz.sbom.cdx.json",
        "demo-1.2.3/README.md",
        "demo-gelu:1.2.3",
    }
    assert subjects["demo-gelu:1.2.3"]["uri"] == "pkg:docker/demo-gelu@1.2.3"


def test_it_records_the_spec_the_builder_and_the_time(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1714979289")
    predicate = statement(package)["predicate"]
    build, run = predicate["buildDefinition"], predicate["runDetails"]
    assert build["buildType"] == BUILD_TYPE and run["builder"]["id"] == BUILDER
    assert build["externalParameters"]["spec"]["package_name"] == "demo"
    assert run["metadata"]["startedOn"] == run["metadata"]["finishedOn"] == CREATED_AT
    assert [each["name"] for each in run["byproducts"]] == ["demo-1.2.3.tar.gz.sbom.cdx.json"]
    assert statement(package)["predicate"] == predicate


def test_without_a_fixed_time_it_has_the_time_of_its_end(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    metadata = statement(package)["predicate"]["runDetails"]["metadata"]
    assert metadata["finishedOn"] > metadata["startedOn"] == CREATED_AT


def test_the_builder_id_is_that_of_the_spec(package: Package) -> None:
    package.configure(builder_id="https://ci.example/workflow@v1")
    assert statement(package)["predicate"]["runDetails"]["builder"]["id"] == "https://ci.example/workflow@v1"


def test_modules_wheels_and_base_image_are_its_dependencies(package: Package) -> None:
    package.spec["container_config"] = {"base_image": f"python@sha256:{'c' * 64}"}
    package.stage("containers/demo-gelu/requirements.txt", REQUIREMENTS_FILE.read_bytes())
    found = {each["name"]: each for each in statement(package)["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert found["python"]["digest"] == {"sha256": "c" * 64}
    assert set(found["gelu"]["digest"]) == {"sha256", "sha512"}
    assert len(found["numpy"]["annotations"]["sha256"]) > 1 and "digest" not in found["numpy"]
    assert "demo-gelu" not in found


def test_it_contains_neither_secrets_nor_paths_of_this_machine(package: Package) -> None:
    package.spec |= {
        "registry_url": "https://user:hunter2@registry.example/team",
        "container_config": {"environment_vars": {"API": "hunter2"}, "labels": {"my_token": "hunter2", "a": "b"}},
    }
    package.configure(signing_key=package.input("hunter2.key"))
    text = json.dumps(statement(package))
    assert "hunter2" not in text and str(package.base) not in text
    recorded = recorded_spec(package.job().spec)
    assert recorded["container_config"]["environment_vars"] == {"API": NOT_RECORDED}
    assert recorded["container_config"]["labels"] == {"a": "b", "my_token": NOT_RECORDED}
    assert recorded["registry_url"] == "https://registry.example/team"
    assert "output_directory" not in recorded and recorded["wasm_binaries"][0]["path"] == "gelu.wasm"


def test_a_statement_survives_a_round_trip() -> None:
    subjects = (Subject(name="b", digests={"sha256": SHA}), Subject(name="a", digests={"sha256": SHA}, uri="pkg:x/a"))
    found = parse_statement(encode_statement(subjects, "type", {"key": "ä"}))
    assert found.subjects == (subjects[1], subjects[0])
    assert (found.predicate_type, found.predicate) == ("type", {"key": "ä"})


GOOD: dict[str, Any] = json.loads(encode_statement([Subject(name="a", digests={"sha256": SHA})], "type", {}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "is not an in-toto statement of version 1"),
        ({"subject": []}, "has no subjects"),
        ({"subject": [1]}, "has a subject without a name"),
        ({"subject": [{"name": "", "digest": {"sha256": SHA}}]}, "has a subject without a name"),
        ({"subject": [{"name": "a"}]}, "has no digests for the subject 'a'"),
        ({"subject": [{"name": "a", "digest": {"sha1": "0"}}]}, "has no sha256 digest in hex for the subject 'a'"),
        ({"subject": [{"name": "a", "digest": {"sha256": SHA.replace("0", "G")}}]}, "has no sha256 digest in hex"),
        ({"subject": [{"name": "a", "digest": {"sha256": SHA, "sha512": "0"}}]}, "has no sha512 digest in hex"),
        ({"subject": GOOD["subject"] * 2}, "has two subjects with the same name"),
        ({"predicateType": None}, "has no predicateType, or its predicate is not an object"),
        ({"predicate": []}, "has no predicateType, or its predicate is not an object"),
    ],
)
def test_an_invalid_statement_is_rejected_with_the_reason(values: dict[str, Any], message: str) -> None:
    with pytest.raises(Malformed, match=message):
        parse_statement(json.dumps(GOOD | values).encode())


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
JSON = SCALARS | st.lists(st.dictionaries(st.sampled_from(["name", "digest", "uri"]), SCALARS), max_size=3)


@given(JSON, JSON, JSON)
def test_random_statements_never_crash(subjects: object, kind: object, predicate: object) -> None:
    values = {"subject": subjects, "predicateType": kind, "predicate": predicate}
    with contextlib.suppress(Malformed):
        parse_statement(json.dumps(GOOD | values).encode())
        raise AssertionError("no subject of these has a digest")
