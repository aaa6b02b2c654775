"""A check leaves what it checks as it was: a package that was tried is verified afterwards, byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from portalis.contracts.output import PackagingAgentOutput, Status, ValidationResult
from portalis.dist.verify import ReadLimits, verify_package
from portalis.model_repository_gen import model_checks
from portalis.output import REPORT
from tests.running.commands import portalis

from .conftest import Workplace

CUSTOM = {
    "platform": {"Custom": "mine"},
    "inputs": [{"name": "x", "data_type": "FP32", "dims": [1]}],
    "outputs": [{"name": "y", "data_type": "FP32", "dims": [1]}],
}


def digests(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def is_as_reported(made: PackagingAgentOutput, output: Path) -> bool:
    """Whether the output directory holds the files of the report and nothing else, with the report's checksums."""
    found = digests(output)
    del found[str(output / REPORT)]
    return found == made.package_metadata.checksums and verify_package(output, ReadLimits(), None).verified


@pytest.mark.triton
def test_models_that_were_tried_on_triton_are_as_they_were_written(workplace: Workplace) -> None:
    modules = [
        {"path": "add.wasm", "name": "as_python", "triton_config": {"platform": "Python"}},
        {"path": "add.wasm", "name": "as_wasm"},
    ]
    spec = workplace.spec(wasm_binaries=modules, enable_distribution_archive=True)
    made = workplace.package(spec, live=True, only=["triton", "archive"])
    assert made.status is Status.Success, made.diagnostics.errors
    assert all(model.validated for model in made.artifacts.triton_models)
    assert is_as_reported(made, workplace.output)
    archive = made.artifacts.distribution_archives[0].archive_path
    assert portalis("verify", archive, folder=workplace.folder).returncode == 0


@pytest.mark.parametrize("model", [{"platform": "Python"}, CUSTOM], ids=["python", "custom"])
def test_a_server_that_writes_next_to_the_models_writes_to_a_copy(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any]
) -> None:
    seen: list[Path] = []

    def writes(repository: Path, models: list[str], say: Any) -> list[ValidationResult]:
        seen.append(repository)
        for name in models:
            version = repository / name / "1"
            assert (version / "model.wasm").is_file()
            (version / "__pycache__").mkdir()
            (version / "__pycache__" / "model.cpython-310.pyc").write_bytes(b"left behind")
            (version / "model.wasm").write_bytes(b"overwritten")
        return [ValidationResult(name=name, check="live", valid=True, report="it answers") for name in models]

    monkeypatch.setattr(model_checks, "validate_on_triton", writes)
    modules = [{"path": "add.wasm", "triton_config": model}]
    made = workplace.package(workplace.spec(wasm_binaries=modules, enable_distribution_archive=True), live=True)
    assert made.status is Status.Success, made.diagnostics.errors
    assert is_as_reported(made, workplace.output)
    assert not seen[0].exists()
