"""The manifest as text, read back."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from portalis.contracts.package_manifest import (
    ArtifactEntry,
    ArtifactsInventory,
    BenchmarkResult,
    BuildInfo,
    PackageManifest,
    PerformanceMetrics,
    WasmBinaryInfo,
)
from portalis.manifest_text import manifest_name, manifest_text, parse_manifest
from portalis.spec.build import SourceInfo, TestInfo
from portalis.spec.distribution import ManifestFormat
from portalis.spec.package_spec import OperationMode

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    [
        "1e3",
        "yes",
        "null",
        "0o14",
        "~",
        "2024-01-01",
        "{{ x }}",
        "- a",
        "#",
        '"""',
        "'''",
        "a: b",
        "\x85",
        "\u2028",
        "=",
        ".",
    ]
)
counts = st.integers(0, 2**63 - 1)
floats = st.floats(0, 1e12) | st.none()
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=2).map(tuple)


entries = some(
    st.builds(ArtifactEntry, name=texts, path=texts, size_bytes=counts, checksum_sha256=hashes, artifact_type=texts)
)
manifests = st.builds(
    PackageManifest,
    package_name=texts,
    package_version=st.sampled_from(["1.0.0", "1.2.3-rc.1+build"]),
    description=texts,
    created_at=st.just("2024-05-06T07:08:09Z"),
    pipeline_id=texts,
    mode=st.sampled_from(list(OperationMode)),
    artifacts=st.builds(ArtifactsInventory, nim_containers=entries, documentation=entries),
    source_info=st.builds(SourceInfo, original_python_source=texts | st.none(), lines_of_code=counts | st.none()),
    build_info=st.builds(
        BuildInfo,
        rust_version=texts | st.none(),
        wasm_binaries=some(
            st.builds(
                WasmBinaryInfo,
                name=texts,
                size_bytes=counts,
                checksum_sha256=hashes,
                wasi_compliant=st.booleans(),
                exports=some(texts),
            )
        ),
        build_time_seconds=floats,
        total_wasm_size_bytes=counts,
    ),
    test_info=st.builds(TestInfo, total_tests=counts | st.none(), parity_score_percent=floats),
    performance_metrics=st.builds(
        PerformanceMetrics, benchmark_results=some(st.builds(BenchmarkResult, name=texts, python_time_ms=floats))
    ),
    notes=some(texts),
)


@settings(deadline=None)
@given(manifests, st.sampled_from(list(ManifestFormat)))
def test_a_manifest_comes_back_from_its_text_as_it_was(manifest: PackageManifest, how: ManifestFormat) -> None:
    text = manifest_text(manifest, how)
    assert text.endswith("\n")
    assert parse_manifest(text, how) == manifest


@settings(deadline=None)
@given(manifests)
def test_the_keys_come_in_the_order_of_the_contract_in_every_format(manifest: PackageManifest) -> None:
    as_json = json.loads(manifest_text(manifest, ManifestFormat.JSON))
    as_yaml = yaml.safe_load(manifest_text(manifest, ManifestFormat.YAML))
    assert list(as_json) == list(as_yaml) == list(PackageManifest.model_fields)
    assert as_json == as_yaml
    top = list(tomllib.loads(manifest_text(manifest, ManifestFormat.TOML)))
    assert set(top) == set(PackageManifest.model_fields)


def simple(**changes: Any) -> PackageManifest:
    manifest = PackageManifest(
        package_name="1e3",
        package_version="1.0.0",
        created_at="2024-05-06T07:08:09Z",
        pipeline_id="yes",
        mode=OperationMode.Library,
        artifacts=ArtifactsInventory(),
        source_info=SourceInfo(),
        build_info=BuildInfo(wasm_binaries=(), total_wasm_size_bytes=0),
        test_info=TestInfo(),
        performance_metrics=PerformanceMetrics(),
    )
    return manifest.model_copy(update=changes)


@pytest.mark.parametrize("how", ManifestFormat)
def test_a_number_that_is_not_finite_is_unknown(how: ManifestFormat) -> None:
    odd = simple(performance_metrics=PerformanceMetrics(speedup_factor=float("inf")))
    assert parse_manifest(manifest_text(odd, how), how).performance_metrics.speedup_factor is None


def test_texts_that_yaml_readers_disagree_about_are_quoted() -> None:
    text = manifest_text(simple(), ManifestFormat.YAML)
    assert 'package_name: "1e3"\n' in text and 'pipeline_id: "yes"\n' in text
    assert 'created_at: "2024-05-06T07:08:09Z"\n' in text


def test_toml_leaves_out_what_is_unknown() -> None:
    assert "null" in manifest_text(simple(), ManifestFormat.JSON)
    assert tomllib.loads(manifest_text(simple(), ManifestFormat.TOML))["source_info"] == {}


def test_a_manifest_file_is_called_by_its_format() -> None:
    assert [manifest_name(how) for how in ManifestFormat] == ["manifest.json", "manifest.yaml", "manifest.toml"]


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (ManifestFormat.JSON, "{"),
        (ManifestFormat.YAML, "a: [\n"),
        (ManifestFormat.TOML, "a = \n"),
        (ManifestFormat.JSON, "{}"),
        (ManifestFormat.YAML, "a: !!python/object:os.system {}\n"),
    ],
)
def test_what_is_no_manifest_is_a_value_error(how: ManifestFormat, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (each format has its own words)
        parse_manifest(text, how)
