"""`portalis init`: a commented spec for modules, which packages without an edit."""

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
    name: Annotated[str | None, typer.Option(help="The package's name; the first module's when not given.")] = None,
    version: Annotated[str, typer.Option(help="The package's version.")] = "0.1.0",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write a commented portalis.toml for modules, from what inspection finds in them.

    It packages as it is: `portalis package` turns it into a model repository and an archive. Exit code 1 when no module
    can be served yet: the notes say what each one lacks.

    Example: portalis init gelu.wasm softmax.wasm --name activations
    """
    from ..spec_file import spec_file

    _refuse(spec, force=force)
    new = spec_file(modules, folder=spec.absolute().parent, name=name, version=version)
    _check(new.spec)
    _write(spec, new.text)
    print(f"wrote {printable(str(spec))}")
    for note in new.notes:
        print(f"  {printable(note)}")
    named = "" if spec == Path("portalis.toml") else f" {printable(shlex.quote(str(spec)))}"
    if new.servable:
        print(f"  next: portalis package{named}")
        return
    what = "what the notes above say" if len(modules) > 1 else "what the note above says"
    print(f"  next: {what}, then portalis init --force")
    raise typer.Exit(1)


def _check(spec: PackageSpec) -> None:
    """Raise InputProblems with what the enabled targets would not take, such as names."""
    from ..pipeline.target_registry import TARGETS
    from ..problems import InputProblems
    from ..spec_file import SOURCE

    targets = [each.load() for each in TARGETS.values()]
    problems = [each for target in targets if target.skip_reason(spec) is None for each in target.spec_problems(spec)]
    if problems:
        raise InputProblems(problems, source=SOURCE)


def _refuse(path: Path, *, force: bool) -> None:
    if path.suffix.lower() != ".toml":
        raise UsageError(f"{path} does not end in .toml", remediation="What is written is TOML.")
    if path.is_dir():
        raise UsageError(f"{path} is a directory", remediation="Name the file to write with --spec.")
    if not path.parent.is_dir():
        raise UsageError(
            f"there is no directory {path.parent}", remediation="Make it, or name another file with --spec."
        )
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists", remediation="Name another file with --spec, or overwrite it with --force.")


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
