"""A requested artifact that is missing is never a success: every way to request one, with the missing part."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from portalis import tritonserver
from portalis.cli.shared_options import EXIT_CODES
from portalis.contracts.errors import PackagingStage
from portalis.contracts.output import PackagingAgentOutput, Status, ValidationResult
from portalis.errors import MissingPart, UsageError
from portalis.model_repository_gen import model_checks
from portalis.omniverse import kit
from portalis.output import REPORT
from portalis.proto import documentation_target as docs

from .conftest import Workplace

NIM, TRITON, OMNIVERSE, DOCS, DEPLOYMENT, ARCHIVE = (
    PackagingStage.NimGeneration,
    PackagingStage.TritonConfiguration,
    PackagingStage.OmniversePackaging,
    PackagingStage.DocumentationGeneration,
    PackagingStage.DeploymentGeneration,
    PackagingStage.ArchiveCreation,
)
COMMAND = '(module (memory (export "memory") 1) (func (export "_start")))'
BF16 = {
    "entry": "f",
    "convention": "gufunc",
    "signature": "(n)->(n)",
    "inputs": [{"name": "x", "dtype": "BF16", "dims": [-1]}],
    "outputs": [{"name": "y", "dtype": "BF16", "dims": [-1]}],
}
GUFUNC = '(module (memory (export "memory") 1) (func (export "f") (param i32 i32 i32)))'
Change = Callable[[Workplace, pytest.MonkeyPatch], None]


def no_kit(place: Workplace, patch: pytest.MonkeyPatch) -> None:
    patch.setenv(kit.PYTHON, "/nowhere/python")


def no_triton(place: Workplace, patch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        raise MissingPart("there is no tritonserver", remediation="Install portalis[triton].")

    patch.setattr(tritonserver, "TritonServer", start)


def every_model_is_mute(place: Workplace, patch: pytest.MonkeyPatch) -> None:
    def tried(repository: Path, models: list[str], say: Any) -> list[ValidationResult]:
        return [ValidationResult(name=name, check="live", valid=False, report="it is mute") for name in models]

    patch.setattr(model_checks, "validate_on_triton", tried)


def no_engine(place: Workplace, patch: pytest.MonkeyPatch) -> None:
    for variable in ("DOCKER_HOST", "CONTAINER_HOST"):
        patch.setenv(variable, f"unix://{place.folder}/nothing.sock")


def no_protoc(place: Workplace, patch: pytest.MonkeyPatch) -> None:
    def missing(files: object, name: str) -> bytes:
        raise MissingPart("grpcio-tools is not here", remediation="Install portalis[proto].")

    patch.setattr(docs, "descriptor_set", missing)


def nothing_on_path(place: Workplace, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PATH", str(place.folder))


@dataclass(frozen=True)
class Case:
    """A spec, options, and what the run comes to. `message` is part of an error, `remedy` of what is to be done about it,
    `warned` of a warning."""

    modules: tuple[str, ...]
    spec: dict[str, Any]
    status: Status
    stage: PackagingStage | None
    message: str = ""
    remedy: str = ""
    warned: str = ""
    outcome: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    without: Change = lambda place, patch: None


DONE, PARTIAL, FAILURE = Status.Success, Status.PartialSuccess, Status.Failure
OFF = {"enable_triton_integration": False}
ONLY_NIM = {**OFF, "enable_nim_packaging": True}
ONLY_KIT = {**OFF, "enable_omniverse_packaging": True, "omniverse_config": {"prebundle": False}}
DOCUMENTED = {"generate_api_docs": True}
ALSO_AN_ARCHIVE = {"enable_distribution_archive": True}


def runtime(name: str) -> dict[str, Any]:
    return {**ONLY_NIM, "container_config": {"wasm_runtime": name}}


CASES = {
    # -- images
    "a runtime that is not installed, and no other target": Case(
        ("command",), runtime("Wasmer"), FAILURE, NIM, "Wasmer", "wasm_runtime_path", "NIM containers not generated",
        outcome="skipped", without=nothing_on_path,
    ),
    "a runtime that is not installed, and an archive": Case(
        ("command",), runtime("WasmEdge") | ALSO_AN_ARCHIVE, PARTIAL, NIM, "WasmEdge", "wasm_runtime_path",
        "NIM containers not generated", outcome="skipped", without=nothing_on_path,
    ),
    "images without an engine, and documents of them": Case(
        ("add",), ONLY_NIM | DOCUMENTED, FAILURE, NIM, "cannot connect to a Docker engine", outcome="failed",
        warned="NIM containers not generated", without=no_engine,
    ),
    "images without an engine, beside models": Case(
        ("add",), {"enable_nim_packaging": True}, PARTIAL, NIM, "cannot connect to a Docker engine", outcome="failed",
        without=no_engine,
    ),
    # -- models
    "a model that Triton refuses, and documents": Case(
        ("opaque",), DOCUMENTED, FAILURE, TRITON, "may take pointers", outcome="failed",
        warned="Triton models not configured",
    ),
    "models that all fail on a real server": Case(
        ("add",), {}, FAILURE, TRITON, "it is mute", outcome="failed", warned="Triton models not configured",
        options={"live": True}, without=every_model_is_mute,
    ),
    "models that all fail on a real server, beside an archive": Case(
        ("add",), ALSO_AN_ARCHIVE, PARTIAL, TRITON, "it is mute", outcome="failed", options={"live": True},
        without=every_model_is_mute,
    ),
    "models that are to be tried, and no server": Case(
        ("add",), {}, PARTIAL, TRITON, "there is no tritonserver", "portalis doctor", "not validated", "produced",
        {"live": True}, no_triton,
    ),
    # -- extensions
    "an extension that is to be tried, and no Kit": Case(
        ("add",), ONLY_KIT, PARTIAL, OMNIVERSE, kit.PYTHON, "portalis doctor", "not validated", "produced",
        {"live": True}, no_kit,
    ),
    "nodes, and no module that can be one": Case(
        ("bf16",), {**ONLY_KIT, "omniverse_config": {"prebundle": False, "omnigraph_nodes": True}}, PARTIAL, OMNIVERSE,
        "no module can be an OmniGraph node", "omnigraph_nodes", "cannot be an OmniGraph node", "produced",
    ),
    "nodes, and one module that can be none": Case(
        ("add", "bf16"), {**ONLY_KIT, "omniverse_config": {"prebundle": False, "omnigraph_nodes": True}}, DONE, None,
        warned="cannot be an OmniGraph node",
    ),
    "libraries in the extension, and no wheels of them": Case(
        ("add",), {**ONLY_KIT, "omniverse_config": {"prebundle": True, "wheelhouse": "wheels"}}, PARTIAL, OMNIVERSE,
        "does not bundle NumPy and Wasmtime", warned="does not bundle NumPy and Wasmtime", outcome="produced",
    ),
    "libraries that are not requested, and no wheels of them": Case(
        ("add",), {**ONLY_KIT, "omniverse_config": {"wheelhouse": "wheels"}}, DONE, None,
        warned="does not bundle NumPy and Wasmtime",
    ),
    # -- documents
    "OpenAPI for models alone": Case(
        ("add",), {"api_doc_format": "OpenAPI", **DOCUMENTED}, PARTIAL, DOCS, "no OpenAPI document", "api_doc_format",
        "no OpenAPI document", "produced",
    ),
    "gRPC for images alone": Case(
        ("add",), {**ONLY_NIM, "api_doc_format": "GRPC", **DOCUMENTED, **ALSO_AN_ARCHIVE}, PARTIAL, DOCS,
        "no gRPC document", "api_doc_format", "API documentation not generated", "failed", without=no_engine,
    ),
    "both formats for models alone, of which one is made": Case(
        ("add",), {"api_doc_format": "Both", **DOCUMENTED}, DONE, None, warned="no OpenAPI document",
    ),
    "the formats that a package has": Case(("add",), DOCUMENTED, DONE, None),
    "descriptors without protoc": Case(
        ("add",), DOCUMENTED, PARTIAL, DOCS, "grpcio-tools", "portalis[proto]", outcome="produced", without=no_protoc,
    ),
    "documents of what another option leaves out": Case(
        ("add",), DOCUMENTED, FAILURE, DOCS, "--only docs", outcome="skipped", options={"only": ["docs"]},
    ),
    "manifests of what another option leaves out": Case(
        ("add",), ALSO_AN_ARCHIVE, PARTIAL, DEPLOYMENT, "--only deployment", outcome="skipped",
        options={"only": ["deployment", "archive"]},
    ),
    "documents and manifests alone, of nothing": Case(
        ("add",), DOCUMENTED, FAILURE, PackagingStage.InputValidation, "nothing was generated (", outcome="",
        options={"skip": ["triton"]},
    ),
    # -- what the spec turns off, and what no target is asked for
    "a target that the command line names and the spec turns off": Case(
        ("add",), {}, PARTIAL, ARCHIVE, "enable_distribution_archive is false", "enable_distribution_archive",
        "Distribution archives not created", "skipped", {"only": ["triton", "archive"]},
    ),
    "an archive of a module that nothing can serve": Case(
        ("opaque",), OFF | ALSO_AN_ARCHIVE, PARTIAL, PackagingStage.InputValidation, "opaque is in no target",
        "portalis annotate",
    ),
    "an archive of a module that could be served": Case(("add",), OFF | ALSO_AN_ARCHIVE, DONE, None),
    "an archive of a module that a listed extension leaves out": Case(
        ("add", "opaque"),
        {**ONLY_KIT, **ALSO_AN_ARCHIVE, "omniverse_config": {
            "prebundle": False, "wasm_modules": [{"module_name": "add", "file_path": "add.wasm", "entry_point": "add"}]
        }},
        PARTIAL, PackagingStage.InputValidation, "opaque is in no target",
    ),
    "an archive with what there is nothing of": Case(
        ("add",), {"enable_distribution_archive": True, "distribution_config": {"include_benchmarks": True}}, DONE,
        None, warned="distribution_config.include_benchmarks is true but adds no file to the archive",
    ),
    "an archive with the documents of a package that has none": Case(
        ("add",), {**OFF, **ALSO_AN_ARCHIVE, "distribution_config": {"include_documentation": True}}, DONE,
        None, warned="distribution_config.include_documentation is true but adds no file to the archive",
    ),
    "a trial on servers, and nothing that is served": Case(
        ("add",), OFF | ALSO_AN_ARCHIVE, PARTIAL, PackagingStage.InputValidation, "nothing was validated on a real server",
        "--validate live", options={"live": True},
    ),
}  # fmt: skip


def spec_of(case: Case) -> dict[str, Any]:
    interfaces = {"bf16": BF16}
    return case.spec | {
        "wasm_binaries": [{"path": f"{name}.wasm", "interface": interfaces.get(name, {})} for name in case.modules]
    }


@pytest.fixture
def place(workplace: Workplace) -> Workplace:
    workplace.module("command", COMMAND)
    workplace.module("bf16", GUFUNC)
    (workplace.folder / "wheels").mkdir()
    return workplace


@pytest.mark.parametrize("name", CASES)
def test_the_status_follows_from_what_was_asked_for(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = CASES[name]
    case.without(place, monkeypatch)
    made = place.package(place.spec(**spec_of(case)), **case.options)
    assert made.status is case.status, [each.message for each in made.diagnostics.errors]
    assert EXIT_CODES[made.status.value] == {DONE: 0, PARTIAL: 3, FAILURE: 1}[case.status]
    errors = [each for each in made.diagnostics.errors if case.message in each.message]
    if case.stage is None:
        assert made.diagnostics.errors == ()
    else:
        assert errors, [each.message for each in made.diagnostics.errors]
        assert errors[0].context.stage is case.stage
        assert errors[0].remediation.summary
        assert case.remedy in errors[0].remediation.summary
    assert (
        any(case.warned in each.message and each.remediation for each in made.diagnostics.warnings) or not case.warned
    )
    outcomes = {each.stage: each.outcome for each in made.packaging_metrics.stages}
    assert not case.outcome or (case.stage is not None and outcomes[case.stage] == case.outcome)
    _holds(made, place)


def _holds(made: PackagingAgentOutput, place: Workplace) -> None:
    """The properties of every status in the requirements."""
    if made.status is Status.Failure:
        assert made.diagnostics.errors
        assert made.artifacts.total_artifacts_count() == 0
        assert not place.output.exists()
        return
    assert made.artifacts.total_artifacts_count()
    assert (made.status is Status.Success) == (not made.diagnostics.errors)
    report = json.loads((place.output / REPORT).read_text())
    assert report["status"] == made.status.value
    assert len(report["diagnostics"]["errors"]) == len(made.diagnostics.errors)
    manifest = made.package_metadata.package_manifest
    assert manifest is not None
    assert bool(manifest.notes) == (made.status is Status.PartialSuccess)
    valid = {each.name: each.valid for each in made.diagnostics.validation_results if each.tried}
    untried = {each.name for each in made.diagnostics.validation_results if not each.tried}
    validated = {each.model_name: each.validated for each in made.artifacts.triton_models}
    validated |= {each.extension_name: each.validated for each in made.artifacts.omniverse_packages}
    assert validated == {name: valid[name] and name not in untried for name in validated}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.status is not DONE])
def test_a_run_that_must_stop_ends_at_a_missing_artifact(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = CASES[name]
    case.without(place, monkeypatch)
    made = place.package(place.spec(**spec_of(case), fail_on_partial_errors=True), **case.options)
    assert made.status is Status.Failure
    assert made.diagnostics.errors
    assert not place.output.exists()


def test_no_target_left_says_why_each_that_was_named_does_not_run(place: Workplace) -> None:
    with pytest.raises(UsageError) as caught:
        place.package(place.spec("opaque", **OFF, **ALSO_AN_ARCHIVE), only=["triton"])
    first, *more = caught.value.message.splitlines()
    assert first == "no target is left to run"
    assert any("--only triton" in line and "enable_triton_integration is false" in line for line in more)
    assert any("opaque" in line and "may take pointers" in line for line in more)
    assert "portalis annotate" in caught.value.remediation
    assert "enable_triton_integration" in caught.value.remediation
