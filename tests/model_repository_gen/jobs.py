"""Packages of small modules, as the pipeline passes them to the target, for the tests in this directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portalis.contracts.output import Artifacts, PackagingAgentOutput
from portalis.inspection import inspect_module
from portalis.model_repository_gen import model_repository_target as target
from portalis.model_repository_gen.pbtxt import ModelConfig, read_config
from portalis.output import Staging
from portalis.pipeline import Options, run_pipeline
from portalis.pipeline.outcome import Stage
from portalis.spec import PackageSpec, WasmBinaryPath
from portalis.spec.read import make_spec
from portalis.spec.triton import TritonConfiguration
from portalis.target import Job, Module, TargetResult
from tests.backend import guests
from tests.backend.guests import tensor

# Traps on zeros, which are the first request of live validation.
INVERT = """(module (func (export "invert") (param $x i32) (result i32)
  (i32.div_s (i32.const 60) (local.get $x))))"""
# The sum of x since START (kept in a global), the sequence's id, and END as a number.
SEQUENCE = """
  (if (f32.ne (f32.load (i32.load offset=40 (local.get $in))) (f32.const 0)) (then (global.set $sum (f32.const 0))))
  (global.set $sum (f32.add (global.get $sum) (f32.load (i32.load (local.get $in)))))
  (f32.store (i32.load (local.get $out)) (global.get $sum))
  (f32.store offset=4 (i32.load (local.get $out)) (f32.convert_i64_u (i64.load (i32.load offset=120 (local.get $in)))))
  (f32.store offset=8 (i32.load (local.get $out)) (f32.convert_i32_u (i32.load8_u (i32.load offset=80 (local.get $in)))))
  (i32.const 0)"""
OPAQUE = '(module (memory (export "memory") 1) (func (export "f") (param i32 i32) (result i32) i32.const 0))'
TWO = """(module (func (export "twice") (param $x f32) (result f32) (f32.add (local.get $x) (local.get $x)))
  (func (export "square") (param $x f32) (result f32) (f32.mul (local.get $x) (local.get $x))))"""

MODULES: dict[str, bytes] = {
    "add": guests.wasm(guests.ADD),
    "echo": guests.echo(batch=8),
    "unbatched": guests.echo(),
    "double": guests.wasm(guests.DOUBLE),
    "sum": guests.wasm(guests.SUM),
    "cat": guests.wasm(guests.CAT),
    "invert": guests.wasm(INVERT),
    "opaque": guests.wasm(OPAQUE),
    "two": guests.wasm(TWO),
    "sequence": guests.dlpack(
        SEQUENCE,
        inputs=[
            tensor("x", dims=(1,)),
            tensor("START", dims=(1,)),
            tensor("END", "BOOL", (1,)),
            tensor("ID", "UINT64", (1,)),
        ],
        outputs=[tensor("y", dims=(3,))],
        more="(global $sum (mut f32) (f32.const 0))",
    ),
}
REPOSITORY = TritonConfiguration().model_repository_path
OFF = dict.fromkeys(
    (
        "enable_nim_packaging",
        "enable_omniverse_packaging",
        "enable_distribution_archive",
        "generate_api_docs",
    ),
    False,
)


def make(folder: Path, *modules: str | Mapping[str, Any], **triton: Any) -> PackageSpec:
    """A spec with `MODULES`, each given by name or as a table with its name as ``path``, and the package's triton_config."""
    tables = [dict(each) if isinstance(each, Mapping) else {"path": each} for each in modules]
    for table in tables:
        path = folder / f"{table['path']}.wasm"
        path.write_bytes(MODULES[str(table["path"])])
        table["path"] = path.name
    data = {
        "package_name": "demo",
        "package_version": "1.2.3",
        "output_directory": "out",
        "wasm_binaries": tables,
        "triton_config": triton,
        **OFF,
    }
    return make_spec(data, base=folder, source="the test's spec")


def _module(binary: WasmBinaryPath) -> Module:
    declared = binary.interface.model_dump(mode="json", exclude_none=True)
    inspection = inspect_module(binary.path, declared or None)
    return Module(name=binary.module_name, path=binary.path, binary=binary, inspection=inspection)


def job(spec: PackageSpec, staging: Path, *, previous: Path | None = None, live: bool = False) -> Job:
    """The job that the pipeline passes to the target."""

    def no_manifest() -> Any:
        raise AssertionError("the target asks for no manifest")

    return Job(
        spec=spec,
        modules=tuple(_module(binary) for binary in spec.wasm_binaries),
        output=spec.output_directory,
        staging=staging,
        previous=previous,
        artifacts=Artifacts(),
        files={},
        manifest=no_manifest,
        created_at="2026-01-01T00:00:00Z",
        live=live,
        report=lambda text: None,
    )


class Written:
    """The target's result for a spec, written to a directory."""

    def __init__(self, spec: PackageSpec, *, previous: Path | None = None) -> None:
        self.problems = [str(problem) for problem in target.spec_problems(spec)]
        output = spec.output_directory
        with Staging(output) as staging:
            self.job = job(spec, staging.folder, previous=previous)
            made = target.generate(self.job)
            list(staging.write(made.tree))
            self.made: TargetResult = target.run(self.job, made)
            staging.commit()
        self.repository = output / spec.triton_config.model_repository_path
        self.models = {each.model_name: each for each in self.made.artifacts.triton_models}

    def config(self, name: str) -> ModelConfig:
        return read_config(self.repository / name / "config.pbtxt")

    def files(self) -> list[str]:
        every = (path for path in self.repository.rglob("*") if path.is_file())
        return sorted(os.path.relpath(path, self.repository) for path in every)

    def errors(self) -> list[str]:
        return [error.message for error in self.made.errors]

    def warnings(self) -> list[str]:
        return [warning.message for warning in self.made.warnings]


class Silent:
    """A listener that records its notifications."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, name: str, title: str) -> None:
        self.lines.append(title)

    def progressed(self, text: str) -> None:
        self.lines.append(text)

    def ended(self, stage: Stage) -> None:
        self.lines.append(stage.title)


def run(spec: PackageSpec, *, live: bool = False) -> PackagingAgentOutput:
    """Run the whole pipeline with only the Triton target."""
    return run_pipeline(spec, Options(only=("triton",), live=live), Silent())
