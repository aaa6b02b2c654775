"""Reads the reports of upstream agents: build, tests, parity with the original, and benchmarks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..bounded import Bounds, Excess, parse_json
from ..contracts.package_manifest import BenchmarkResult, PerformanceMetrics
from ..problems import Problem
from ..spec import PackageSpec
from ..spec.build import BuildManifest, SourceInfo, TestInfo

ReportT = TypeVar("ReportT", bound=BaseModel)
_BOUNDS = Bounds(max_bytes=64 << 20, max_values=1_000_000)


class Upstream(BaseModel):
    """Build, source, tests and performance of the modules."""

    build: BuildManifest = BuildManifest()
    source: SourceInfo = SourceInfo()
    tests: TestInfo = TestInfo()
    performance: PerformanceMetrics = PerformanceMetrics()


def read_upstream(spec: PackageSpec) -> tuple[Upstream, list[Problem]]:
    """The reports that `spec` names, and the problems of those that are invalid or cannot be read."""
    problems: list[Problem] = []

    def table(key: str, path: Path | None) -> Mapping[str, Any]:
        try:
            return _table(path) if path is not None else {}
        except (OSError, ValueError, RecursionError) as error:
            problems.append(Problem(where=key, message=f"{path} is not a JSON report: {error}"))
            return {}

    def record(key: str, kind: type[ReportT], data: Mapping[str, Any]) -> ReportT:
        try:
            return kind.model_validate_json(json.dumps(data))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            problems.append(Problem(where=key, message=f"{where}: {first['msg']}"))
            return kind.model_construct()

    metadata = spec.build_metadata
    build = (
        metadata
        if isinstance(metadata, BuildManifest)
        else record("build_metadata", BuildManifest, table("build_metadata", metadata))
    )
    tests = {
        **table("test_results", spec.test_results),
        **_known_keys(TestInfo, table("parity_report", spec.parity_report)),
    }
    from_build = build.test_info.model_dump(exclude_none=True) if build.test_info else {}
    upstream = Upstream(
        build=build,
        source=build.source_info or SourceInfo(),
        tests=record("test_results", TestInfo, {**from_build, **_known_keys(TestInfo, tests)}),
        performance=record("benchmarks", PerformanceMetrics, _benchmarks(table("benchmarks", spec.benchmarks))),
    )
    return upstream, problems


def _table(path: Path) -> Mapping[str, Any]:
    try:
        data = parse_json(_BOUNDS.read(path), _BOUNDS)
    except Excess as error:
        raise ValueError(f"it {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"expected an object, got {type(data).__name__}")
    return data


def _known_keys(kind: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: data[key] for key in kind.model_fields if data.get(key) is not None}


def _benchmarks(data: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a benchmark report that the manifest has; all others are ignored."""
    results = data.get("benchmark_results") or data.get("results") or []
    rows = [_known_keys(BenchmarkResult, each) for each in results if isinstance(each, dict) and each.get("name")]
    return {**_known_keys(PerformanceMetrics, data), "benchmark_results": rows}
