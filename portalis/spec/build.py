"""Reports of upstream agents about the modules: build, tests and source. Additional keys are ignored."""

from __future__ import annotations

from pydantic import ConfigDict

from .base import NonEmpty, Path, Structure


class Reported(Structure):
    """A structure that other tools write: unknown keys are ignored, and unknown values are null."""

    model_config = ConfigDict(extra="ignore")


class TestInfo(Reported):
    """The results of the tests."""

    __test__ = False  # not a test class for pytest

    total_tests: int | None = None
    passed_tests: int | None = None
    failed_tests: int | None = None
    test_coverage_percent: float | None = None
    parity_score_percent: float | None = None


class SourceInfo(Reported):
    """The source of the modules."""

    original_python_source: str | None = None
    python_version: str | None = None
    lines_of_code: int | None = None
    input_mode: str | None = None


class BuildManifest(Reported):
    """The build of the modules."""

    package_name: NonEmpty | None = None
    package_version: NonEmpty | None = None
    rust_version: str | None = None
    cargo_version: str | None = None
    build_time_seconds: float | None = None
    total_wasm_size_bytes: int | None = None
    workspace_root: Path | None = None
    """The directory of the Rust source, for the archive."""
    source_info: SourceInfo | None = None
    test_info: TestInfo | None = None
