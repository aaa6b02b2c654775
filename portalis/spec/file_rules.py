"""Rules for the files and directories of a spec: inputs must be readable, and the output must be replaceable."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ..problems import Problem
from .loc import loc_text
from .package_spec import PackageSpec
from .paths import iter_paths

_OUTPUT = "output_directory"
_FOLDERS = ("wheelhouse", "workspace_root")


def input_rules(spec: PackageSpec) -> Iterator[Problem]:
    """Problems of inputs that are missing or cannot be read."""
    for loc, path in iter_paths(spec):
        if loc == (_OUTPUT,):
            continue
        error = _directory_error(path) if loc[-1] in _FOLDERS else _file_error(path)
        if error:
            yield Problem(where=loc_text(loc), message=f"{path} {error}")


def _file_error(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return _os_error_text(error)
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"))
        kind = next((name for is_kind, name in kinds if is_kind(mode)), "a device")
        return f"is {kind}, not a regular file"
    return "" if os.access(path, os.R_OK) else "cannot be read: permission denied"


def _directory_error(path: Path) -> str:
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        return _os_error_text(error)
    if not is_folder:
        return "is not a directory"
    return "" if os.access(path, os.R_OK | os.X_OK) else "cannot be read: permission denied"


def _os_error_text(error: OSError) -> str:
    return "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror or error}"


def output_rules(spec: PackageSpec, folder: Path) -> Iterator[Problem]:
    """Problems of an output directory whose replacement fails or loses files; `folder` is the spec file's directory."""
    output, real = spec.output_directory, _real(spec.output_directory)
    if (error := _output_error(real)) is not None:
        yield Problem(where=_OUTPUT, message=f"{output} {error}", remediation="Name a writable directory.")
        return
    if real in (_real(Path("~").expanduser()), Path.cwd(), real.parent):
        yield Problem(
            where=_OUTPUT,
            message=f"{output} would be replaced entirely by every run",
            remediation="Name a directory without other files, such as build/package.",
        )
        return
    if _real(folder).is_relative_to(real):
        yield Problem(
            where=_OUTPUT,
            message=f"{output} would be replaced together with the spec in it",
            remediation="Name a directory without other files, such as package.",
        )
        return
    yield from _overlap_problems(spec, real)


def _output_error(real: Path) -> str | None:
    try:
        if real.exists() and not real.is_dir():
            return "is not a directory"
        above = next((each for each in real.parents if each.exists()), real)
    except OSError as error:
        return f"cannot be written: {error.strerror or error}"
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        return f"cannot be written: {above} is {'not writable' if above.is_dir() else 'not a directory'}"
    return None


def _overlap_problems(spec: PackageSpec, real: Path) -> Iterator[Problem]:
    output = spec.output_directory
    for loc, path in iter_paths(spec):
        source, at = _real(path), loc_text(loc)
        if loc == (_OUTPUT,):
            continue
        if source.is_relative_to(real):
            yield Problem(
                where=_OUTPUT,
                message=f"{output} would be replaced together with the input {path} ({at})",
                remediation="Keep inputs outside the output directory.",
                also=(at,),
            )
        elif loc[-1] in _FOLDERS and real.is_relative_to(source):
            yield Problem(
                where=_OUTPUT,
                message=f"{output} is inside the input directory {path} ({at})",
                remediation="Name a directory outside it.",
                also=(at,),
            )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # `Path.resolve` raises RuntimeError for cyclic links
