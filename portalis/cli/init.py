"""`portalis init`: a commented spec for modules, which packages without an edit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from .printable import printable


def init(
    modules: Annotated[list[Path], typer.Argument(metavar="MODULE…", help="The .wasm files of the package.")],
    spec: Annotated[Path, typer.Option("--spec", "-o", help="The file to write.")] = Path("portalis.toml"),
    name: Annotated[str | None, typer.Option(help="The package's name; the first module's when not given.")] = None,
    version: Annotated[str, typer.Option(help="The package's version.")] = "0.1.0",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write a commented portalis.toml for modules, from what inspection finds in them.

    It packages as it is: `portalis package` turns it into a model repository and an archive.

    Example: portalis init gelu.wasm softmax.wasm --name activations
    """
    from ..spec_file import spec_file

    text, notes = spec_file(modules, folder=spec.absolute().parent, name=name, version=version)
    _write(spec, text, force=force)
    print(f"wrote {printable(str(spec))}")
    for note in notes:
        print(f"  {printable(note)}")
    named = "" if spec == Path("portalis.toml") else f" {printable(str(spec))}"
    print(f"  next: portalis package{named}")


def _write(path: Path, text: str, *, force: bool) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a directory", remediation="Name the file to write with --spec.")
    if not path.parent.is_dir():
        raise UsageError(
            f"there is no directory {path.parent}", remediation="Make it, or name another file with --spec."
        )
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists", remediation="Name another file with --spec, or overwrite it with --force.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
