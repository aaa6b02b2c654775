"""The Rust source in an archive: a bounded walk of the workspace that yields the same files in the same order on every
machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ...bounded import Bounds
from ...spec import PackageSpec
from ...spec.build import BuildManifest
from ..archive_errors import archive_error
from .archive_paths import fold_path, path_problem
from .members import Member, file_member
from .secrets import is_secret_folder, secret_kind

MAX_FILES = 20_000
MAX_DEPTH = 64
MAX_BYTES = 2 << 30
_BUILD_REPORT = Bounds(max_bytes=64 << 20, max_values=0)
VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr", ".jj"})
"""Names of version control directories; in a worktree, `.git` is a file."""
_TOOL_OUTPUT = frozenset(
    {"node_modules", ".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".terraform"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OmittedFile:
    """A file or directory that was omitted, with a message that begins with its path."""

    message: str
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class Exclusion:
    """The user's patterns for files to exclude, with the syntax of a ``.gitignore``; the last match decides.

    ``*.bak`` matches a name in any directory, ``docs/*.md`` a path from the top, ``**`` any number of directories,
    ``drafts/`` a directory with its contents; ``!`` before a pattern keeps what it matches.
    """

    patterns: tuple[str, ...] = ()

    def excludes(self, parts: Sequence[str], *, is_folder: bool) -> bool | None:
        """Whether the path with these `parts` is excluded (True) or kept (False); None if no pattern matches."""
        for pattern in reversed(self.patterns):
            keep, bare = pattern.startswith("!"), pattern.removeprefix("!")
            if bare.endswith("/") and not is_folder:
                continue
            pattern_parts = bare.strip("/").split("/")
            if len(pattern_parts) == 1 and not bare.startswith("/"):
                pattern_parts = ["**", *pattern_parts]
            if _matches(parts, pattern_parts):
                return not keep
        return None


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[i:], pattern[1:]) for i in range(len(parts) + 1)) if pattern[1:] else bool(parts)
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def workspace_root(spec: PackageSpec) -> Path | None:
    """Return the directory of the Rust source, or None if the build report does not name one. Raises StageError for an
    invalid build report."""
    build = spec.build_metadata
    if isinstance(build, Path):
        try:
            report = BuildManifest.model_validate_json(_BUILD_REPORT.read(build))
        except (OSError, ValueError) as error:
            raise archive_error(
                f"the build report {build} cannot be read, so the Rust source is unknown: {error}",
                remediation=f"Fix {build} (build_metadata), or set distribution_config.include_source_rust to false.",
            ) from None
        return None if report.workspace_root is None else build.parent / report.workspace_root
    return None if build is None else build.workspace_root


def rust_source(root: Path, folder: str, exclude: Sequence[str] = ()) -> tuple[list[Member], list[OmittedFile]]:
    """Return the files below `root` as members in `folder`, and the omitted files that the user must know of.

    Omitted without a report: version control, the output of cargo and other tools, and files that the patterns
    `exclude` match (`Exclusion`); a pattern with ``!`` also keeps a secret. Raises OSError, and StageError for a
    directory that is too large to be a workspace (`MAX_FILES`, `MAX_BYTES`, `MAX_DEPTH`).
    """
    source_filter = _SourceFilter(root.resolve(), Exclusion(tuple(exclude)))
    members: list[Member] = []
    names: set[str] = set()
    size = 0
    for path in _walk(root, root, source_filter):
        relative = path.relative_to(root)
        if problem := source_filter.file_problem(path) or _name_problem(relative, names):
            source_filter.omitted.append(OmittedFile(message=f"{str(relative)!a} {problem}"))
            continue
        if source_filter.omits_secret(relative, path):
            continue
        names.add(fold_path(relative.as_posix()))
        size += path.stat().st_size
        if len(members) >= MAX_FILES or size > MAX_BYTES:
            raise _too_large(root, f"more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB")
        members.append(file_member(PurePosixPath(folder, relative), path, "rust_source"))
    return members, source_filter.omitted


class _SourceFilter:
    """Decides which files of a workspace are shipped, and records those that are `omitted` with a report."""

    def __init__(self, real_root: Path, exclusion: Exclusion) -> None:
        self._root = real_root
        self._exclusion = exclusion
        self.omitted: list[OmittedFile] = []

    def descends(self, relative: Path, path: Path, siblings: set[str]) -> bool:
        """Whether the walk enters a directory."""
        excluded = self._exclusion.excludes(relative.parts, is_folder=True)
        if excluded is None and is_secret_folder(relative.parts):
            message = f"the directory {str(relative)!a} contains credentials"
            self.omitted.append(OmittedFile(message=message, is_secret=True))
            return False
        return excluded is False or not (
            excluded or relative.name in VERSION_CONTROL or _is_tool_output(path, siblings)
        )

    def ships(self, relative: Path) -> bool:
        """Whether the name of a file and the patterns allow shipping it."""
        excluded = self._exclusion.excludes(relative.parts, is_folder=False)
        return excluded is False or not (excluded or relative.name in VERSION_CONTROL)

    def omits_secret(self, relative: Path, path: Path) -> bool:
        """Whether a file contains a secret, or is a link to one, and no pattern keeps it."""
        kind = self._secret_kind(relative, path)
        if kind is not None:
            self.omitted.append(OmittedFile(message=f"{str(relative)!a} contains {kind}", is_secret=True))
        return kind is not None

    def _secret_kind(self, relative: Path, path: Path) -> str | None:
        if self._exclusion.excludes(relative.parts, is_folder=False) is False:
            return None
        target = Path(os.path.realpath(path)).relative_to(self._root) if path.is_symlink() else relative
        return secret_kind(target.parts, path) or (secret_kind(relative.parts, path) if target != relative else None)

    def file_problem(self, path: Path) -> str | None:
        """Return the reason why the file type at `path`, or the target of the link, is not allowed, or None."""
        if path.is_symlink():
            target = Path(os.path.realpath(path))  # some versions of Path.resolve raise for a link to itself
            if not target.is_relative_to(self._root):
                return "is a symbolic link that points outside the workspace"
            if not target.is_file():
                return "is a symbolic link whose target is not a file"
            if self._is_omitted(target.relative_to(self._root)):
                return "is a symbolic link to a file that is omitted"
        elif not stat.S_ISREG(path.lstat().st_mode):
            return "is not a regular file"
        return None

    def _is_omitted(self, relative: Path) -> bool:
        """Whether a file, or a directory that contains it, is not shipped."""
        for folder in list(relative.parents)[:-1]:
            excluded = self._exclusion.excludes(folder.parts, is_folder=True)
            if excluded or (excluded is None and (folder.name in VERSION_CONTROL or is_secret_folder(folder.parts))):
                return True
        return not self.ships(relative)


def _walk(folder: Path, root: Path, source_filter: _SourceFilter) -> Iterator[Path]:
    """Yield the files below `folder` that are not excluded, sorted by name."""
    if len(folder.relative_to(root).parts) > MAX_DEPTH:
        raise _too_large(folder, f"directories nested more than {MAX_DEPTH} levels deep")
    with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: os.fsencode(entry.name))
    names = {entry.name for entry in entries}
    for entry in entries:
        path = Path(entry.path)
        relative = path.relative_to(root)
        if not entry.is_dir(follow_symlinks=False):
            if source_filter.ships(relative):
                yield path
        elif source_filter.descends(relative, path, names):
            yield from _walk(path, root, source_filter)


def _is_tool_output(path: Path, siblings: set[str]) -> bool:
    """Whether a tool created the directory. A Rust module can also be named `target`, but has no Cargo.toml next to
    it."""
    if path.name == "target":
        return "Cargo.toml" in siblings or (path / "CACHEDIR.TAG").is_file()
    return path.name in _TOOL_OUTPUT or (path / "pyvenv.cfg").is_file()


def _name_problem(relative: Path, names: set[str]) -> str | None:
    """Return the reason why the file cannot be unpacked everywhere, or None. The reason is its own path, or a clash
    with one of the folded `names`."""
    try:
        os.fspath(relative).encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if fold_path(relative.as_posix()) in names:
        return "has the same name as another file if case is ignored"
    return path_problem(relative.as_posix())


def _too_large(folder: Path, what: str) -> Exception:
    return archive_error(
        f"{folder} is too large to be packed as Rust source: it has {what}",
        remediation="Set build_metadata.workspace_root to a directory that contains only the Rust source, or set"
        " distribution_config.include_source_rust to false.",
    )
