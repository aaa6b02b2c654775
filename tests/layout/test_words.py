"""The word list of `make lint`."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.parts import ROOT


@pytest.fixture(scope="module")
def words() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("words", str(ROOT / ".ci" / "words"))
    spec = importlib.util.spec_from_loader("words", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def is_told(x: int) -> None: ...", "is_told: write"),
        ("def f(boxes: int) -> None: ...", "boxes: write"),
        ("self.trouble = 1", "trouble: write"),
        ('"""What a module is."""', "a docstring begins with"),
        ('x = "this is no interface"', "'is no'"),
        ("x = 1  # made anew", "'anew'"),
        ('"""The result."""', ""),
        ('x = "this is no longer supported"', ""),
        ("def is_reported(untold: int) -> None: ...", ""),
        ('"""The key `told` of the JSON."""', ""),
    ],
)
def test_words_are_found_in_names_docstrings_strings_and_comments(
    words: ModuleType, text: str, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "module.py"
    path.write_text(text)
    lines = list(words.findings(path))
    assert len(lines) == bool(found)
    assert all(found in line for line in lines)


def test_a_document_is_checked_outside_its_code(words: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("A line.\n\n```\nnobody\n```\n\n`told`\nnobody is told\n")
    assert [line.split(": ")[0].rpartition(":")[2] for line in words.findings(path)] == ["8", "8"]
