"""The tests that every extension contains for omni.kit.test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portalis.omniverse import kit
from tests import parts

from .conftest import Package

# Kit's Python wheel has no omni.kit.test: it would find and run the same classes
RUN = b"""
import importlib, io, sys, unittest
found = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(sys.argv[1] + ".tests"))
log = io.StringIO()
result = unittest.TextTestRunner(stream=log, verbosity=2).run(found)
print(log.getvalue())
print("RAN", result.testsRun, "SKIPPED", len(result.skipped), "GOOD", result.wasSuccessful())
"""
# unittest prints this once for each module that rejects an array of ones
TRAPS = b'(module (memory (export "memory") 1) (func (export "f") (param f32) (result f32) unreachable))'


def run(package: Package, monkeypatch: pytest.MonkeyPatch) -> str:
    python = parts.kit()
    monkeypatch.setenv("OMNI_KIT_ACCEPT_EULA", "YES")
    package.make()
    script = [package.input("run.py", RUN), package.folder.name]
    return kit.run_kit(
        python, kit.kit_arguments(package.base, package.folder.parent, script[1], script), os.environ
    ).log


@pytest.mark.kit
def test_they_pass_in_kit(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "RAN 3 SKIPPED 0 GOOD True" in run(package, monkeypatch)


@pytest.mark.kit
def test_a_module_that_rejects_ones_is_skipped_with_its_reason(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wasmtime

    package.module("traps", bytes(wasmtime.wat2wasm(TRAPS.decode())))
    log = run(package, monkeypatch)
    assert "SKIPPED 1 GOOD True" in log
    assert "traps rejects arrays of ones" in log


@pytest.mark.kit
def test_a_module_that_cannot_be_loaded_fails_them(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    package.module("broken", b"\0asm\1\0\0\0" + b"\x00\x05\x04name")
    package.config["validate_wasm_compatibility"] = False
    assert "GOOD False" in run(package, monkeypatch)


def test_they_are_in_the_package_that_kit_searches(package: Package) -> None:
    package.make()
    folder: Path = package.folder / "portalis_ext" / "two_examples" / "tests"
    assert sorted(path.name for path in folder.iterdir()) == ["__init__.py", "test_modules.py"]
