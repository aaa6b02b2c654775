"""`portalis inspect`: shows the exports, imports and features of a module, and its interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..escaping import printable

if TYPE_CHECKING:
    from rich.table import Column, Table
    from rich.text import Text

    from ..inspection import Inspection
    from ..omniverse.compatibility import Compatibility

SHOWN = 30


def inspect(
    module: Annotated[Path, typer.Argument(metavar="MODULE", help="A .wasm file.")],
    entry: Annotated[str | None, typer.Option(help="The entry to show, if the module has several.")] = None,
    omniverse: Annotated[
        bool, typer.Option("--omniverse", help="Also check whether it can run in an Omniverse Kit extension.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a module's exports, imports, memory, WebAssembly features, and the interface that Triton would serve.

    The exit code is 1 if the module cannot be served unchanged with the default limits; the last lines give the reason
    and a remediation. With --omniverse, it is also 1 if the module cannot run in Kit.
    """
    from ..inspection import inspect_module

    found = inspect_module(module, {"entry": entry} if entry else None)
    in_kit = _kit_check(found) if omniverse else None
    if as_json:
        extra = {} if in_kit is None else {"omniverse": in_kit.to_json()}
        print(json.dumps({**found.to_json(), **extra}, indent=2))
    else:
        _show(found)
        if in_kit is not None:
            _show_kit_check(in_kit)
    if found.interface is None or found.invalid or found.refused or (in_kit is not None and not in_kit.compatible):
        raise typer.Exit(1)


def _kit_check(found: Inspection) -> Compatibility:
    from ..omniverse.compatibility import check_kit_compatibility

    return check_kit_compatibility(found)


def _show_kit_check(result: Compatibility) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    verdict = ("can run there", "bold green") if result.compatible else ("cannot run there", "bold red")
    console.print(Text.assemble("Omniverse Kit: ", verdict), soft_wrap=True)
    for each in result.findings:
        style = "bold red" if each.blocks else "bold yellow"
        kind = "error" if each.blocks else f"warning ({each.severity.value.lower()})"
        console.print(Text.assemble((f"  {kind}:", style), " ", _text(str(each))), soft_wrap=True)
        console.print(Text.assemble("    ", _text(each.remediation)), soft_wrap=True)


def _show(found: Inspection) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(_properties(found))
    if found.exports or found.imports:
        console.print(_exports_and_imports(found))
    if found.interface is not None:
        console.print(_interface(found))
    refused = [str(each) for each in found.findings("inspect")]
    for problem in filter(None, (found.invalid, *refused, found.no_interface)):
        console.print(Text.assemble(("cannot be served:", "bold red"), " ", _text(problem)), soft_wrap=True)


def _text(text: str) -> Text:
    """Plain text: without markup, emoji names and control characters."""
    from rich.text import Text

    return Text(printable(text))


def _properties(found: Inspection) -> Table:
    from rich import box
    from rich.table import Table

    shown = Table(title=_text(found.name), show_header=False, box=box.SIMPLE)
    shown.add_column()
    shown.add_column(overflow="fold")  # a truncated digest cannot be compared
    wasi = "yes" if found.wasi_compliant else f"no: {', '.join(found.not_wasi)}"
    if found.wasi_compliant and not found.imports:
        wasi = "yes (no imports)"
    memory = ", ".join(map(str, found.memories)) or "none"
    threads = "yes: not supported by the sandbox" if "threads" in found.features else "no"
    features = ", ".join(found.features) or "WebAssembly 1.0 only"
    if found.invalid is not None:
        features = threads = "unknown: the module is not valid"
    customs = ", ".join(f"{name} ({size:,} bytes)" for name, size in found.custom_sections) or "none"
    for key, value in (
        ("size", f"{found.size_bytes:,} bytes"),
        ("sha256", found.sha256),
        ("memory", memory),
        ("features", features),
        ("WASI compliant", wasi),
        ("threads", threads),
        ("start function", "yes" if found.start else "no"),
        ("state", "none: instances are reused" if found.stateless else "possible: see wasm.isolation"),
        ("engine in Triton", "none" if found.engine is None else f"{found.engine.name}: {found.engine.why}"),
        ("custom sections", customs),
    ):
        shown.add_row(key, _text(value))
    return shown


def _name_column() -> Column:
    from rich.table import Column

    return Column("name", overflow="fold")  # names are shown in full, also in a narrow terminal


def _exports_and_imports(found: Inspection) -> Table:
    from rich.table import Table

    shown = Table("", _name_column(), "kind", "type", title="exports and imports")
    rows = [("export", e.name, e.kind, e.type) for e in found.exports]
    rows += [("import", f"{i.module}.{i.name}", i.kind, i.type) for i in found.imports]
    for side, name, kind, of in rows[:SHOWN]:
        shown.add_row(side, _text(name), kind, "" if of is None else _text(str(of)))
    if len(rows) > SHOWN:
        shown.add_row("", f"and {len(rows) - SHOWN} more (--json shows all)", "", "")
    return shown


def _interface(found: Inspection) -> Table:
    from rich.table import Table

    interface = found.interface
    assert interface is not None
    convention = interface.convention.value
    about = f"{convention} entry '{interface.entry}', from its {_SOURCES[interface.source]}"
    if interface.signature is not None:
        about += f", signature {interface.signature}"
    batch = f"batches of up to {interface.max_batch_size}" if interface.max_batch_size else "no batch dimension"
    shown = Table("", _name_column(), "dtype", "dims", title=_text(f"{about}; {batch}"))
    for side, specs in (("input", interface.inputs), ("output", interface.outputs)):
        for spec in specs:
            name = spec.name + (" (optional)" if spec.optional else "")
            shown.add_row(side, _text(name), str(spec.dtype), _text(str(list(spec.dims))))
    return shown


_SOURCES = {"section": "portalis section", "exports": "exports", "explicit": "declaration"}
