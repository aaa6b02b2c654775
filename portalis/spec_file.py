"""Writes the spec file of a new package: commented TOML from what inspection found in its modules."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import tomlkit
from tomlkit import items

from .inspection import Inspection, WasmError, inspect
from .naming import triton_trouble
from .problems import InputProblems, Problem
from .spec.read import make_spec

OUTPUT = "package"  # beside the spec file


def spec_file(modules: Sequence[Path], *, folder: Path, name: str | None, version: str) -> tuple[str, list[str]]:
    """The text of a spec file in `folder` for `modules`, and what a user should know of it.

    Raises InputProblems with every module that is none, and with what is wrong with `name` or `version`.
    """
    found = [(path, _inspect(path)) for path in modules]
    problems = [Problem(where=str(path), message=each) for path, each in found if isinstance(each, str)]
    names = _names(modules)
    if problems:
        raise InputProblems(problems, source="the list of modules")
    package = name or _plain(modules[0].stem)
    document = tomlkit.document()
    _head(document, package, version)
    tables = tomlkit.aot()
    notes = []
    for (path, inspection), module in zip(found, names):
        assert isinstance(inspection, Inspection)
        tables.append(_module(path, module, inspection, folder))
        if inspection.interface is None:
            notes.append(
                f"note: {module} does not say its interface, so it becomes no Triton model: {inspection.no_interface}"
            )
    document.append("wasm_binaries", tables)
    text = tomlkit.dumps(document)
    make_spec(
        tomlkit.parse(text).unwrap(), base=folder, source="the new spec"
    )  # says what is wrong before it is written
    return text, notes


def _inspect(path: Path) -> Inspection | str:
    try:
        inspection = inspect(path)
    except (WasmError, OSError) as error:
        return str(error)
    return inspection if inspection.invalid is None else f"it is not a valid module: {inspection.invalid}"


def _names(modules: Sequence[Path]) -> list[str]:
    """A plain name for each module; modules of one name are numbered."""
    plain = [_plain(path.stem) for path in modules]
    taken, names = Counter(plain), []
    for i, name in enumerate(plain):
        if taken[name] == 1:
            names.append(name)
        else:
            number = plain[: i + 1].count(name)
            while f"{name}_{number}" in (*plain, *names):
                number += 1
            names.append(f"{name}_{number}")
    return names


def _plain(text: str) -> str:
    """`text` as a name that every target takes: lower case, digits and single underscores."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if name and triton_trouble(name) is None and not name[0].isdigit() else f"module_{name}".rstrip("_")


def _head(document: tomlkit.TOMLDocument, package: str, version: str) -> None:
    for line in _INTRODUCTION:
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    document.add("package_name", tomlkit.item(package))
    document.add("package_version", tomlkit.item(version))
    document.add("description", tomlkit.item(""))
    document.add("output_directory", _said(OUTPUT, "replaced as a whole by every run"))
    document.add(tomlkit.nl())
    for key, wanted, comment in _TARGETS:
        document.add(key, _said(wanted, comment))
    document.add(tomlkit.nl())


_INTRODUCTION = (
    "What `portalis package` makes, and of what. Paths start at this file's folder.",
    "All keys: portalis schema. What a module is: portalis inspect MODULE.",
)
_TARGETS = (
    ("enable_triton_integration", True, "a model repository for Triton"),
    ("enable_distribution_archive", True, "an archive with everything in it"),
    ("enable_nim_packaging", False, "service images; needs Docker or Podman"),
    ("enable_omniverse_packaging", False, "an Omniverse Kit extension"),
)


def _said(value: object, comment: str) -> items.Item:
    item = tomlkit.item(value)
    item.comment(comment)
    return item


def _module(path: Path, name: str, found: Inspection, folder: Path) -> items.Table:
    table = tomlkit.table()
    for line in _facts(found):
        table.add(tomlkit.comment(line))
    table.add("name", tomlkit.item(name))
    table.add("path", tomlkit.item(os.path.relpath(path.absolute(), folder)))
    triton = tomlkit.table()
    triton.add("model_name", _said(name, "what clients call it"))
    table.add("triton_config", triton)
    return table


def _facts(found: Inspection) -> Iterator[str]:
    """What inspection found, as lines that a comment can hold."""
    kind = "" if found.wasi_compliant else ", with imports that are not of WASI"
    yield f"{found.size_bytes} bytes{kind}"
    if found.interface is None:
        yield "Its interface is not known: declare it in [wasm_binaries.interface] (entry, convention, inputs, outputs),"
        yield "or write it into the module with `portalis annotate`."
        return
    interface = found.interface
    yield f"{interface.convention.value} entry {interface.entry}, batches of at most {interface.max_batch_size or 1}"
    for arrow, specs in (("->", interface.inputs), ("<-", interface.outputs)):
        for spec in specs:
            yield f"{arrow} {spec.name} {spec.dtype.name} {list(spec.dims)}{' optional' if spec.optional else ''}"
