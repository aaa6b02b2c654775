"""Extracting the runtime of an earlier commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import before  # noqa: TID251
from tests.parts import Missing


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with two commits; a file in `backend/` identifies the commit."""
    monkeypatch.setattr(before, "ROOT", tmp_path)
    monkeypatch.delenv(before.VARIABLE, raising=False)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.com", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "backend").mkdir()
    for text in ("first", "second"):
        (tmp_path / "backend" / "__init__.py").write_text(f"which = '{text}'\n")
        subprocess.run([*git, "add", "backend"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", text], check=True)
    return tmp_path


def test_the_backend_of_the_selected_commit_is_extracted(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(before.VARIABLE, "HEAD~1")
    before.extract_backend(clone / "earlier")
    assert (clone / "earlier" / "__init__.py").read_text() == "which = 'first'\n"
    assert sorted(path.name for path in clone.iterdir()) == [".git", "backend", "earlier"]


def test_without_the_commit_the_error_names_the_variable_that_selects_a_different_one(clone: Path) -> None:
    with pytest.raises(Missing, match=rf"not run: .* {before.COMMIT} found \(PORTALIS_BENCH_BEFORE selects another\)"):
        before.extract_backend(clone / "earlier")
    assert not (clone / "earlier").exists()


def test_outside_a_clone_the_benchmark_is_reported_as_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(before, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(Missing, match="not run"):
        before.extract_backend(tmp_path / "earlier")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Missing, match="not run"):
        before.extract_backend(tmp_path / "earlier")
