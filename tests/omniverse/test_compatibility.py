"""Properties of a module that exclude it from Kit, and those that cause a warning."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from portalis.inspection import Inspection, WasmError, inspect_module
from portalis.omniverse.compatibility import KitSeverity, check_kit_compatibility
from tests.parts import ROOT

GELU = ROOT / "examples" / "gelu" / "gelu.wasm"
CALLABLE = '(func (export "f") (param f32) (result f32) local.get 0)'


def of(tmp_path: Path, text: str) -> Inspection:
    path = tmp_path / "module.wasm"
    path.write_bytes(bytes(wasmtime.wat2wasm(f"(module {text} {CALLABLE})")))
    return inspect_module(path)


def changed(**values: Any) -> Inspection:
    return dataclasses.replace(inspect_module(GELU), **values)


def test_a_plain_module_has_no_findings() -> None:
    assert check_kit_compatibility(inspect_module(GELU)).findings == ()


def test_a_module_with_wasi_imports_is_compatible(tmp_path: Path) -> None:
    text = '(import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32))) (memory (export "memory") 1)'
    assert check_kit_compatibility(of(tmp_path, text)).findings == ()


def test_a_module_with_custom_imports_is_incompatible_and_the_imports_are_named(tmp_path: Path) -> None:
    result = check_kit_compatibility(of(tmp_path, '(import "game" "tick" (func))'))
    assert not result.compatible
    (found,) = result.blocking
    assert str(found) == (
        "it is not WASI compliant: it has imports that the host does not provide: game.tick. The host provides only the functions of"
        " wasi_snapshot_preview1 and env.abort"
    )


def test_assemblyscripts_abort_is_a_warning_because_the_runtime_provides_it(tmp_path: Path) -> None:
    module = of(tmp_path, '(import "env" "abort" (func (param i32 i32 i32 i32)))')
    assert module.refused is None
    assert module.not_wasi == ("env.abort",)
    result = check_kit_compatibility(module)
    assert result.compatible
    assert [each.what for each in result.warnings] == ["it does not import WASI functions only"]


def test_a_shared_memory_is_threads(tmp_path: Path) -> None:
    result = check_kit_compatibility(of(tmp_path, '(memory (export "memory") 1 2 shared)'))
    assert [each.what for each in result.blocking] == ["it uses threads"]
    assert "-pthread" in result.blocking[0].remediation


def test_a_64_bit_memory_blocks(tmp_path: Path) -> None:
    result = check_kit_compatibility(of(tmp_path, '(memory (export "memory") i64 1)'))
    assert [each.what for each in result.blocking] == ["it has a 64-bit memory"]
    assert result.blocking[0].remediation == "Build it for wasm32 (no -mwasm64 or -sMEMORY64)."


def test_other_unsupported_features_block(tmp_path: Path) -> None:
    result = check_kit_compatibility(of(tmp_path, "(tag)"))
    assert [each.what for each in result.blocking] == ["the sandbox does not support it"]


@pytest.mark.parametrize("kind", ["(memory 1)", "(table 1 funcref)", "(global i32)"])
def test_an_import_that_is_not_a_function_is_named_too(tmp_path: Path, kind: str) -> None:
    result = check_kit_compatibility(of(tmp_path, f'(import "env" "it" {kind})'))
    assert "it has imports that the host does not provide: env.it." in result.blocking[0].why


@pytest.mark.parametrize(
    "text",
    [
        '(import "wasi_unstable" "random_get" (func (param i32 i32) (result i32)))',
        '(import "wasi_snapshot_preview1" "random_get" (func (param i64) (result i32)))',
        '(import "wasi_snapshot_preview1" "no_such_call" (func))',
        '(import "wasi" "thread-spawn" (func (param i32) (result i32)))',
    ],
)
def test_imports_that_only_resemble_wasi_are_not_provided(tmp_path: Path, text: str) -> None:
    result = check_kit_compatibility(of(tmp_path, text))
    assert [each.what for each in result.blocking] == ["it is not WASI compliant"]


@pytest.mark.parametrize(
    ("text", "thing"),
    [
        ('(import "wasi_snapshot_preview1" "sock_shutdown" (func (param i32 i32) (result i32)))', "the network"),
        (
            (
                '(import "wasi_snapshot_preview1" "path_open"'
                " (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))"
            ),
            "files",
        ),
    ],
)
def test_files_and_network_are_a_low_warning_because_a_library_might_only_link_them(
    tmp_path: Path, text: str, thing: str
) -> None:
    result = check_kit_compatibility(of(tmp_path, f'{text} (memory (export "memory") 1)'))
    assert result.compatible
    assert [(each.what, each.severity) for each in result.warnings] == [(f"it might require {thing}", KitSeverity.Low)]


def test_all_findings_are_reported_together(tmp_path: Path) -> None:
    result = check_kit_compatibility(
        of(tmp_path, '(import "a" "b" (func)) (memory (export "memory") 1 2 shared) (func (export "g"))')
    )
    assert [each.what for each in result.findings] == [
        "it is not WASI compliant",
        "it uses threads",
        "it cannot be called",
    ]
    assert result.to_json() == {
        "compatible": False,
        "findings": [
            {"what": each.what, "why": each.why, "remediation": each.remediation, "severity": "Error"}
            for each in result.findings
        ],
    }


def test_a_module_that_cannot_be_called_is_reported_with_the_reason(tmp_path: Path) -> None:
    result = check_kit_compatibility(of(tmp_path, '(func (export "g") (param f32) (result f32) local.get 0)'))
    assert [each.what for each in result.blocking] == ["it cannot be called"]
    assert "portalis annotate" in result.blocking[0].remediation


def test_an_invalid_module_has_no_other_finding() -> None:
    result = check_kit_compatibility(changed(invalid="bad bytes", interface=None, not_wasi=("a.b",)))
    assert [str(each) for each in result.findings] == ["it is not a valid module: bad bytes"]


@pytest.mark.parametrize(
    ("size", "severity"),
    [
        (100 << 20, None),
        ((100 << 20) + 1, KitSeverity.Medium),
        (256 << 20, KitSeverity.Medium),
        ((256 << 20) + 1, KitSeverity.High),
    ],
)
def test_more_than_100_mb_are_a_warning_and_more_than_the_limit_a_high_one(
    size: int, severity: KitSeverity | None
) -> None:
    result = check_kit_compatibility(changed(size_bytes=size))
    assert result.compatible
    assert [each.severity for each in result.warnings] == ([] if severity is None else [severity])


@pytest.mark.parametrize(
    ("pages", "severity"),
    [(1024, None), (1025, KitSeverity.Medium), (4096, KitSeverity.Medium), (4097, KitSeverity.High)],
)
def test_more_than_64_mib_of_memory_are_a_warning_and_more_than_the_limit_a_high_one(
    tmp_path: Path, pages: int, severity: KitSeverity | None
) -> None:
    result = check_kit_compatibility(of(tmp_path, f'(memory (export "memory") {pages})'))
    assert result.compatible
    assert [each.severity for each in result.warnings] == ([] if severity is None else [severity])


@given(data=st.binary(max_size=60))
def test_any_bytes_are_checked_or_rejected_as_invalid(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.wasm"
    path.write_bytes(b"\0asm\1\0\0\0" + data)
    try:
        found = inspect_module(path)
    except WasmError:
        return
    result = check_kit_compatibility(found)
    assert result.findings or found.interface is not None
    assert all(each.what and each.why and each.remediation for each in result.findings)
