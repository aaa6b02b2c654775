"""The tree of an extension: everything in ``exts/<id>/``, relative to that folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ..output import Content, OutputTree, Source
from ..spec.package import PackageSpec
from ..templates import render
from ..wasm_backend import ISLAND_NAME, island_files
from . import png
from .documents import TEMPLATES, WASMTIME, documents, examples
from .extension_toml import CONFIG, ICON, LIMITS, PREVIEW, extension_toml
from .names import extension_id
from .selection import Chosen

ICON_SIZE = (256, 256)
PREVIEW_SIZE = (512, 288)


def extension(spec: PackageSpec, chosen: Sequence[Chosen], created_at: str) -> OutputTree:
    """All files of the extension for the modules `chosen`; `created_at` (ISO 8601) dates the changelog."""
    tree = OutputTree()
    tree.text(CONFIG, extension_toml(spec))
    tree.merge(_python(spec, chosen))
    for module in chosen:
        tree.add(module.file, Source(path=module.path, sha256=module.inspection.sha256))
    tree.merge(documents(spec, chosen, created_at))
    tree.merge(examples(spec))
    tree.add(ICON, _picture(spec.omniverse_config.extension_icon, ICON_SIZE))
    tree.add(PREVIEW, _picture(spec.omniverse_config.extension_preview, PREVIEW_SIZE))
    return tree


def module_folder(identifier: str) -> PurePosixPath:
    """Where the Python module of an extension lies in it: Kit finds a module by its dotted name."""
    return PurePosixPath(*identifier.split("."))


def _python(spec: PackageSpec, chosen: Sequence[Chosen]) -> OutputTree:
    identifier, tree = extension_id(spec), OutputTree()
    folder = module_folder(identifier)
    values = {
        "id": identifier,
        "depth": len(folder.parts),
        "limits": ascii(tuple(LIMITS)),
        "wasmtime": WASMTIME,
    }
    # no __init__.py above the module: the first part is a namespace that several extensions share
    written = {"__init__": "module", "tests/__init__": "tests_init", "tests/test_modules": "test_modules"}
    for name, template in {**written, "extension": "extension", "programs": "programs"}.items():
        tree.text(folder / f"{name}.py", render(TEMPLATES, f"{template}.py.j2", **values))
    table = {each.name: {"file": str(each.file), "entry": each.entry, "interface": each.declared} for each in chosen}
    tree.text(folder / "modules.json", json.dumps(table, indent=2))
    # inside the module, so that extensions made by different versions of portalis can run in one Kit
    for path, source in island_files():
        tree.add(folder / ISLAND_NAME / path, Source(path=source))
    return tree


def _picture(given: Path | None, size: tuple[int, int]) -> Content:
    return Source(path=given) if given is not None else png.draw(*size)
