"""What keeps a module out of Kit, and what is only worth a warning."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from portalis.inspection import Inspection, inspect
from portalis.omniverse.compatibility import PROVIDED, check
from tests.parts import ROOT

GELU = ROOT / "examples" / "gelu" / "gelu.wasm"
CALLABLE = '(func (export "f") (param f32) (result f32) local.get 0)'


def of(tmp_path: Path, text: str) -> Inspection:
    path = tmp_path / "module.wasm"
    path.write_bytes(bytes(wasmtime.wat2wasm(f"(module {text} {CALLABLE})")))
    return inspect(path)


def changed(**values: Any) -> Inspection:
    return dataclasses.replace(inspect(GELU), **values)


def test_a_plain_module_has_no_findings() -> None:
    assert check(inspect(GELU)).findings == ()


def test_a_module_with_wasi_imports_is_compatible(tmp_path: Path) -> None:
    text = '(import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32))) (memory (export "memory") 1)'
    assert check(of(tmp_path, text)).findings == ()


def test_a_module_with_imports_of_its_own_is_not_and_the_imports_are_named(tmp_path: Path) -> None:
    result = check(of(tmp_path, '(import "game" "tick" (func))'))
    assert not result.compatible
    assert [str(each) for each in result.blocking] == [
        "it is not WASI compliant: it imports game.tick, and nothing in Kit provides that"
    ]


def test_assemblyscripts_abort_is_a_warning_as_the_runtime_has_it(tmp_path: Path) -> None:
    module = of(tmp_path, '(import "env" "abort" (func (param i32 i32 i32 i32)))')
    assert module.refused is None  # so PROVIDED says what the sandbox does
    assert module.not_wasi == PROVIDED
    result = check(module)
    assert result.compatible
    assert [each.what for each in result.warnings] == ["it is not purely WASI"]


def test_a_shared_memory_is_threads(tmp_path: Path) -> None:
    result = check(of(tmp_path, '(memory (export "memory") 1 2 shared)'))
    assert [each.what for each in result.blocking] == ["it uses threads"]
    assert "-pthread" in result.blocking[0].remediation


def test_what_the_sandbox_leaves_out_blocks(tmp_path: Path) -> None:
    result = check(of(tmp_path, '(memory (export "memory") i64 1)'))
    assert [each.what for each in result.blocking] == ["the sandbox does not take it"]


def test_a_module_that_cannot_be_called_is_told_with_its_reason(tmp_path: Path) -> None:
    result = check(of(tmp_path, '(func (export "g") (param f32) (result f32) local.get 0)'))
    assert [each.what for each in result.blocking] == ["it cannot be called"]
    assert "portalis annotate" in result.blocking[0].remediation


def test_an_invalid_module_is_told_as_nothing_else() -> None:
    result = check(changed(invalid="bad bytes", interface=None, not_wasi=("a.b",)))
    assert [str(each) for each in result.findings] == ["it is no valid module: bad bytes"]


@pytest.mark.parametrize(("size", "warned"), [(100 << 20, False), ((100 << 20) + 1, True)])
def test_more_than_100_mb_are_a_warning(size: int, warned: bool) -> None:
    result = check(changed(size_bytes=size))
    assert result.compatible
    assert [each.what for each in result.warnings] == ["it is large"] * warned


@pytest.mark.parametrize(("pages", "warned"), [(1024, False), (1025, True)])
def test_more_than_64_mib_of_memory_are_a_warning(tmp_path: Path, pages: int, warned: bool) -> None:
    result = check(of(tmp_path, f'(memory (export "memory") {pages})'))
    assert result.compatible
    assert [each.what for each in result.warnings] == ["it needs much memory"] * warned
