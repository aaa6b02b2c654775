"""Generates the spec file of a new package, commented TOML, from the inspection of its modules.

The file can be packaged without an edit: targets that would fail are disabled, and comments say what is missing.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import tomlkit
from tomlkit import items

from .errors import UsageError
from .escaping import escape_hidden, printable
from .inspection import Inspection, WasmError, inspect_module
from .output import refuse_foreign_directory
from .problems import InputProblems, Problem
from .spec import PackageSpec
from .spec.read import make_spec

_OUTPUT = "package"  # next to the spec file
SOURCE = "the new spec"
_LONGEST_NAME = 40  # names of Kubernetes objects have at most 63 characters, and have suffixes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSpec:
    """A new spec file: its text, notes for the user, and the spec that it is read as."""

    text: str
    notes: tuple[str, ...]
    spec: PackageSpec
    servable: bool
    """Whether at least one module can be served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Module:
    """A module; `path` is relative to the spec file, and `reason` is why it cannot be a Triton model, or None."""

    name: str
    path: str
    inspection: Inspection
    reason: str | None


def spec_file(modules: Sequence[Path], *, folder: Path, name: str | None, version: str) -> NewSpec:
    """A spec file in `folder` for `modules`.

    Raises InputProblems with all invalid modules, and with the problems of `name` and `version`.
    """
    found = _inspect_modules(modules, folder)
    servable = [module for module in found if module.reason is None]
    document = tomlkit.document()
    _head(document, _plain(modules[0].stem) if name is None else name, version)
    document.add("output_directory", _commented(_output(modules, folder), "replaced entirely by every run"))
    document.add(tomlkit.nl())
    _targets(document, triton=bool(servable))
    tables = tomlkit.aot()
    for module in servable or found:
        tables.append(_table(module))
    document.append("wasm_binaries", tables)
    later = [_for_later(module) for module in found if servable and module.reason]
    text = "\n".join([escape_hidden(tomlkit.dumps(document)), *later])
    # problems are reported before the file is written
    spec = make_spec(tomlkit.parse(text).unwrap(), base=folder, source=SOURCE)
    notes = tuple(_notes(found, some=bool(servable)))
    return NewSpec(text=text, notes=notes, spec=spec, servable=bool(servable))


def _inspect_modules(modules: Sequence[Path], folder: Path) -> list[_Module]:
    found, problems = list[_Module](), list[Problem]()
    real = os.path.realpath(folder)
    for path, name in zip(modules, _names(modules)):
        inspection = _inspect(path)
        if isinstance(inspection, str):
            problems.append(Problem(where=str(path), message=inspection))
            continue
        reason = inspection.unservable_reason("spec")
        # links are resolved, because dots after a link would refer to a different directory
        relative = os.path.relpath(Path(os.path.realpath(path.parent)) / path.name, real)
        found.append(_Module(name=name, path=relative, inspection=inspection, reason=reason))
    if problems:
        raise InputProblems(problems, source="the list of modules")
    return found


def _inspect(path: Path) -> Inspection | str:
    try:
        str(path).encode()
        inspection = inspect_module(path, tool="spec")
    except UnicodeEncodeError:
        return "its name is not UTF-8, which a spec file requires"
    except (WasmError, OSError) as error:
        return str(error).removeprefix(f"{path} ").removeprefix(f"{path}: ")
    return inspection if inspection.invalid is None else f"it is not a valid module: {inspection.invalid}"


def _names(modules: Sequence[Path]) -> list[str]:
    """A plain name for each module; equal names are numbered."""
    plain = [_plain(path.stem) for path in modules]
    used = {name for name, number in Counter(plain).items() if number == 1}
    names = list[str]()
    for name in plain:
        single = name in used and name not in names
        names.append(name if single else next(each for i in count(1) if (each := f"{name}_{i}") not in used))
        used.add(names[-1])
    return names


def _plain(text: str) -> str:
    """`text` as a name that every target accepts: lower case without accents, digits and single underscores."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", ascii_only)[:_LONGEST_NAME].strip("_")
    return name if name and not name[0].isdigit() else f"module_{name}".rstrip("_")


def _output(modules: Sequence[Path], folder: Path) -> str:
    """The name of a directory next to the spec file that may be replaced."""
    for number in count(1):
        name = _OUTPUT if number == 1 else f"{_OUTPUT}_{number}"
        path = folder / name
        if os.path.lexists(path) and not path.is_dir():
            continue
        try:
            refuse_foreign_directory(path)
        except UsageError:
            continue
        real = os.path.realpath(path)
        if not any(Path(os.path.realpath(module)).is_relative_to(real) for module in modules):
            return name
    raise AssertionError("the loop has no end")


def _head(document: tomlkit.TOMLDocument, package: str, version: str) -> None:
    for line in (
        "The package that `portalis package` creates. Paths are relative to this file's directory.",
        "All keys: portalis schema. About a module: portalis inspect MODULE.",
    ):
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    document.add("package_name", tomlkit.item(package))
    document.add("package_version", tomlkit.item(version))
    document.add("description", tomlkit.item(""))


def _targets(document: tomlkit.TOMLDocument, *, triton: bool) -> None:
    models = "a model repository for Triton" if triton else "no module can be a model yet, see below"
    for key, enabled, comment in (
        ("enable_triton_integration", triton, models),
        ("enable_distribution_archive", True, "an archive of the package"),
        ("enable_nim_packaging", False, "service images; needs Docker or Podman"),
        ("enable_omniverse_packaging", False, "an Omniverse Kit extension"),
    ):
        document.add(key, _commented(enabled, comment))
    document.add(tomlkit.nl())


def _commented(value: object, comment: str) -> items.Item:
    item = tomlkit.item(value)
    item.comment(comment)
    return item


def _table(module: _Module) -> items.Table:
    table = tomlkit.table()
    for line in _facts(module):
        table.add(tomlkit.comment(printable(line)))
    table.add("name", tomlkit.item(module.name))
    table.add("path", tomlkit.item(module.path))
    if module.reason is None:
        triton = tomlkit.table()
        triton.add("model_name", _commented(module.name, "the name for clients"))
        table.add("triton_config", triton)
    return table


def _facts(module: _Module) -> Iterator[str]:
    """Comment lines with the results of the inspection."""
    found, interface = module.inspection, module.inspection.interface
    yield f"{found.size_bytes} bytes{'' if found.wasi_compliant else ', with imports outside WASI'}"
    if found.problems():
        yield f"The sandbox does not run it: {module.reason}"
    if interface is None:
        if any(export.kind == "func" for export in found.exports):
            yield "Its interface is not known: declare it in [wasm_binaries.interface] (entry, convention, inputs,"
            yield "outputs), or write it into the module with `portalis annotate`."
        else:
            yield "It exports no callable function."
        return
    batches = f"batches of at most {interface.max_batch_size}" if interface.max_batch_size else "no batches"
    yield f"{interface.convention.value} entry {interface.entry}, {batches}"
    for arrow, specs in (("->", interface.inputs), ("<-", interface.outputs)):
        for spec in specs:
            yield f"{arrow} {spec.name} {spec.dtype.name} {list(spec.dims)}{' optional' if spec.optional else ''}"


def _for_later(module: _Module) -> str:
    """The module's table in the spec, commented out."""
    tables = tomlkit.aot()
    tables.append(_table(module))
    document = tomlkit.document()
    document.append("wasm_binaries", tables)
    part = "".join(f"# {line}\n" for line in escape_hidden(tomlkit.dumps(document)).splitlines())
    return f"# Excluded: it cannot be a Triton model yet. To include it, remove the first # of each line:\n{part}"


def _notes(modules: Sequence[_Module], *, some: bool) -> Iterator[str]:
    if not some:
        yield "note: no module can be a Triton model yet, so enable_triton_integration is false"
    for module in modules:
        if module.reason is not None:
            excluded = ", and is commented out" if some else ""
            yield f"note: {module.name} cannot be a Triton model yet{excluded}: {module.reason}"
