"""The files that a target can generate."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.output import OutputTree


def test_files_come_sorted_by_their_folders() -> None:
    tree = OutputTree()
    for path in ("b/1", "a", "b-c", "b/0/x"):
        tree.add(path, b"")
    assert [str(entry.path) for entry in tree] == ["a", "b/0/x", "b/1", "b-c"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", ".", "a\0b"])
def test_a_path_outside_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not inside the output directory"):
        OutputTree().add(path, b"")


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b"), ("a/./b", "a/b")]
)
def test_two_things_cannot_lie_at_one_place(first: str, second: str) -> None:
    tree = OutputTree()
    tree.add(first, b"1")
    with pytest.raises(ValueError, match="added twice"):
        tree.add(second, b"2")


def test_text_ends_with_one_newline() -> None:
    tree = OutputTree()
    tree.text("a", "x")
    tree.text("b", "x\n")
    assert [entry.content for entry in tree] == [b"x\n", b"x\n"]


def test_a_merge_takes_everything_and_refuses_what_is_there() -> None:
    tree, other = OutputTree(), OutputTree()
    other.add("run", b"x", executable=True)
    tree.merge(other)
    assert PurePosixPath("run") in tree
    assert next(iter(tree)).executable
    with pytest.raises(ValueError, match="added twice"):
        tree.merge(other)


@given(st.lists(st.text(alphabet="ab/.", min_size=1, max_size=6), max_size=8))
def test_a_tree_never_holds_a_file_below_a_file(paths: list[str]) -> None:
    tree = OutputTree()
    for path in paths:
        try:
            tree.add(path, b"")
        except ValueError:
            continue
    files = {entry.path for entry in tree}
    assert not any(parent in files for path in files for parent in path.parents)
    assert len(files) == len(tree)
