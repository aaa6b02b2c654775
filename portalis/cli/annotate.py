"""`portalis annotate`: writes a module's interface into its `portalis` section."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..atomic_files import replacing
from ..errors import UsageError
from ..escaping import printable

_ONLY_GUFUNC = {"signature", "args", "returns"}


def annotate(
    module: Annotated[Path, typer.Argument(metavar="MODULE", help="A .wasm file.")],
    entry: Annotated[str | None, typer.Option(help="The exported function.")] = None,
    convention: Annotated[
        str | None, typer.Option(help="elementwise, gufunc, dlpack or command; gufunc with --signature.")
    ] = None,
    signature: Annotated[
        str | None, typer.Option(help="The signature of a gufunc, for example '(m,n),(n,p)->(m,p)'.")
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", "-i", help="NAME:DTYPE[DIMS]; a trailing '?' makes it optional.")
    ] = None,
    outputs: Annotated[list[str] | None, typer.Option("--output", help="NAME:DTYPE[DIMS].")] = None,
    args: Annotated[str | None, typer.Option(help="The meaning of each parameter of a gufunc: 'x,y,n'.")] = None,
    returns: Annotated[str | None, typer.Option(help="The result of a gufunc: value or status.")] = None,
    max_batch_size: Annotated[int | None, typer.Option(help="0: no batch dimension.")] = None,
    description: Annotated[str | None, typer.Option(help="A description of the module.")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Read the interface from JSON: an object, or a list for several entries."),
    ] = None,
    output_file: Annotated[Path | None, typer.Option("-o", "--out", help="The module to write.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Replace MODULE.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a module's interface into its `portalis` section, so that the file can be served without a configuration.

    The interface is checked against the module. Options change the given keys and keep the others; --from replaces the
    whole section.

    Example: portalis annotate k.wasm --signature '(n)->(n)' -i 'x:FP32[-1]' --output 'y:FP32[-1]' --in-place
    """
    from ..annotation import amend_interface, parse_tensor, replace_interfaces
    from ..backend.wasm.module_file import read_file

    if (output_file is None) == (not in_place):
        raise UsageError("no output file given", remediation="Use either -o FILE or --in-place.")
    options: dict[str, Any] = {
        "entry": entry,
        "convention": convention,
        "signature": signature,
        "inputs": [parse_tensor(t) for t in inputs] if inputs else None,
        "outputs": [parse_tensor(t) for t in outputs] if outputs else None,
        "args": _arguments(args) if args else None,
        "returns": returns,
        "max_batch_size": max_batch_size,
        "description": description,
    }
    options = {key: value for key, value in options.items() if value is not None}
    if _ONLY_GUFUNC & options.keys():
        options.setdefault("convention", "gufunc")
    data = read_file(module)
    if source is None:
        annotated = amend_interface(data, options, where=str(module))
    else:
        entries = _read(source)
        if options and len(entries) > 1:
            raise UsageError(
                "the options describe one entry, but the file has several",
                remediation=f"Edit {source}, or omit the options.",
            )
        annotated = replace_interfaces(data, [{**each, **options} for each in entries], where=str(module))
    target = module if output_file is None else output_file
    _replace(target, annotated)
    _report(target, annotated, as_json)


def _arguments(text: str) -> list[str | int | float]:
    from ..backend.triton.model_parameters import parse_args

    try:
        return parse_args(text)
    except ValueError as problem:
        raise UsageError(f"--args {text}: {problem}") from None


def _read(path: Path) -> list[dict[str, Any]]:
    from ..bounded import CONFIG_BOUNDS, Excess, parse_json

    try:
        found = parse_json(CONFIG_BOUNDS.read(path), CONFIG_BOUNDS)
    except Excess as problem:
        raise UsageError(f"{path} {problem}, which is too large for an interface") from None
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"{path} is not JSON: {problem}") from None
    entries = found if isinstance(found, list) else [found]
    if not entries or not all(isinstance(each, dict) for each in entries):
        raise UsageError(f"{path} must contain an object or a list of objects")
    return entries


def _replace(target: Path, data: bytes) -> None:
    """Replace the file atomically; for a link, replace the file that it points to."""
    if target.exists() and not target.is_file():
        raise UsageError(f"cannot write {target}: it is not a regular file")
    try:
        _write(target.resolve(), data)
    except OSError as problem:
        raise UsageError(f"cannot write {target}: {problem.strerror or problem}") from None


def _write(target: Path, data: bytes) -> None:
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
    with replacing(target, mode=mode) as temporary:
        temporary.write_bytes(data)


def _report(target: Path, data: bytes, as_json: bool) -> None:
    from ..annotation import over_limits
    from ..backend.interface.discovery import parse_section
    from ..backend.wasm.binary import read_module

    for problem in over_limits(data):
        print(printable(f"warning: with the default limits {target} cannot be loaded: {problem}"), file=sys.stderr)
    entries = parse_section(read_module(data), str(target))
    if as_json:
        print(json.dumps({"file": str(target), "size_bytes": len(data), "entries": entries}, indent=2))
        return
    # an unchanged entry can omit keys with defaults
    names = ", ".join(f"{e.get('convention', '?')} '{e.get('entry', 'portalis_infer')}'" for e in entries)
    print(printable(f"{target}: {len(data):,} bytes, describes {names}"))
