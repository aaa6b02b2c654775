"""What is told of each model that Triton judges in `test_against_triton`, word for word, without a server.

With PORTALIS_UPDATE=1 the words are written down anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from portalis.model_repository_gen.problem import Problem, Severity
from portalis.model_repository_gen.repository_check import check_repository
from tests.model_repository_gen import cases

TOLD = Path(__file__).with_name("told.json")


def words(problem: Problem) -> str:
    return f"{problem.severity.value}: {problem}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, case in cases.ALL.items():
        cases.write(folder, name, case)
    return folder


@pytest.fixture
def found(folder: Path) -> dict[str, list[str]]:
    judged = check_repository(folder, auto_complete=False, backends=("python", "wasm"))
    told = {
        name: [words(problem).replace(f"{folder}/", "") for problem in problems]
        for name, problems in sorted(judged.items())
    }
    if os.environ.get("PORTALIS_UPDATE"):
        TOLD.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return told


def test_the_words_are_these(found: dict[str, list[str]]) -> None:
    assert found == json.loads(TOLD.read_text(encoding="utf-8"))


def test_good_models_have_no_problem_and_what_is_passed_over_is_a_warning(found: dict[str, list[str]]) -> None:
    assert [name for name in cases.GOOD if found[name]] == []
    assert all(word.startswith(Severity.WARNING.value) for name in cases.WARNED for word in found[name])
