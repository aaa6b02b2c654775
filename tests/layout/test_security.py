"""SECURITY.md promises nothing without a test, and names no test that does not exist."""

from __future__ import annotations

import re

from tests.parts import ROOT

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_every_promise_names_the_test_that_enforces_it() -> None:
    table = TEXT.partition("| promise |")[2].partition("\n\n")[0]
    rows = [line.split("|") for line in table.splitlines()[2:]]
    assert len(rows) > 20
    assert not [row[1] for row in rows if "tests/" not in row[3]]


def test_all_named_tests_exist() -> None:
    names = re.findall(r"`(tests/[\w/.]+\.py)(?:::(test_\w+))?`", TEXT)
    assert names
    missing = []
    for path, test in names:
        file = ROOT / path
        if not file.is_file() or (test and f"def {test}(" not in file.read_text()):
            missing.append(f"{path}::{test}")
    assert not missing


def test_the_readme_links_to_it() -> None:
    assert "](SECURITY.md)" in (ROOT / "README.md").read_text()
