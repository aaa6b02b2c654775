"""A spec that tests change, and the target's job for it, which runs as in the pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from portalis.contracts.output import Artifacts
from portalis.contracts.package_manifest import PackageManifest
from portalis.inspection import inspect_module
from portalis.omniverse import extension_target as target
from portalis.output import Staging
from portalis.spec import PackageSpec
from portalis.spec.read import make_spec
from portalis.target import Job, Module, TargetResult
from tests.parts import ROOT

CREATED_AT = "2024-05-06T07:08:09Z"
EXAMPLES = ROOT / "examples"


@dataclass
class Package:
    """A package of two examples; `config` is its omniverse_config."""

    base: Path
    spec: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=lambda: {"prebundle": False})  # nothing is downloaded
    binaries: list[dict[str, Any]] = field(default_factory=list)
    live: bool = False
    reports: list[str] = field(default_factory=list)

    @property
    def output(self) -> Path:
        """The output directory."""
        return self.base / "out"

    @property
    def folder(self) -> Path:
        """The directory of the generated extension."""
        return self.output / "omniverse" / "exts" / (self.config.get("extension_name") or "portalis_ext.two_examples")

    def module(self, name: str, data: bytes) -> None:
        """Add a module with these bytes."""
        path = self.base / f"{name}.wasm"
        path.write_bytes(data)
        self.binaries.append({"path": str(path), "name": name})

    def input(self, name: str, data: bytes) -> str:
        """Write a file next to the spec; returns its path."""
        path = self.base / name
        path.write_bytes(data)
        return str(path)

    def read(self) -> PackageSpec:
        """The spec, with its rules checked."""
        table = {
            "package_name": "two-examples",
            "package_version": "1.2.3",
            "output_directory": str(self.output),
            "wasm_binaries": self.binaries,
            "omniverse_config": self.config,
            **self.spec,
        }
        return make_spec(json.loads(json.dumps(table)), base=self.base, source="the test's spec")

    def problems(self) -> list[tuple[str, str]]:
        """The location and message of each problem that the target finds."""
        return [(each.where, each.message) for each in target.spec_problems(self.read())]

    def job(self, staging: Path) -> Job:
        """The job that the target receives."""
        spec = self.read()
        return Job(
            spec=spec,
            modules=tuple(
                Module(
                    name=each.module_name,
                    path=each.path,
                    binary=each,
                    inspection=inspect_module(each.path, declared(each)),
                )
                for each in spec.wasm_binaries
            ),
            output=self.output,
            staging=staging,
            previous=None,
            artifacts=Artifacts(),
            files={},
            manifest=_no_manifest,
            created_at=CREATED_AT,
            live=self.live,
            report=self.reports.append,
        )

    def make(self) -> TargetResult:
        """Run the target and write its result to the output directory."""
        with Staging(self.output) as staging:
            job = self.job(staging.folder)
            made = target.generate(job)
            list(staging.write(made.tree))
            made = target.run(job, made)
            for path in made.tool_outputs:
                staging.adopt(path)
            staging.commit()
        return made

    def files(self) -> Mapping[str, bytes]:
        """All files of the output directory."""
        return {str(p.relative_to(self.output)): p.read_bytes() for p in self.output.rglob("*") if p.is_file()}


def declared(binary: Any) -> dict[str, Any]:
    found: dict[str, Any] = binary.interface.model_dump(mode="json", exclude_none=True)
    return found


def _no_manifest() -> PackageManifest:
    raise AssertionError("the extension needs no manifest")


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(
        base=tmp_path,
        binaries=[{"path": str(EXAMPLES / name / f"{name}.wasm")} for name in ("gelu", "softmax")],
    )
