"""Paths that are allowed in an archive: packing and verifying apply the same rules."""

from __future__ import annotations

import pytest

from portalis.dist.archive.archive_paths import fold_path, path_problem
from portalis.dist.archive.members import Members, bytes_member
from portalis.errors import PortalisError

HOSTILE = (
    "/etc/passwd",
    "../up",
    "a/../../up",
    "a/..",
    "a//b",
    "./a",
    "",
    "a/",
    "..\\up",
    "a\\b",
    "C:/windows",
    "a/c:b",
    "a\nb",
    "a\0b",
    "a\x1b[2Jb",
    "a\udc80b",
    "x" * 5000,
)


@pytest.mark.parametrize("path", HOSTILE)
def test_an_unsafe_path_is_rejected(path: str) -> None:
    assert path_problem(path) is not None


@pytest.mark.parametrize(
    "path", ["a", "..a/b..", "a/...", "docs/$(x) `y` 'z'.md", "資料/😀", ".hidden", "a b/-rf", "ab:c"]
)
def test_an_unusual_path_is_accepted(path: str) -> None:
    assert path_problem(path) is None


@pytest.mark.parametrize(
    "path", [path for path in HOSTILE if "//" not in path and not path.startswith("./") and path[-1:] not in ("", "/")]
)
def test_a_path_that_verify_rejects_is_not_packed(path: str) -> None:
    with pytest.raises(PortalisError, match="cannot be in an archive"):
        Members([bytes_member(path, b"", "test")])


@pytest.mark.parametrize(("one", "other"), [("README", "readme"), ("stra\u00dfe", "STRASSE"), ("\u00e9", "e\u0301")])
def test_names_that_differ_only_in_case_are_rejected(one: str, other: str) -> None:
    assert fold_path(one) == fold_path(other)
    with pytest.raises(PortalisError, match="are the same file on a file system that ignores case"):
        Members([bytes_member(one, b"", "test"), bytes_member(other, b"", "test")])
