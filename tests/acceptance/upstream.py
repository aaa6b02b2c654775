"""Output of the upstream agents, with real modules and real reports (requirements 4.1 and 6.3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from portalis.examples.catalog import EXAMPLES


def test_agent_output(folder: Path, *examples: str, **configuration: Any) -> dict[str, Any]:
    """The test agent's output for `examples`. Its reports are in `folder`; the output directory is ``out`` in it."""
    reports = {
        "test_results": {"total_tests": 40, "passed_tests": 39, "failed_tests": 1, "test_coverage_percent": 87.5},
        "parity_report": {"parity_score_percent": 99.2},
        "benchmarks": {
            "benchmark_results": [
                {"name": "gelu", "python_time_ms": 120.0, "rust_wasm_time_ms": 6.0, "speedup_factor": 20.0}
            ],
            "speedup_factor": 20.0,
            "memory_usage_bytes": 65536,
        },
    }
    paths = {}
    for name, report in reports.items():
        paths[name] = folder / f"{name}.json"
        paths[name].write_text(json.dumps(report))
    workspace = folder / "workspace"
    (workspace / "src").mkdir(parents=True)
    (workspace / "Cargo.toml").write_text('[package]\nname = "demo"\n')
    (workspace / "src" / "lib.rs").write_text("pub fn gelu(x: f32) -> f32 { x }\n")
    modules = [EXAMPLES[name] for name in examples]
    return {
        "agent": "TestAgent",  # an additional key that packaging ignores
        "wasm_binaries": {
            "binaries": [
                {"crate_name": m.name, "file_path": str(m.module), "size_bytes": m.module.stat().st_size}
                for m in modules
            ],
            "metadata": {
                "rust_version": "1.91.0",
                "cargo_version": "1.91.0",
                "build_time_seconds": 12.5,
                "workspace_root": str(workspace),
                "source_info": {
                    "original_python_source": "activations.py",
                    "python_version": "3.11",
                    "lines_of_code": 42,
                },
            },
        },
        "test_results": {
            "results_path": str(paths["test_results"]),
            "parity_report_path": str(paths["parity_report"]),
            "benchmarks_path": str(paths["benchmarks"]),
        },
        "packaging_configuration": {
            "package_name": "activations",
            "package_version": "1.2.0",
            "description": "Activations for the ranking service",
            "output_directory": str(folder / "out"),
            **configuration,
        },
        "context": {"pipeline_id": "run-7", "mode": "library", "started": "today"},
    }


test_agent_output.__test__ = False  # type: ignore[attr-defined]  # pytest collects names that begin with test_
