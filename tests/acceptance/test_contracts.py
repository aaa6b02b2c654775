"""Contract tests of the requirements (6.3): input from the test agent, and invariants of every report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from portalis.backend import Program
from portalis.contracts.input import PackagingAgentInput, read_input
from portalis.contracts.json_schemas import schema_text
from portalis.contracts.output import PackagingAgentOutput, Status
from portalis.manifest_text import parse_manifest
from portalis.pipeline import Options, run_pipeline
from portalis.spec.distribution import ManifestFormat
from tests.portalis.pipeline.conftest import Listening

from .upstream import test_agent_output

QUIET = {"enable_nim_packaging": False, "enable_omniverse_packaging": False}


def test_contract_input_from_the_test_agent(tmp_path: Path) -> None:
    agent_input = PackagingAgentInput.from_test_output(test_agent_output(tmp_path, "gelu", "softmax"))
    assert len(agent_input.wasm_binaries.binaries) > 0
    assert agent_input.test_results.results_path.exists()
    assert agent_input.test_results.parity_report_path.exists()
    assert agent_input.context.previous_agent == "TestAgent"
    jsonschema.validate(json.loads(agent_input.model_dump_json()), json.loads(schema_text("input")))


def run(folder: Path, **configuration: Any) -> PackagingAgentOutput:
    agent_input = PackagingAgentInput.from_test_output(test_agent_output(folder, "gelu", **configuration))
    return run_pipeline(agent_input.to_spec(), Options(), Listening())


@pytest.mark.parametrize("how", list(ManifestFormat))
def test_contract_output_completeness(tmp_path: Path, how: ManifestFormat) -> None:
    report = run(tmp_path, **QUIET, distribution_config={"manifest_format": how.value})
    assert report.status is Status.Success, report.diagnostics.errors
    assert len(report.artifacts.distribution_archives) > 0
    for archive in report.artifacts.distribution_archives:
        assert Path(archive.archive_path).exists()
        assert len(archive.checksums) > 0
        assert archive.manifest_path is not None
        assert Path(archive.manifest_path).exists()
        assert archive.readme_path is not None
        assert Path(archive.readme_path).exists()
    check_invariants(report, tmp_path / "out")
    manifest = report.package_metadata.package_manifest
    ending = {"JSON": "json", "YAML": "yaml", "TOML": "toml"}[how.value]
    assert parse_manifest((tmp_path / "out" / f"manifest.{ending}").read_text(), how) == manifest


def check_invariants(report: PackagingAgentOutput, output: Path) -> None:
    """Check the invariants that the output contract requires of every report (4.2)."""
    data = json.loads((output / "packaging-report.json").read_text())
    jsonschema.validate(data, json.loads(schema_text("output")))
    assert report.package_metadata.total_artifacts == report.artifacts.total_artifacts_count()
    files = {str(path) for path in output.rglob("*") if path.is_file()} - {str(output / "packaging-report.json")}
    assert set(report.package_metadata.checksums) == files
    assert report.package_metadata.total_size_bytes == sum(Path(path).stat().st_size for path in files)
    manifest = report.package_metadata.package_manifest
    assert manifest is not None
    for entry in (
        entry for kind in type(manifest.artifacts).model_fields for entry in getattr(manifest.artifacts, kind)
    ):
        assert (output / entry.path).stat().st_size == entry.size_bytes
        assert report.package_metadata.checksums[str(output / entry.path)] == entry.checksum_sha256


def test_a_failure_reports_no_artifact(tmp_path: Path) -> None:
    agent_input = test_agent_output(
        tmp_path, "gelu", **QUIET, enable_distribution_archive=False, generate_api_docs=False
    )
    # the module has only the input x
    tensors = [{"name": name, "data_type": "FP32", "dims": [-1]} for name in ("x", "z")]
    agent_input["packaging_configuration"]["triton_config"] = {"inputs": tensors}
    report = run_pipeline(PackagingAgentInput.from_test_output(agent_input).to_spec(), Options(), Listening())
    assert report.status is Status.Failure
    assert report.artifacts.total_artifacts_count() == report.package_metadata.total_artifacts == 0
    assert len(report.diagnostics.errors) >= 1
    assert not (tmp_path / "out").exists()


def test_the_manifest_contains_what_upstream_agents_reported(tmp_path: Path) -> None:
    report = run(tmp_path, **QUIET)
    manifest = report.package_metadata.package_manifest
    assert manifest is not None
    assert (manifest.pipeline_id, manifest.mode.value) == ("run-7", "library")
    assert manifest.source_info.original_python_source == "activations.py"
    assert (manifest.build_info.rust_version, manifest.build_info.build_time_seconds) == ("1.91.0", 12.5)
    (binary,) = manifest.build_info.wasm_binaries
    assert (binary.name, binary.wasi_compliant, binary.exports) == ("gelu", True, ("memory", "gelu"))
    assert manifest.build_info.total_wasm_size_bytes == binary.size_bytes
    assert manifest.test_info.passed_tests == 39
    assert manifest.test_info.parity_score_percent == 99.2
    assert manifest.performance_metrics.benchmark_results[0].speedup_factor == 20.0


def test_integration_scenario_2_contract_with_the_test_agent(tmp_path: Path) -> None:
    agent_input = PackagingAgentInput.from_test_output(test_agent_output(tmp_path, "gelu", "softmax"))
    data = agent_input.model_dump(mode="json")
    # all required fields are present
    assert set(json.loads(schema_text("input"))["required"]) <= set(data)
    # the WebAssembly binaries are valid
    for binary in agent_input.wasm_binaries.binaries:
        assert Program.load(binary.file_path).interface.outputs
        assert binary.size_bytes == binary.file_path.stat().st_size
    # the test results are accessible
    assert json.loads(agent_input.test_results.results_path.read_text())["passed_tests"] == 39
    # the build metadata is complete
    metadata = agent_input.wasm_binaries.metadata
    assert (metadata.rust_version, metadata.cargo_version, metadata.build_time_seconds) == ("1.91.0", "1.91.0", 12.5)
    assert metadata.workspace_root is not None and (metadata.workspace_root / "Cargo.toml").is_file()
    assert metadata.source_info is not None and metadata.source_info.original_python_source == "activations.py"


def test_the_contract_can_be_read_from_a_file(tmp_path: Path) -> None:
    agent_input = PackagingAgentInput.from_test_output(test_agent_output(tmp_path, "gelu"))
    file = tmp_path / "packaging-input.json"
    file.write_text(agent_input.model_dump_json(exclude_unset=True))
    assert read_input(file) == agent_input.to_spec()
