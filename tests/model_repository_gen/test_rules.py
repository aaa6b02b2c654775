"""The exact messages for each model of `test_against_triton`, without a server.

PORTALIS_UPDATE=1 writes the messages again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from portalis.model_repository_gen.pbtxt import from_text
from portalis.model_repository_gen.repository_check import check_repository
from portalis.model_repository_gen.rules import check_model_config
from portalis.model_repository_gen.rules.model_folder import count_strings
from portalis.model_repository_gen.rules.rule import ConfigProblem, ConfigSeverity
from tests.model_repository_gen import cases

MESSAGES = Path(__file__).with_name("messages.json")


def words(problem: ConfigProblem) -> str:
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
    reported = {
        name: [words(problem).replace(f"{folder}/", "") for problem in each] for name, each in sorted(judged.items())
    }
    if os.environ.get("PORTALIS_UPDATE"):
        MESSAGES.write_text(json.dumps(reported, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return reported


def test_the_messages_are_as_recorded(found: dict[str, list[str]]) -> None:
    assert found == json.loads(MESSAGES.read_text(encoding="utf-8"))


def test_good_models_have_no_problems_and_ignored_settings_are_warnings(found: dict[str, list[str]]) -> None:
    assert [name for name in cases.GOOD if found[name]] == []
    assert all(word.startswith(ConfigSeverity.WARNING.value) for name in cases.WARNED for word in found[name])


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 0),
        (b"\1\0\0\0a", 1),
        (b"\2\0\0\0ab\0\0\0\0\1\0\0\0c", 3),
        (b"\0\0\0\0", 1),
        (b"\0\1\0\0" + b"x" * 256, 1),
        (b"\2\0\0\0a", None),
        (b"\1\0\0\0ab", None),
        (b"\1\0\0", None),
    ],
)
def test_strings_in_a_file_are_counted_by_their_lengths(tmp_path: Path, data: bytes, count: int | None) -> None:
    (tmp_path / "file").write_bytes(data)
    assert count_strings(tmp_path / "file") == count


@pytest.mark.parametrize(
    ("config", "name", "files", "inferred"),
    [
        ("", "m", ["1/model.onnx"], True),
        ("", "m", ["2/model.onnx", "1/other"], False),  # Triton only looks into the first version
        ("", "m", ["1/other"], False),
        ("", "m", [], False),
        ("", "m.wasm", ["1/model.wasm"], True),
        ('default_model_filename: "model.pt"', "m", [], True),
        ('default_model_filename: "mine"', "m.wasm", ["1/model.onnx"], False),
        ('platform: "unknown"', "m", ["1/model.onnx"], False),
    ],
)
def test_a_backend_is_inferred_from_the_name_of_a_file_or_the_directory(
    tmp_path: Path, config: str, name: str, files: list[str], inferred: bool
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for file in files:
        (folder / file).parent.mkdir()
        (folder / file).touch()
    reported = [problem.where for problem in check_model_config(from_text(config), folder, auto_complete=True)]
    assert ("backend" not in reported) is inferred
    assert "backend" in [problem.where for problem in check_model_config(from_text(""), auto_complete=True)]
