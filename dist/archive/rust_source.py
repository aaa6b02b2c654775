"""The Rust source that goes into an archive: a bounded walk that sees the same files in the same order everywhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...bounded import Bounds
from ...spec import PackageSpec
from ...spec.build import BuildManifest
from ..archive_errors import failed
from .exclusion import Exclusion
from .members import Member, from_file
from .paths import folded, path_trouble
from .secrets import secret, secret_folder

MAX_FILES = 20_000
MAX_DEPTH = 64
MAX_BYTES = 2 << 30
_REPORT = Bounds(max_bytes=64 << 20, max_values=0)  # of the build
LEFT_OUT = frozenset({".git", ".hg", ".svn", ".bzr", ".jj"})
"""Version control, as folders, and as the file that `.git` is in a worktree."""
_INSTALLED = frozenset(
    {"node_modules", ".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".terraform"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What was left out, as a sentence that begins with its name."""

    sentence: str
    is_secret: bool = False


def workspace_root(spec: PackageSpec) -> Path | None:
    """The folder of the Rust source, where the build's report names one. Raises StageError for a bad report."""
    build = spec.build_metadata
    if isinstance(build, Path):
        try:
            read = BuildManifest.model_validate_json(_REPORT.read(build))
        except (OSError, ValueError) as error:
            raise failed(
                f"the build's report {build} cannot be read, so that its Rust source is not known: {error}",
                remediation=f"Fix {build} (build_metadata), or set distribution_config.include_source_rust to false.",
            ) from None
        return None if read.workspace_root is None else build.parent / read.workspace_root
    return None if build is None else build.workspace_root


def rust_source(root: Path, folder: str, exclude: Sequence[str] = ()) -> tuple[list[Member], list[LeftOut]]:
    """The files below `root` as members in `folder`, and what was left out that a reader should know of.

    Left out silently: version control, what cargo and other tools build or install, and what the patterns `exclude`
    fit (`Exclusion`); a pattern with ``!`` also keeps a secret. Raises OSError; StageError for a folder that is too
    large to be a workspace (`MAX_FILES`, `MAX_BYTES`, `MAX_DEPTH`).
    """
    rules = _Rules(root.resolve(), Exclusion(tuple(exclude)))
    members: list[Member] = []
    names: set[str] = set()
    size = 0
    for path in _walk(root, root, rules):
        inside = path.relative_to(root)
        if trouble := rules.trouble(path) or _name_trouble(inside, names):
            rules.left_out.append(LeftOut(sentence=f"{str(inside)!a} {trouble}"))
            continue
        if rules.is_secret(inside, path):
            continue
        names.add(folded(inside.as_posix()))
        size += path.stat().st_size
        if len(members) >= MAX_FILES or size > MAX_BYTES:
            raise _too_large(root, f"more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB")
        members.append(from_file(PurePosixPath(folder, inside), path, "rust_source"))
    return members, rules.left_out


class _Rules:
    """What of a workspace is left out, and what was."""

    def __init__(self, real_root: Path, exclusion: Exclusion) -> None:
        self._root = real_root
        self._exclusion = exclusion
        self.left_out: list[LeftOut] = []

    def descends(self, inside: Path, path: Path, siblings: set[str]) -> bool:
        """Whether a folder is looked into."""
        verdict = self._exclusion.leaves_out(inside.parts, is_folder=True)
        if verdict is None and secret_folder(inside.parts):
            self.left_out.append(LeftOut(sentence=f"the folder {str(inside)!a} has credentials", is_secret=True))
            return False
        return verdict is False or not (verdict or inside.name in LEFT_OUT or _is_build_output(path, siblings))

    def ships(self, inside: Path) -> bool:
        """Whether a file may be shipped, as far as its name and the patterns say."""
        verdict = self._exclusion.leaves_out(inside.parts, is_folder=False)
        return verdict is False or not (verdict or inside.name in LEFT_OUT)

    def is_secret(self, inside: Path, path: Path) -> bool:
        """Whether a file holds a secret, or is a link to one, and no pattern keeps it."""
        found = self._secret(inside, path)
        if found is not None:
            self.left_out.append(LeftOut(sentence=f"{str(inside)!a} holds {found}", is_secret=True))
        return found is not None

    def _secret(self, inside: Path, path: Path) -> str | None:
        if self._exclusion.leaves_out(inside.parts, is_folder=False) is False:
            return None
        goal = Path(os.path.realpath(path)).relative_to(self._root) if path.is_symlink() else inside
        return secret(goal.parts, path) or (secret(inside.parts, path) if goal != inside else None)

    def trouble(self, path: Path) -> str | None:
        """Why what lies at `path` cannot be in an archive."""
        if path.is_symlink():
            goal = Path(os.path.realpath(path))  # Path.resolve raises for a link to itself, in some versions
            if not goal.is_relative_to(self._root):
                return "is a link that leads outside"
            if not goal.is_file():
                return "is a link to no file"
            if self._is_hidden(goal.relative_to(self._root)):
                return "is a link to what is left out"
        elif not stat.S_ISREG(path.lstat().st_mode):
            return "is no regular file"
        return None

    def _is_hidden(self, inside: Path) -> bool:
        """Whether a file is not shipped, or lies in a folder that is not."""
        for folder in list(inside.parents)[:-1]:
            verdict = self._exclusion.leaves_out(folder.parts, is_folder=True)
            if verdict or (verdict is None and (folder.name in LEFT_OUT or secret_folder(folder.parts))):
                return True
        return not self.ships(inside)


def _walk(folder: Path, root: Path, rules: _Rules) -> Iterator[Path]:
    """Everything below `folder` that is not a folder itself and not left out, sorted by name."""
    if len(folder.relative_to(root).parts) > MAX_DEPTH:
        raise _too_large(folder, f"folders more than {MAX_DEPTH} deep")
    with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: os.fsencode(entry.name))
    names = {entry.name for entry in entries}
    for entry in entries:
        path = Path(entry.path)
        inside = path.relative_to(root)
        if not entry.is_dir(follow_symlinks=False):
            if rules.ships(inside):
                yield path
        elif rules.descends(inside, path, names):
            yield from _walk(path, root, rules)


def _is_build_output(path: Path, siblings: set[str]) -> bool:
    """Whether a tool made the folder. A module may also be called `target`: it lies beside no Cargo.toml."""
    if path.name == "target":
        return "Cargo.toml" in siblings or (path / "CACHEDIR.TAG").is_file()
    return path.name in _INSTALLED or (path / "pyvenv.cfg").is_file()


def _name_trouble(inside: Path, names: set[str]) -> str | None:
    """Why the file cannot be unpacked everywhere: by its own name, or beside what has one of `names`, folded."""
    try:
        os.fspath(inside).encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if folded(inside.as_posix()) in names:
        return "has the name of another file where capitals do not count"
    return path_trouble(inside.as_posix())


def _too_large(folder: Path, what: str) -> Exception:
    return failed(
        f"{folder} is no Rust workspace to put into an archive: it has {what}",
        remediation="Let build_metadata.workspace_root name the folder of the Rust source alone, or set"
        " distribution_config.include_source_rust to false.",
    )
