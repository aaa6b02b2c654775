"""The input contract (requirements 4.1), ``packaging-input.json`` of the upstream agent, and its spec."""

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
# locations in the contract of values that have a different key in the spec
_CONTRACT_KEYS = {
    "test_results": "test_results.results_path",
    "parity_report": "test_results.parity_report_path",
    "benchmarks": "test_results.benchmarks_path",
    "build_metadata": "wasm_binaries.metadata",
    "pipeline_id": "context.pipeline_id",
    "mode": "context.mode",
}
_MODULE_LOC = re.compile(r"\bwasm_binaries(\[\d+\])(\.(?:name|path)\b)?")
_MODULE_KEYS = {".name": ".crate_name", ".path": ".file_path", None: ""}


class WasmBinary(Structure):
    """A module from the build.

    Its size is compared with the file's. Other properties are not used: the manifest has those that inspection finds.
    """

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
    """Paths of the test reports."""

    __test__ = False  # not a test class for pytest

    results_path: Path
    parity_report_path: Path
    benchmarks_path: Path | None = None


class Context(Structure):
    """The position in the pipeline of agents."""

    pipeline_id: NonEmpty
    previous_agent: Literal["TestAgent"] = "TestAgent"
    mode: Mode


class PackagingAgentInput(Structure):
    """The input of the packaging agent."""

    wasm_binaries: WasmBinaries
    test_results: TestResults
    packaging_configuration: PackagingSettings
    context: Context

    @classmethod
    def from_test_output(cls, output: Mapping[str, Any], *, base: Path | None = None) -> PackagingAgentInput:
        """The input from the test agent's output. Additional keys of the output and of the build are ignored.

        Relative paths start at `base` (default: the working directory). Raises InputProblems with all problems.
        """
        data = _known_keys(cls, output)
        for key, model in (("wasm_binaries", WasmBinaries), ("test_results", TestResults), ("context", Context)):
            if key in data:
                data[key] = _known_keys(model, data[key])
        modules, context = data.get("wasm_binaries"), data.get("context", {})
        if isinstance(modules, dict) and isinstance(modules.get("binaries"), (list, tuple)):
            modules["binaries"] = [_known_keys(WasmBinary, each) for each in modules["binaries"]]
        if isinstance(context, dict):
            data["context"] = {**context, "previous_agent": AGENT}
        return _validated(data, base=base or Path.cwd(), source="the test agent's output")[0]

    def to_spec(self) -> PackageSpec:
        """The equivalent spec."""
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
    """The spec from a ``packaging-input.json``. Relative paths start at the file's directory.

    Raises UsageError if the file cannot be read, and InputProblems with all its problems.
    """
    return _validated(read_document(path), base=path.absolute().parent, source=str(path))[1]


def _validated(data: Mapping[str, Any], *, base: Path, source: str) -> tuple[PackagingAgentInput, PackageSpec]:
    salvaged = salvage(PackagingAgentInput, data, _STAND_INS, source=source)
    problems = list(salvaged.problems)
    if salvaged.model is not None:
        contract = make_absolute(salvaged.model, base)
        spec = contract.to_spec()
        problems += independent_problems(
            [*_size_problems(contract), *map(in_contract, invariant_problems(spec, base))], salvaged.removed
        )
        if not problems:
            return contract, spec
    raise InputProblems(problems, source=source, pipeline_id=_run_id(data))


def _run_id(data: Mapping[str, Any]) -> str | None:
    context, settings = data.get("context"), data.get(_SETTINGS)
    own = context.get("pipeline_id") if isinstance(context, Mapping) else None
    return own if isinstance(own, str) and own else run_id(settings)


def _known_keys(model: type[Structure], value: Any) -> Any:
    """A table with only the keys of `model`; any other value is returned as it is."""
    return {key: value[key] for key in model.model_fields if key in value} if isinstance(value, Mapping) else value


def _module(binary: WasmBinary) -> WasmBinaryPath:
    return WasmBinaryPath(
        path=binary.file_path,
        name=binary.crate_name,
        description=binary.description,
        interface=binary.interface,
        triton_config=binary.triton_config,
    )


def _size_problems(contract: PackagingAgentInput) -> Iterator[Problem]:
    """Problems of modules whose size differs from the build's, because they are not the files that were built."""
    for i, binary in enumerate(contract.wasm_binaries.binaries):
        if binary.size_bytes is None or not binary.file_path.is_file():
            continue
        size = binary.file_path.stat().st_size
        if size != binary.size_bytes:
            yield Problem(
                where=f"wasm_binaries.binaries[{i}].size_bytes",
                message=f"expected {binary.size_bytes} bytes (from the build), but {binary.file_path} has {size}",
                remediation="Pass the file that was built.",
            )


def in_contract(problem: Problem) -> Problem:
    """`problem` of the spec, with the keys of the contract."""
    return replace(
        problem,
        where=_contract_loc(problem.where),
        message=_modules_named(problem.message),
        remediation=_modules_named(problem.remediation).replace("a unique `name`", "a unique `crate_name`"),
        also=tuple(map(_contract_loc, problem.also)),
    )


def _contract_loc(where: str) -> str:
    head = re.split(r"[.\[]", where, maxsplit=1)[0]
    if head == "wasm_binaries":
        return _modules_named(where)
    if head in _CONTRACT_KEYS:
        return _CONTRACT_KEYS[head] + where[len(head) :]
    return f"{_SETTINGS}.{where}" if head in PackagingSettings.model_fields else where


def _modules_named(text: str) -> str:
    return _MODULE_LOC.sub(lambda found: f"wasm_binaries.binaries{found[1]}{_MODULE_KEYS[found[2]]}", text)
