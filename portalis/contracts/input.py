"""What the agent before hands over (requirements 4.1): ``packaging-input.json``, and the spec that it comes to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ..problems import InputProblems, Problem, independent_problems
from ..spec import PackageSpec, WasmBinaryPath
from ..spec.base import U64, NonEmpty, Structure
from ..spec.build import BuildManifest
from ..spec.document_reader import read_document
from ..spec.invariants import invariant_problems
from ..spec.loc import Loc
from ..spec.package_spec import Mode, ModuleInterface, PackagingSettings
from ..spec.paths import make_absolute
from ..spec.read import run_id
from ..spec.salvage import ANY, salvage
from ..spec.triton import TritonConfiguration

AGENT = "TestAgent"
_SETTINGS = "packaging_configuration"
_MODULE = {"crate_name": "unnamed", "file_path": "unnamed"}
_STAND_INS: dict[Loc, Any] = {
    ("wasm_binaries",): {"binaries": [_MODULE]},
    ("wasm_binaries", "binaries"): [_MODULE],
    ("wasm_binaries", "binaries", ANY): _MODULE,
    ("wasm_binaries", "binaries", ANY, "crate_name"): "unnamed",
    ("wasm_binaries", "binaries", ANY, "file_path"): "unnamed",
    (_SETTINGS,): {"package_name": "unnamed", "package_version": "0.0.0", "output_directory": "unnamed"},
    (_SETTINGS, "package_name"): "unnamed",
    (_SETTINGS, "package_version"): "0.0.0",
    (_SETTINGS, "output_directory"): "unnamed",
    ("test_results",): {"results_path": "unnamed", "parity_report_path": "unnamed"},
    ("test_results", "results_path"): "unnamed",
    ("test_results", "parity_report_path"): "unnamed",
    ("context",): {"pipeline_id": "unnamed", "mode": "library"},
    ("context", "pipeline_id"): "unnamed",
    ("context", "mode"): "library",
}
# where in the contract lies what the spec calls by another name
_PLACES = {
    "test_results": "test_results.results_path",
    "parity_report": "test_results.parity_report_path",
    "benchmarks": "test_results.benchmarks_path",
    "build_metadata": "wasm_binaries.metadata",
    "pipeline_id": "context.pipeline_id",
    "mode": "context.mode",
}
_MODULE_PLACE = re.compile(r"\bwasm_binaries(\[\d+\])(\.(?:name|path)\b)?")
_MODULE_KEYS = {".name": ".crate_name", ".path": ".file_path", None: ""}


class WasmBinary(Structure):
    """A module from the build. What is told of it beside its name and file is what the build believes: the size is
    compared, and the manifest says what inspection finds."""

    crate_name: NonEmpty
    file_path: Path
    size_bytes: U64 | None = None
    wasi_compliant: bool | None = None
    exports: tuple[str, ...] | None = None
    memory_pages: U64 | None = None
    description: str = ""
    interface: ModuleInterface = ModuleInterface()
    triton_config: TritonConfiguration | None = None


class WasmBinaries(Structure):
    """The modules and how they were built."""

    binaries: tuple[WasmBinary, ...] = Field(min_length=1)
    metadata: BuildManifest = BuildManifest()


class TestResults(Structure):
    """Where the reports of the tests are."""

    __test__ = False  # pytest would take it for a test

    results_path: Path
    parity_report_path: Path
    benchmarks_path: Path | None = None


class Context(Structure):
    """Where in the pipeline this is."""

    pipeline_id: NonEmpty
    previous_agent: Literal["TestAgent"] = "TestAgent"
    mode: Mode


class PackagingAgentInput(Structure):
    """All that packaging gets."""

    wasm_binaries: WasmBinaries
    test_results: TestResults
    packaging_configuration: PackagingSettings
    context: Context

    @classmethod
    def from_test_output(cls, output: Mapping[str, Any], *, base: Path | None = None) -> PackagingAgentInput:
        """What the test agent handed over; what it and the build say more than is read here is left alone.

        Relative paths start at `base` (the working directory). Raises InputProblems with everything that is wrong.
        """
        data = _known(cls, output)
        for key, model in (("wasm_binaries", WasmBinaries), ("test_results", TestResults), ("context", Context)):
            if key in data:
                data[key] = _known(model, data[key])
        modules, context = data.get("wasm_binaries"), data.get("context", {})
        if isinstance(modules, dict) and isinstance(modules.get("binaries"), (list, tuple)):
            modules["binaries"] = [_known(WasmBinary, each) for each in modules["binaries"]]
        if isinstance(context, dict):
            data["context"] = {**context, "previous_agent": AGENT}
        return _checked(data, base=base or Path.cwd(), source="the test agent's output")[0]

    def to_spec(self) -> PackageSpec:
        """The spec that this comes to."""
        tests = self.test_results
        return PackageSpec(
            **{key: getattr(self.packaging_configuration, key) for key in PackagingSettings.model_fields},
            wasm_binaries=tuple(_module(binary) for binary in self.wasm_binaries.binaries),
            build_metadata=self.wasm_binaries.metadata,
            test_results=tests.results_path,
            parity_report=tests.parity_report_path,
            benchmarks=tests.benchmarks_path,
            pipeline_id=self.context.pipeline_id,
            mode=self.context.mode,
        )


def read_input(path: Path) -> PackageSpec:
    """The spec that a ``packaging-input.json`` comes to; its relative paths start at the file's folder.

    Raises UsageError for a file that cannot be read, InputProblems with everything that is wrong in it.
    """
    return _checked(read_document(path), base=path.absolute().parent, source=str(path))[1]


def _checked(data: Mapping[str, Any], *, base: Path, source: str) -> tuple[PackagingAgentInput, PackageSpec]:
    found = salvage(PackagingAgentInput, data, _STAND_INS, source=source)
    problems = list(found.problems)
    if found.model is not None:
        given = make_absolute(found.model, base)
        spec = given.to_spec()
        problems += independent_problems(
            [*_sizes(given), *map(in_contract, invariant_problems(spec, base))], found.left_out
        )
        if not problems:
            return given, spec
    raise InputProblems(problems, source=source, pipeline_id=_run_id(data))


def _run_id(data: Mapping[str, Any]) -> str | None:
    context, settings = data.get("context"), data.get(_SETTINGS)
    told = context.get("pipeline_id") if isinstance(context, Mapping) else None
    return told if isinstance(told, str) and told else run_id(settings)


def _known(model: type[Structure], value: Any) -> Any:
    """The keys of `model` in a table; what is no table is as it was."""
    return {key: value[key] for key in model.model_fields if key in value} if isinstance(value, Mapping) else value


def _module(binary: WasmBinary) -> WasmBinaryPath:
    return WasmBinaryPath(
        path=binary.file_path,
        name=binary.crate_name,
        description=binary.description,
        interface=binary.interface,
        triton_config=binary.triton_config,
    )


def _sizes(given: PackagingAgentInput) -> Iterator[Problem]:
    """A module that has another size than its build says is another module."""
    for i, binary in enumerate(given.wasm_binaries.binaries):
        if binary.size_bytes is None or not binary.file_path.is_file():
            continue
        size = binary.file_path.stat().st_size
        if size != binary.size_bytes:
            yield Problem(
                where=f"wasm_binaries.binaries[{i}].size_bytes",
                message=f"the build says {binary.size_bytes} bytes, but {binary.file_path} has {size}",
                remediation="Hand over the file that was built.",
            )


def in_contract(problem: Problem) -> Problem:
    """`problem`, found in the spec, in the contract's own terms."""
    return replace(
        problem,
        where=_place(problem.where),
        message=_modules_named(problem.message),
        remediation=_modules_named(problem.remediation).replace("a `name` of", "a `crate_name` of"),
        also=tuple(map(_place, problem.also)),
    )


def _place(where: str) -> str:
    head = re.split(r"[.\[]", where, maxsplit=1)[0]
    if head == "wasm_binaries":
        return _modules_named(where)
    if head in _PLACES:
        return _PLACES[head] + where[len(head) :]
    return f"{_SETTINGS}.{where}" if head in PackagingSettings.model_fields else where


def _modules_named(text: str) -> str:
    return _MODULE_PLACE.sub(lambda found: f"wasm_binaries.binaries{found[1]}{_MODULE_KEYS[found[2]]}", text)
