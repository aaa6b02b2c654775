"""What the agent before hands over (requirements 4.1): ``packaging-input.json``, and the spec that it comes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ..problems import InputProblems, Problem
from ..spec import PackageSpec, WasmBinaryPath
from ..spec.base import NonEmpty, Structure
from ..spec.build import BuildManifest
from ..spec.documents import read_document
from ..spec.explain import Place
from ..spec.package import ModuleInterface, OperationMode, PackagingSettings
from ..spec.paths import absolute
from ..spec.rules import rules
from ..spec.salvage import salvage
from ..spec.triton import TritonConfiguration

AGENT = "TestAgent"
_SETTINGS = "packaging_configuration"
_STAND_INS: dict[Place, str] = {
    (_SETTINGS, "package_name"): "unnamed",
    (_SETTINGS, "package_version"): "0.0.0",
    (_SETTINGS, "output_directory"): "unnamed",
    ("test_results", "results_path"): "unnamed",
    ("test_results", "parity_report_path"): "unnamed",
    ("context", "pipeline_id"): "unnamed",
    ("context", "mode"): "library",
}
# where in the contract lies what the spec calls by another name
_PLACES = {
    "wasm_binaries": "wasm_binaries.binaries",
    "test_results": "test_results.results_path",
    "parity_report": "test_results.parity_report_path",
    "benchmarks": "test_results.benchmarks_path",
    "build_metadata": "wasm_binaries.metadata",
}


class WasmBinary(Structure):
    """A module from the build. What is told of it beside its name and file is what the build believes: the size is
    compared, and the manifest says what inspection finds."""

    crate_name: NonEmpty
    file_path: Path
    size_bytes: int | None = None
    wasi_compliant: bool | None = None
    exports: tuple[str, ...] | None = None
    memory_pages: int | None = None
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
    mode: OperationMode


class PackagingAgentInput(Structure):
    """All that packaging gets."""

    wasm_binaries: WasmBinaries
    test_results: TestResults
    packaging_configuration: PackagingSettings
    context: Context

    @classmethod
    def from_test_output(cls, output: Mapping[str, Any], *, base: Path | None = None) -> PackagingAgentInput:
        """What the test agent handed over, whose output may say more than is read here.

        Relative paths start at `base` (the working directory). Raises InputProblems with everything that is wrong.
        """
        context = output.get("context")
        told = (
            {key: context[key] for key in Context.model_fields if key in context} if isinstance(context, dict) else {}
        )
        data = {key: output[key] for key in cls.model_fields if key in output}
        data["context"] = {**told, "previous_agent": AGENT}
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
    found = salvage(PackagingAgentInput, data, _STAND_INS)
    problems = list(found.problems)
    if found.model is not None:
        given = absolute(found.model, base)
        spec = given.to_spec()
        further = [*_sizes(given), *(_in_contract(problem) for problem in rules(spec))]
        problems += [problem for problem in further if problem.where not in found.left_out]
        if not problems:
            return given, spec
    raise InputProblems(problems, source=source)


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


def _in_contract(problem: Problem) -> Problem:
    """`problem`, found in the spec, with its place in the contract."""
    head = problem.where.split(".")[0].split("[")[0]
    if head in _PLACES:
        where = _PLACES[head] + problem.where[len(head) :].replace("].path", "].file_path")
    elif head in PackagingSettings.model_fields:
        where = f"{_SETTINGS}.{problem.where}"
    else:
        where = problem.where
    return replace(problem, where=where)
