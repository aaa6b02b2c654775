"""The tree of an extension: everything in ``exts/<id>/``, relative to that folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..output import Content, OutputTree, Source
from ..spec.package import PackageSpec
from ..templates import render
from . import png
from .documents import TEMPLATES, documents, examples
from .extension_toml import CONFIG, ICON, PREVIEW, extension_toml
from .names import extension_id
from .python_module import module_folder, python_module
from .selection import Chosen

ICON_SIZE = (256, 256)
PREVIEW_SIZE = (512, 288)


def extension(spec: PackageSpec, chosen: Sequence[Chosen], created_at: str) -> OutputTree:
    """All files of the extension for the modules `chosen`; `created_at` (ISO 8601) dates the changelog."""
    tree = OutputTree()
    tree.text(CONFIG, extension_toml(spec))
    identifier = extension_id(spec)
    tree.merge(python_module(spec, chosen))
    for name, template in (("__init__", "tests_init"), ("test_modules", "test_modules")):
        text = render(TEMPLATES, f"{template}.py.j2", id=identifier)
        tree.text(module_folder(identifier) / "tests" / f"{name}.py", text)
    for module in chosen:
        tree.add(module.file, Source(path=module.path, sha256=module.inspection.sha256))
    tree.merge(documents(spec, chosen, created_at))
    tree.merge(examples(spec))
    tree.add(ICON, _picture(spec.omniverse_config.extension_icon, ICON_SIZE))
    tree.add(PREVIEW, _picture(spec.omniverse_config.extension_preview, PREVIEW_SIZE))
    return tree


def _picture(given: Path | None, size: tuple[int, int]) -> Content:
    return Source(path=given) if given is not None else png.draw(*size)
