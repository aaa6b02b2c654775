"""A warning that a stage failed repeats the remedy of what failed; the requirements' own remedies are for one cause each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from portalis.contracts.errors import PackagingError
from portalis.contracts.output import PackagingAgentOutput, PackagingWarning

from .conftest import OPAQUE, Workplace

THREADS = '(module (memory 1 2 shared) (func (export "f") (param f32) (result f32) (local.get 0)))'
FOREIGN = '(module (import "env" "gone" (func)) (func (export "f") (param f32) (result f32) (local.get 0)))'
LARGE = '(module (memory 5000) (func (export "f") (param f32) (result f32) (local.get 0)))'
IMAGES = {"enable_nim_packaging": True}
ARCHIVE = {"enable_distribution_archive": True}
IMAGE_WORD, ARCHIVE_WORD = "Install Docker and retry packaging", "Check disk space and permissions, and retry"


@dataclass(frozen=True)
class Case:
    """A package, and words that the remediations of the failed stage contain or do not contain."""

    wat: str
    spec: dict[str, Any]
    stage: str
    words: tuple[str, ...]
    never: tuple[str, ...] = field(default=(IMAGE_WORD, ARCHIVE_WORD, "triton_config", "annotate", "config.pbtxt"))


CASES = {
    "an image of a module with threads": Case(THREADS, IMAGES, "NIM containers", ("without threads",)),
    "an image of a module with foreign imports": Case(FOREIGN, IMAGES, "NIM containers", ("without these imports",)),
    "an image of a module with a large memory": Case(
        LARGE, IMAGES, "NIM containers", ("smaller initial memory",), ("raise", "Raise", "service.json", IMAGE_WORD)
    ),
    "an image of a module without interface": Case(
        OPAQUE, IMAGES, "NIM containers", ("in the spec", "`portalis annotate`"), (IMAGE_WORD, "config.pbtxt")
    ),
    "an image for a runtime that is not here": Case(
        '(module (memory (export "memory") 1) (func (export "_start")))',
        {**IMAGES, "container_config": {"wasm_runtime": "Wasmer", "wasm_runtime_path": "wrong.j2"}},
        "NIM containers",
        ("wasm_runtime_path",),
    ),
    "a model of a module with threads": Case(
        THREADS, {"enable_triton_integration": True}, "Triton models", ("without threads",)
    ),
    "an archive with a wrong template": Case(
        "",
        {**ARCHIVE, "distribution_config": {"readme_template": "wrong.j2"}},
        "Distribution archives",
        ("distribution_config.readme_template", "Fix the template"),
    ),
}


def diagnostics_of(made: PackagingAgentOutput, stage: str) -> tuple[PackagingWarning, list[PackagingError]]:
    (warning,) = [each for each in made.diagnostics.warnings if each.message.startswith(stage)]
    return warning, [each for each in made.diagnostics.errors if each.remediation.summary in warning.remediation]


@pytest.mark.parametrize("name", CASES)
def test_a_failed_stage_has_the_remedy_of_its_cause(workplace: Workplace, name: str) -> None:
    case = CASES[name]
    (workplace.folder / "wrong.j2").write_text("{{ nothing_is_called_so }}")
    workplace.module("bad", case.wat) if case.wat else workplace.module("bad")
    made = workplace.package(workplace.spec("bad", **case.spec))
    warning, errors = diagnostics_of(made, case.stage)
    assert errors, [each.remediation.summary for each in made.diagnostics.errors]
    assert all(word in warning.remediation for word in case.words), warning.remediation
    assert not [word for word in case.never if word in warning.remediation]


def test_where_no_engine_answers_the_remedy_is_the_requirements(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/engine.sock")
    warning, _ = diagnostics_of(workplace.package(workplace.spec("add", **IMAGES)), "NIM containers")
    assert warning.remediation == IMAGE_WORD
