"""`portalis init`: writes a commented spec file for modules, which can be packaged unchanged."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..atomic_files import replacing
from ..errors import UsageError
from ..escaping import printable

if TYPE_CHECKING:
    from ..spec import PackageSpec


def init(
    modules: Annotated[list[Path], typer.Argument(metavar="MODULE…", help="The .wasm files of the package.")],
    spec: Annotated[Path, typer.Option("--spec", "-o", help="The file to write.")] = Path("portalis.toml"),
    name: Annotated[str | None, typer.Option(help="The package name; default: the name of the first module.")] = None,
    version: Annotated[str, typer.Option(help="The package version.")] = "0.1.0",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write a commented portalis.toml for modules, filled in from their interfaces.

    `portalis package` accepts it unchanged and writes a model repository and an archive. The exit code is 1 if no
    module can be served yet; the notes list what is missing.

    Example: portalis init gelu.wasm softmax.wasm --name activations
    """
    from ..spec_file import spec_file

    _check_path(spec, force=force)
    new = spec_file(modules, folder=spec.absolute().parent, name=name, version=version)
    _check_spec(new.spec)
    _write(spec, new.text)
    print(f"wrote {printable(str(spec))}")
    for note in new.notes:
        print(f"  {printable(note)}")
    named = "" if spec == Path("portalis.toml") else f" {printable(shlex.quote(str(spec)))}"
    if new.servable:
        print(f"  next: portalis package{named}")
        return
    notes = "the notes" if len(modules) > 1 else "the note"
    print(f"  next: follow {notes} above, then portalis init --force")
    raise typer.Exit(1)


def _check_spec(spec: PackageSpec) -> None:
    """Raise InputProblems with the problems of the enabled targets, such as invalid names."""
    from ..pipeline.target_registry import TARGETS
    from ..problems import InputProblems
    from ..spec_file import SOURCE

    targets = [each.load() for each in TARGETS.values()]
    problems = [each for target in targets if target.skip_reason(spec) is None for each in target.spec_problems(spec)]
    if problems:
        raise InputProblems(problems, source=SOURCE)


def _check_path(path: Path, *, force: bool) -> None:
    if path.suffix.lower() != ".toml":
        raise UsageError(f"{path} does not end in .toml", remediation="The file format is TOML.")
    if path.is_dir():
        raise UsageError(f"{path} is a directory", remediation="Pass the file to write with --spec.")
    if not path.parent.is_dir():
        raise UsageError(
            f"the directory {path.parent} does not exist", remediation="Create it, or pass another file with --spec."
        )
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists", remediation="Pass another file with --spec, or overwrite it with --force.")


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
