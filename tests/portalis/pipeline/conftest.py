"""Small packages for the tests of the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from portalis.contracts.output import PackagingAgentOutput
from portalis.pipeline import Options, run_pipeline
from portalis.pipeline.outcome import Stage
from portalis.spec import PackageSpec
from portalis.spec.read import make_spec
from tests.portalis.conftest import ADD

# Two integers beside a memory may be pointers: no interface can be derived, so this cannot be a Triton model.
OPAQUE = """(module (memory (export "memory") 1) (func (export "f") (param i32 i32) (result i32) i32.const 0))"""


@dataclass
class Listening:
    """A listener that keeps the events of a run."""

    started_: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)

    def started(self, name: str, title: str) -> None:
        self.started_.append(name)

    def progressed(self, text: str) -> None:
        self.lines.append(text)

    def ended(self, stage: Stage) -> None:
        self.stages.append(stage)


class Workplace:
    """A folder with modules, and packages made of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "out"

    def module(self, name: str, wat: str = ADD) -> Path:
        path = self.folder / f"{name}.wasm"
        path.write_bytes(wasmtime.wat2wasm(wat))
        return path

    def spec(self, *modules: str, **more: Any) -> PackageSpec:
        """A spec with only the Triton target, unless `more` says otherwise."""
        quiet = dict.fromkeys(
            ("enable_nim_packaging", "enable_omniverse_packaging", "enable_distribution_archive", "generate_api_docs"),
            False,
        )
        data = {
            "package_name": "demo",
            "package_version": "1.2.3",
            "output_directory": "out",
            "wasm_binaries": [f"{name}.wasm" for name in modules],
            **quiet,
            **more,
        }
        return make_spec(data, base=self.folder, source="the test's spec")

    def package(self, spec: PackageSpec, **options: Any) -> PackagingAgentOutput:
        self.listening = Listening()
        return run_pipeline(spec, Options(**options), self.listening)

    def files(self) -> list[str]:
        """The files in the output directory. Files next to it, except modules and reports, are not compared."""
        return sorted(str(path.relative_to(self.output)) for path in self.output.rglob("*") if path.is_file())


Module = Callable[..., Path]


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    place = Workplace(tmp_path)
    place.module("add")
    place.module("opaque", OPAQUE)
    return place
