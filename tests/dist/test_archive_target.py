"""The archive target as the pipeline calls it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from portalis.contracts.artifacts import DistributionArchive
from portalis.contracts.errors import ArchiveCreationError, ErrorType
from portalis.dist import archive_target as target
from portalis.manifest_text import parse_manifest
from portalis.output import Written
from portalis.spec.distribution import ArchiveFormat, ChecksumAlgorithm, ManifestFormat
from portalis.spec.read import make_spec
from portalis.target import StageError, Target, TargetResult
from tests.parts import ROOT

from .archive.test_contents import EVERYTHING
from .conftest import Package
from .tars import open_tar

TARGET: Target = target


def run(package: Package) -> tuple[TargetResult, DistributionArchive]:
    job = package.job()
    result = target.run(job, target.generate(job))
    (archive,) = result.artifacts.distribution_archives
    return result, archive


def archive_folder(package: Package) -> list[str]:
    folder = package.staging / "archives"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def unpacked(package: Package, archive: DistributionArchive) -> dict[str, bytes]:
    """The files of the archive by path below its top directory."""
    path = package.staging / "archives" / archive.archive_name
    if archive.archive_format is ArchiveFormat.Zip:
        with zipfile.ZipFile(path) as opened:
            files = {info.filename: opened.read(info) for info in opened.infolist() if not info.is_dir()}
    else:
        with open_tar(path) as tar:
            files = {}
            for info in tar:
                if (file := tar.extractfile(info)) is not None:
                    files[info.name] = file.read()
    assert all(name.startswith("demo-1.2.3/") for name in files)
    return {name.removeprefix("demo-1.2.3/"): data for name, data in files.items()}


@pytest.mark.parametrize("packed", ArchiveFormat)
def test_an_archive_contains_all_files_with_checksums_and_manifest(package: Package, packed: ArchiveFormat) -> None:
    """Unit test scenario 3 of the requirements (6.3)."""
    package.with_everything()
    package.configure(archive_format=packed.value, checksum_algorithms=["SHA256", "SHA512", "Blake3"])
    result, archive = run(package)
    path = package.staging / "archives" / archive.archive_name
    assert path.is_file()
    files = unpacked(package, archive)
    assert set(files) == EVERYTHING | {"README.md", "manifest.json", "sbom.cdx.json"}
    assert archive.compressed_size_bytes == path.stat().st_size < archive.uncompressed_size_bytes
    assert archive.uncompressed_size_bytes == sum(map(len, files.values()))
    assert set(archive.checksums) == set(ChecksumAlgorithm)
    assert archive.checksums[ChecksumAlgorithm.SHA256] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (archive.contents.total_files, archive.contents.total_directories) == (19, 17)
    assert set(result.tool_outputs) == {PurePosixPath("archives", name) for name in archive_folder(package)}


def test_the_archive_and_its_sidecar_files_are_in_one_directory(package: Package) -> None:
    _, archive = run(package)
    assert archive_folder(package) == [
        "README.md",
        "demo-1.2.3.tar.gz",
        "demo-1.2.3.tar.gz.provenance.json",
        "demo-1.2.3.tar.gz.sbom.cdx.json",
        "demo-1.2.3.tar.gz.sha256",
        "manifest.json",
    ]
    folder = package.output / "archives"
    assert archive.archive_path == str(folder / "demo-1.2.3.tar.gz")
    assert (archive.manifest_path, archive.readme_path) == (str(folder / "manifest.json"), str(folder / "README.md"))
    check = ["sha256sum", "--check", "--strict", "demo-1.2.3.tar.gz.sha256"]
    assert subprocess.run(check, cwd=package.staging / "archives", capture_output=True).returncode == 0
    files = unpacked(package, archive)
    for name in ("manifest.json", "README.md"):
        assert files[name] == (package.staging / "archives" / name).read_bytes()


@pytest.mark.parametrize("how", ManifestFormat)
def test_the_manifest_lists_every_file_of_the_archive_but_itself_with_its_digest(
    package: Package, how: ManifestFormat
) -> None:
    package.with_everything()
    package.configure(manifest_format=how.value)
    files = unpacked(package, run(package)[1])
    (name,) = (name for name in files if name.startswith("manifest."))
    manifest = parse_manifest(files.pop(name).decode(), how)
    kinds = type(manifest.artifacts).model_fields
    listed = [entry for kind in kinds for entry in getattr(manifest.artifacts, kind)]
    assert {entry.path: entry.checksum_sha256 for entry in listed} == {
        path: hashlib.sha256(data).hexdigest() for path, data in files.items()
    }
    assert len(listed) == len(files) and all(entry.size_bytes == len(files[entry.path]) for entry in listed)
    assert {entry.path for entry in manifest.artifacts.triton_models} == {
        "triton/gelu/1/model.wasm",
        "triton/gelu/config.pbtxt",
    }


def test_files_that_are_not_in_the_archive_are_not_in_its_manifest(package: Package) -> None:
    package.configure(include_documentation=False)
    manifest = json.loads(unpacked(package, run(package)[1])["manifest.json"])
    assert manifest["artifacts"]["documentation"] == []


def test_readme_manifest_and_checksums_are_optional(package: Package) -> None:
    package.configure(generate_readme=False, generate_manifest=False, generate_checksums=False)
    package.configure(sbom=False, provenance=False)
    _, archive = run(package)
    assert archive_folder(package) == ["demo-1.2.3.tar.gz"]
    assert archive.manifest_path is None and archive.readme_path is None and archive.checksums == {}
    assert {"README.md", "manifest.json", "sbom.cdx.json"}.isdisjoint(unpacked(package, archive))


def test_the_target_reports_progress_and_the_reason_for_skipping(package: Package) -> None:
    spec = package.job().spec
    assert TARGET.skip_reason(spec) is None
    off = spec.model_copy(update={"enable_distribution_archive": False})
    assert target.skip_reason(off) == "enable_distribution_archive is false"
    run(package)
    assert package.reported[0].startswith("packing demo-1.2.3.tar.gz: 13 files, ")
    assert ", compression ratio " in package.reported[-1]


def test_a_run_in_a_different_directory_gives_the_same_bytes(
    new_package: Callable[[str], Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")  # the provenance says when a run ended

    def digests(name: str) -> dict[str, str]:
        package = new_package(name)
        package.with_everything()
        run(package)
        folder = package.staging / "archives"
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    assert digests("one") == digests("a longer/other")


def test_omitted_links_are_warnings(package: Package) -> None:
    package.with_everything()
    (package.base / "inputs" / "workspace" / "out").symlink_to("/etc")
    result, _ = run(package)
    (warning,) = result.warnings
    assert (
        warning.message == "omitted from the archive's src/: 'out' is a symbolic link that points outside the workspace"
    )


def test_a_secret_in_the_source_is_a_warning_whose_remediation_ships_it(package: Package) -> None:
    package.with_everything()
    secret = package.base / "inputs" / "workspace" / "id_rsa"
    secret.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb\n-----END OPENSSH PRIVATE KEY-----\n")
    result, _ = run(package)
    (warning,) = result.warnings
    assert warning.message == "omitted from the archive's src/: 'id_rsa' contains credentials (detected by its name)"
    assert "distribution_config.source_exclude" in warning.remediation
    package.configure(source_exclude=["!id_rsa"])
    shutil.rmtree(package.staging / "archives")
    result, _ = run(package)
    assert not result.warnings


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"package_name": "a/b"}, "package_name"),
        ({"package_name": ".."}, "package_name"),
        ({"package_name": "-rf"}, "package_name"),
        ({"package_name": "host:demo"}, "package_name"),
        ({"package_name": "a\nb"}, "package_name"),
        ({"package_name": "x" * 201}, "package_name"),
        ({"wasm_binaries": [{"path": "m.wasm", "name": "../up"}]}, "wasm_binaries[0].name"),
        ({"wasm_binaries": [{"path": "a:b.wasm"}]}, "wasm_binaries[0].path"),
        ({"triton_config": {"model_repository_path": "archives/models"}}, "triton_config.model_repository_path"),
        ({"triton_config": {"model_repository_path": "docs"}}, "triton_config.model_repository_path"),
        ({"distribution_config": {"checksum_algorithms": []}}, "distribution_config.checksum_algorithms"),
    ],
)
def test_an_invalid_spec_is_a_problem_before_the_run(package: Package, changes: dict[str, Any], where: str) -> None:
    for name in ("m.wasm", "a:b.wasm"):
        shutil.copy(package.spec["wasm_binaries"][0]["path"], package.base / name)
    spec = make_spec(package.spec | changes, base=package.base, source="spec")
    assert [problem.where for problem in target.spec_problems(spec)] == [where]


@pytest.mark.parametrize("name", ["demo", "My Package", "資料", "it's $HOME", "a.b_c+d", "über-😀"])
def test_ordinary_and_unusual_package_names_are_accepted(package: Package, name: str) -> None:
    package.spec["package_name"] = name
    job = package.job()
    assert list(target.spec_problems(job.spec)) == []
    (archive,) = target.run(job, TargetResult()).artifacts.distribution_archives
    done = subprocess.run(
        ["tar", "--quoting-style=literal", "-tf", archive.archive_name],
        cwd=package.staging / "archives",
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().startswith(f"{name}-1.2.3/")
    check = ["sha256sum", "--check", "--strict", f"{archive.archive_name}.sha256"]
    assert subprocess.run(check, cwd=package.staging / "archives", capture_output=True).returncode == 0


def failure(package: Package) -> StageError:
    job = package.job()
    with pytest.raises(StageError) as caught:
        target.run(job, TargetResult())
    return caught.value


def test_without_free_space_no_file_is_written_and_the_sizes_are_reported(package: Package) -> None:
    """The file is sparse and larger than the whole disk, because other processes can free space during the test."""
    size = shutil.disk_usage(package.staging).total + (1 << 30)
    package.stage("docs/huge", b"")
    with (package.staging / "docs" / "huge").open("wb") as file:
        try:
            file.truncate(size)
        except OSError:
            pytest.skip("this file system has no files of that size")
    path = PurePosixPath("docs/huge")
    package.files[path] = Written(path=path, size_bytes=size, sha256="0" * 64)
    error = failure(package)
    assert error.kind is ErrorType.ArchiveError and archive_folder(package) == []
    assert "not enough free space for the archive demo-1.2.3.tar.gz: it may need " in error.message
    assert error.remediation.startswith("Free ")
    assert error.details == ArchiveCreationError(
        failed_archives=("demo-1.2.3.tar.gz",), io_errors=("No space left on device",)
    )


@pytest.mark.parametrize("packed", [packed.value for packed in ArchiveFormat])
@pytest.mark.bulk
def test_a_failed_write_leaves_no_file_and_reports_the_reason(package: Package, packed: str) -> None:
    """A limit on the size of files has the same effect as a full disk."""
    program = """
import json, os, resource, sys
from pathlib import Path
from portalis.dist import archive_target as target
from portalis.target import TargetResult, StageError
from tests.dist.conftest import Package
package = Package(Path(sys.argv[1]))
package.stage("docs/noise", os.urandom(3 << 20))
package.configure(archive_format=sys.argv[2])
job = package.job()
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    target.run(job, TargetResult())
except StageError as error:
    print(json.dumps([str(error.kind), error.message, error.details.model_dump()]))
"""
    base = package.base / "child"
    done = subprocess.run(
        [sys.executable, "-c", program, str(base), packed], cwd=ROOT, capture_output=True, text=True, check=True
    )
    kind, message, details = json.loads(done.stdout)
    assert kind == "ArchiveError" and "cannot be written: File too large" in message
    assert details["io_errors"] == ["File too large"] and details["failed_archives"][0].startswith("demo-1.2.3.")
    assert not (base / "staging" / "archives").exists()


def test_a_file_that_changes_during_the_run_leaves_no_incomplete_archive(package: Package) -> None:
    (package.staging / "docs" / "openapi.json").write_bytes(b"changed")
    assert "openapi.json changed while it was packed" in failure(package).message
    assert archive_folder(package) == []


def test_an_existing_file_is_not_overwritten(package: Package) -> None:
    existing = package.staging / "archives" / "manifest.json"
    existing.parent.mkdir()
    existing.write_bytes(b"mine")
    assert "manifest.json: already exists" in failure(package).message
    assert archive_folder(package) == ["manifest.json"] and existing.read_bytes() == b"mine"


def test_an_invalid_readme_template_fails_before_any_file_is_written(package: Package) -> None:
    package.configure(readme_template=package.input("r.j2", b"\n{{ nope }}"))
    error = failure(package)
    assert error.kind is ErrorType.DocumentationError and "r.j2, line 2: 'nope' is undefined" in error.message
    assert archive_folder(package) == []


def test_the_manifest_as_yaml_is_yaml(package: Package) -> None:
    package.configure(manifest_format="YAML")
    run(package)
    assert yaml.safe_load((package.staging / "archives" / "manifest.yaml").read_text())["package_name"] == "demo"


def test_the_target_imports_neither_the_pipeline_nor_another_target() -> None:
    program = "import sys, portalis.dist.archive_target; print(*(m for m in sys.modules if m.startswith('portalis.')))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    tops = {".".join(name.split(".")[:2]) for name in done.stdout.split()}
    others = ("pipeline", "backend", "nim", "omniverse", "deploy", "proto", "model_repository_gen", "publishing", "cli")
    assert tops.isdisjoint(f"portalis.{other}" for other in others)


def test_there_is_a_readme_for_each_format() -> None:
    names = {path.name for path in (Path(target.__file__).parent / "archive" / "templates").glob("README.*")}
    assert names == {"README.md.j2", "README.txt.j2", "README.rst.j2"}
