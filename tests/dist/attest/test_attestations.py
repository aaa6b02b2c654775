"""SBOM, provenance and signature of the target, and the errors that prevent them."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portalis.contracts.output import WarningSeverity
from portalis.dist import archive_target as target
from portalis.dist.attest.keys import generate_key
from portalis.dist.attest.passphrase import FILE_VARIABLE, VARIABLE
from portalis.manifest_text import parse_manifest
from portalis.problems import Problem
from portalis.spec.distribution import ManifestFormat
from portalis.target import StageError
from tests.dist.conftest import Package
from tests.dist.shipping import KEY, NAME, findings, received, signed
from tests.parts import ROOT

SECRET = b"squeamish ossifrage"


@pytest.fixture(autouse=True)
def _no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv(FILE_VARIABLE, raising=False)


def problems(package: Package) -> list[Problem]:
    return list(target.spec_problems(package.job().spec))


def test_the_sbom_is_in_the_archive_and_in_its_manifest(package: Package) -> None:
    archive = signed(package)
    sidecar = archive.with_name(f"{NAME}.sbom.cdx.json").read_bytes()
    manifest = parse_manifest(archive.with_name("manifest.json").read_text(), ManifestFormat.JSON)
    (entry,) = (each for each in manifest.artifacts.distribution_archives if each.path == "sbom.cdx.json")
    assert (entry.artifact_type, entry.size_bytes) == ("sbom", len(sidecar))
    assert received(archive).files["sbom.cdx.json"].sha256 == entry.checksum_sha256


def test_all_files_have_the_same_bytes_in_a_different_directory(
    new_package: Callable[[str], Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1714979289")
    first, second = (signed(new_package(name)).parent for name in ("a", "b"))
    names = sorted(path.name for path in first.iterdir())
    assert f"{NAME}.intoto.jsonl" in names and names == sorted(path.name for path in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_an_encrypted_key_needs_the_passphrase_and_neither_is_written_to_any_file(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = generate_key("ecdsa-p256")
    path = package.input("my.key", key.pem(SECRET))
    Path(path).chmod(0o600)
    package.configure(signing_key=path)
    (problem,) = problems(package)
    assert problem.where == "distribution_config.signing_key" and "is encrypted" in problem.message
    assert VARIABLE in problem.remediation
    monkeypatch.setenv(VARIABLE, "wrong")
    (problem,) = problems(package)
    assert "does not decrypt" in problem.message and "wrong" not in str(problem)
    monkeypatch.setenv(VARIABLE, SECRET.decode())
    assert problems(package) == []
    job = package.job()
    target.run(job, target.generate(job))
    folder = package.staging / "archives"
    assert findings(folder / NAME, key) == []
    written = b"".join(file.read_bytes() for file in folder.iterdir())
    assert SECRET not in written and b"PRIVATE KEY" not in written and b"my.key" not in written
    assert SECRET.decode() not in "\n".join(package.reported)


def test_a_key_that_other_users_can_access_is_a_warning(package: Package) -> None:
    path = package.input("my.key", KEY.pem(None))
    Path(path).chmod(0o640)
    package.configure(signing_key=path)
    job = package.job()
    (warning,) = target.run(job, target.generate(job)).warnings
    assert warning.severity is WarningSeverity.High and warning.remediation == f"Run: chmod 600 {path}"


def test_a_key_without_provenance_to_sign_is_rejected(package: Package) -> None:
    package.configure(signing_key=package.input("my.key", KEY.pem(None)), provenance=False)
    (problem,) = problems(package)
    assert "nothing would be signed" in problem.message


def test_a_key_inside_the_packed_source_is_rejected(package: Package) -> None:
    package.with_everything()
    package.configure(signing_key=package.input("workspace/keys/my.key", KEY.pem(None)))
    (problem,) = problems(package)
    assert "is inside the Rust source" in problem.message
    package.configure(include_source_rust=False)
    assert problems(package) == []


def test_a_file_that_is_not_a_key_is_rejected(package: Package) -> None:
    package.configure(signing_key=package.input("my.key", b"no key"))
    (problem,) = problems(package)
    assert "is not a private key in PEM" in problem.message and "portalis keygen" in problem.remediation


def test_a_key_that_disappears_before_the_run_leaves_no_archive(package: Package) -> None:
    path = package.input("my.key", KEY.pem(None))
    package.configure(signing_key=path)
    job = package.job()
    Path(path).unlink()
    with pytest.raises(StageError, match="cannot be read"):
        target.run(job, target.generate(job))
    assert not (package.staging / "archives").exists()


WITHOUT = """
import sys
for name in {names!r}:
    sys.modules[name] = None  # importing it fails as if it were not installed
import json
from pathlib import Path
from portalis.dist import archive_target as target
from portalis.target import StageError
from tests.dist.conftest import Package
package = Package(Path(sys.argv[1]))
package.configure(**json.loads(sys.argv[2]))
job = package.job()
try:
    problems = [str(problem) for problem in target.spec_problems(job.spec)]
    result = target.run(job, target.generate(job))
    print(json.dumps([problems, [warning.message for warning in result.warnings], sorted(map(str, result.tool_outputs))]))
except StageError as error:
    print(json.dumps([problems, [str(error)], []]))
"""


def without(folder: Path, *names: str, **config: object) -> list[list[str]]:
    """Problems, warnings and files of a run where the packages `names` are not installed."""
    command = [sys.executable, "-c", WITHOUT.format(names=names), str(folder), json.dumps(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    output: list[list[str]] = json.loads(done.stdout)
    return output


def test_without_the_extra_the_sbom_is_skipped_with_a_warning_unless_requested(tmp_path: Path) -> None:
    problems, warnings, files = without(tmp_path / "a", "cyclonedx", "cryptography")
    assert problems == [] and len(warnings) == 1 and "no SBOM was created" in warnings[0]
    assert f"archives/{NAME}.provenance.json" in files and not any("sbom" in file for file in files)
    _, (error,), files = without(tmp_path / "b", "cyclonedx", sbom=True)
    assert "cyclonedx-python-lib, which is not installed" in error and "portalis[attest]" in error and files == []
    assert without(tmp_path / "c", "cyclonedx", sbom=False)[1] == []


def test_signing_without_the_extra_is_a_problem_before_the_run(tmp_path: Path) -> None:
    key = tmp_path / "my.key"
    key.write_bytes(KEY.pem(None))
    (problem,), (error,), files = without(tmp_path / "a", "cryptography", signing_key=str(key))
    assert "signatures need the package cryptography" in problem and "portalis[attest]" in problem
    assert "signatures need the package cryptography" in error and files == []


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


@pytest.mark.parametrize(
    ("library", "owner"),
    [
        ("cryptography", "dist/attest/keys.py"),
        ("cyclonedx", "dist/attest/sbom.py"),
        ("packageurl", "dist/attest/components.py"),
    ],
)
def test_only_one_module_imports_each_library(library: str, owner: str) -> None:
    files = [path for top in ("dist", "portalis", "nim", "omniverse", "deploy") for path in (ROOT / top).rglob("*.py")]
    owners = {
        str(path.relative_to(ROOT))
        for path in files
        if "examples" not in path.parts and any(name.split(".")[0] == library for name in imports(path))
    }
    assert owners == {owner}
