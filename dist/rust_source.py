"""The Rust source that goes into an archive: a bounded walk that sees the same files in the same order everywhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..bounded import Bounds
from ..spec import PackageSpec
from ..spec.build import BuildManifest
from .failure import failed
from .members import Member, from_file
from .names import folded, path_trouble

MAX_FILES = 20_000
MAX_DEPTH = 64
MAX_BYTES = 2 << 30
_REPORT = Bounds(max_bytes=64 << 20, max_values=0)  # of the build
# version control, and what holds secrets: cargo's tokens and environment files
LEFT_OUT = frozenset({".git", ".hg", ".svn", ".env"})
_CREDENTIALS = frozenset({(".cargo", "credentials"), (".cargo", "credentials.toml")})


def workspace_root(spec: PackageSpec) -> Path | None:
    """The folder of the Rust source, where the build's report names one. Raises StageError for a bad report."""
    build = spec.build_metadata
    if isinstance(build, Path):
        try:
            read = BuildManifest.model_validate_json(_REPORT.read(build))
        except (OSError, ValueError) as error:
            raise failed(
                f"the build's report {build} cannot be read, so that its Rust source is not known: {error}",
                remediation="Mend it, or set distribution_config.include_source_rust to false.",
            ) from None
        return None if read.workspace_root is None else build.parent / read.workspace_root
    return None if build is None else build.workspace_root


def rust_source(root: Path, folder: str) -> tuple[list[Member], list[str]]:
    """The files below `root` as members in `folder`, and sentences on what was left out for being unfit.

    Left out silently: version control, cargo's `target` folders, credentials. Raises OSError; StageError for a
    folder that is too large to be a workspace (`MAX_FILES`, `MAX_BYTES`, `MAX_DEPTH`).
    """
    members: list[Member] = []
    told: list[str] = []
    names: set[str] = set()
    real_root, size = root.resolve(), 0
    for path in _walk(root, 0):
        inside = path.relative_to(root)
        if trouble := _trouble(path, real_root) or _name_trouble(inside, names):
            told.append(f"{str(inside)!a} {trouble}")
            continue
        names.add(folded(inside.as_posix()))
        size += path.stat().st_size
        if len(members) >= MAX_FILES or size > MAX_BYTES:
            raise _too_large(root, f"more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB")
        members.append(from_file(PurePosixPath(folder, inside), path, "rust_source"))
    return members, told


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Everything below `folder` that is not a folder itself, sorted by name."""
    if depth > MAX_DEPTH:
        raise _too_large(folder, f"folders more than {MAX_DEPTH} deep")
    with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: os.fsencode(entry.name))
    names = {entry.name for entry in entries}
    for entry in entries:
        if entry.name in LEFT_OUT or (folder.name, entry.name) in _CREDENTIALS:
            continue
        path = Path(entry.path)
        if not entry.is_dir(follow_symlinks=False):
            yield path
        elif not _is_build_output(path, names):
            yield from _walk(path, depth + 1)


def _is_build_output(path: Path, siblings: set[str]) -> bool:
    """Whether cargo made the folder. A module may also be called `target`: it lies beside no Cargo.toml."""
    return path.name == "target" and ("Cargo.toml" in siblings or (path / "CACHEDIR.TAG").is_file())


def _trouble(path: Path, root: Path) -> str | None:
    """Why what lies at `path` cannot be in an archive."""
    if path.is_symlink():
        goal = Path(os.path.realpath(path))  # Path.resolve raises for a link to itself, in some versions
        if not goal.is_relative_to(root):
            return "is a link that leads outside"
        if not goal.is_file():
            return "is a link to no file"
        if _is_hidden(goal.relative_to(root)):
            return "is a link to what is left out"
    elif not stat.S_ISREG(path.lstat().st_mode):
        return "is no regular file"
    return None


def _name_trouble(inside: Path, names: set[str]) -> str | None:
    """Why the file cannot be unpacked everywhere: by its own name, or beside what has one of `names`, folded."""
    try:
        os.fspath(inside).encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if folded(inside.as_posix()) in names:
        return "has the name of another file where capitals do not count"
    return path_trouble(inside.as_posix())


def _is_hidden(inside: Path) -> bool:
    return bool(LEFT_OUT.intersection(inside.parts)) or inside.parts[-2:] in _CREDENTIALS


def _too_large(folder: Path, what: str) -> Exception:
    return failed(
        f"{folder} is no Rust workspace to put into an archive: it has {what}",
        remediation="Let build_metadata.workspace_root name the folder of the Rust source alone, or set"
        " distribution_config.include_source_rust to false.",
    )
