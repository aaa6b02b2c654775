"""What the files and folders that a spec names have to be: inputs that can be read, an output that may be replaced."""

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
    """Each input is there and can be read."""
    for place, path in iter_paths(spec):
        if place == (_OUTPUT,):
            continue
        trouble = _no_folder(path) if place[-1] in _FOLDERS else _no_file(path)
        if trouble:
            yield Problem(where=loc_text(place), message=f"{path} {trouble}")


def _no_file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return _why(error)
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"))
        kind = next((name for is_kind, name in kinds if is_kind(mode)), "a device")
        return f"is {kind}; a regular file is needed"
    return "" if os.access(path, os.R_OK) else "may not be read"


def _no_folder(path: Path) -> str:
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        return _why(error)
    if not is_folder:
        return "is no directory"
    return "" if os.access(path, os.R_OK | os.X_OK) else "may not be read"


def _why(error: OSError) -> str:
    return "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror or error}"


def output_rules(spec: PackageSpec, folder: Path) -> Iterator[Problem]:
    """The output directory can be replaced as a whole, and nothing is lost by it. `folder` is that of the spec file."""
    output, real = spec.output_directory, _real(spec.output_directory)
    if (trouble := _no_output(real)) is not None:
        yield Problem(where=_OUTPUT, message=f"{output} {trouble}", remediation="Name a folder that you may write to.")
        return
    if real in (_real(Path("~").expanduser()), Path.cwd(), real.parent):
        yield Problem(
            where=_OUTPUT,
            message=f"{output} would be replaced as a whole by every run",
            remediation="Name a folder that holds nothing else, such as build/package.",
        )
        return
    if _real(folder).is_relative_to(real):
        yield Problem(
            where=_OUTPUT,
            message=f"{output} would be replaced together with the spec in it",
            remediation="Name a folder that holds nothing else, such as package.",
        )
        return
    yield from _apart_from_inputs(spec, real)


def _no_output(real: Path) -> str | None:
    try:
        if real.exists() and not real.is_dir():
            return "is not a directory"
        above = next((each for each in real.parents if each.exists()), real)
    except OSError as error:
        return f"cannot be written: {error.strerror or error}"
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        return f"cannot be written: {above} is {'not writable' if above.is_dir() else 'not a directory'}"
    return None


def _apart_from_inputs(spec: PackageSpec, real: Path) -> Iterator[Problem]:
    output = spec.output_directory
    for place, path in iter_paths(spec):
        source, at = _real(path), loc_text(place)
        if place == (_OUTPUT,):
            continue
        if source.is_relative_to(real):
            yield Problem(
                where=_OUTPUT,
                message=f"{output} would be replaced together with the input {path} ({at})",
                remediation="Keep inputs outside the output directory.",
                also=(at,),
            )
        elif place[-1] in _FOLDERS and real.is_relative_to(source):
            yield Problem(
                where=_OUTPUT,
                message=f"{output} is inside the input directory {path} ({at})",
                remediation="Name a folder outside it.",
                also=(at,),
            )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # `Path.resolve` raises RuntimeError where links go in circles
