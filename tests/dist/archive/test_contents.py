"""The files of an archive and their paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portalis.dist.archive.contents import archive_contents, unused_include_warnings
from portalis.errors import PortalisError
from tests.dist.conftest import STAGED, Package

EVERYTHING = {
    "wasm/gelu.wasm",
    "containers/demo-gelu/Dockerfile",
    "containers/demo-gelu/app/main.py",
    "containers/demo-gelu/image.tar",
    "triton/gelu/config.pbtxt",
    "triton/gelu/1/model.wasm",
    "omniverse/demo/config/extension.toml",
    "docs/openapi.json",
    "deployment/kubernetes/deployment.yaml",
    "other/integration.txt",
    "src/Cargo.toml",
    "src/src/lib.rs",
    "tests/test_results.json",
    "tests/parity_report.json",
    "tests/benchmarks.json",
    "LICENSE",
}


def names(package: Package) -> set[str]:
    return {str(member.path) for member in archive_contents(package.job()).members}


def test_every_file_has_the_path_that_the_requirements_specify(package: Package) -> None:
    package.with_everything()
    assert names(package) == EVERYTHING


def test_all_files_of_earlier_stages_are_packed(package: Package) -> None:
    members = archive_contents(package.job()).members
    assert {str(member.staged) for member in members if member.staged} == set(STAGED)


@pytest.mark.parametrize(
    ("switch", "missing"),
    [
        ("include_source_rust", {"src/Cargo.toml", "src/src/lib.rs"}),
        ("include_test_reports", {"tests/test_results.json", "tests/parity_report.json"}),
        ("include_benchmarks", {"tests/benchmarks.json"}),
        ("include_documentation", {"docs/openapi.json"}),
    ],
)
def test_each_include_option_excludes_only_its_files(package: Package, switch: str, missing: set[str]) -> None:
    package.with_everything()
    package.configure(**{switch: False})
    assert names(package) == EVERYTHING - missing


def test_a_package_without_source_and_reports_has_none(package: Package) -> None:
    assert {name.split("/")[0] for name in names(package)}.isdisjoint({"src", "tests", "LICENSE"})


def test_the_model_repository_is_found_where_the_spec_puts_it(package: Package) -> None:
    package.spec["triton_config"] = {"model_repository_path": "served/models"}
    package.stage("served/models/other/config.pbtxt", b"")
    assert "triton/other/config.pbtxt" in names(package)


def test_digests_of_earlier_stages_are_not_computed_again(package: Package) -> None:
    package.stage("docs/huge.html", b"guide")
    (package.staging / "docs" / "huge.html").write_bytes(b"another")
    (member,) = (each for each in archive_contents(package.job()).members if each.path.name == "huge.html")
    assert member.size_bytes == 5


def test_the_executable_bit_of_a_staged_file_is_read(package: Package) -> None:
    (package.staging / "docs" / "openapi.json").chmod(0o755)
    found = {str(member.path): member.executable for member in archive_contents(package.job()).members}
    assert found["docs/openapi.json"] is True and found["triton/gelu/config.pbtxt"] is False


def test_two_files_with_one_path_are_an_error_with_the_path(package: Package) -> None:
    package.stage("containers/demo-gelu/image.tar", b"another image")
    with pytest.raises(PortalisError, match="two files of the archive have the path 'containers/demo-gelu/image.tar'"):
        archive_contents(package.job())


@pytest.mark.parametrize(("build", "found"), [('{"workspace_root": "code"}', True), ("{}", False)])
def test_the_build_report_can_be_a_file_that_names_the_source(
    package: Package, tmp_path: Path, build: Any, found: bool
) -> None:
    package.input("code/main.rs")
    package.spec["build_metadata"] = package.input("build.json", build.encode())
    assert ("src/main.rs" in names(package)) is found


def test_an_unreadable_build_report_is_an_error_with_its_path(package: Package) -> None:
    package.spec["build_metadata"] = package.input("build.json", b"[")
    job = package.job()
    with pytest.raises(PortalisError, match="build.json cannot be read"):
        archive_contents(job)


def test_a_missing_input_is_an_error_with_its_path(package: Package) -> None:
    package.with_everything()
    job = package.job()
    Path(package.spec["benchmarks"]).unlink()
    with pytest.raises(PortalisError, match="bench.json: No such file"):
        archive_contents(job)


def test_an_option_that_is_true_and_adds_no_file_is_a_warning(package: Package) -> None:
    package.configure(include_source_rust=True, include_test_reports=True, include_benchmarks=True)
    assert [warning.message for warning in unused_include_warnings(package.job())] == [
        f"distribution_config.{key} is true but adds no file to the archive: {reason}"
        for key, reason in (
            ("include_source_rust", "build_metadata has no workspace_root"),
            ("include_test_reports", "neither test_results nor parity_report is set"),
            ("include_benchmarks", "benchmarks is not set"),
        )
    ]
    package.with_everything()
    assert list(unused_include_warnings(package.job())) == []
