"""Builds the tree of an extension: all files of ``exts/<id>/``, relative to that directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from ..output import CopiedFile, OutputTree
from ..spec.package_spec import PackageSpec
from ..templates import render
from .extension_documents import TEMPLATES, documentation_files
from .extension_names import extension_id
from .extension_toml import CONFIG, ICON, PREVIEW, extension_toml_text
from .python_module import module_folder, python_module_files
from .scenarios import scenario_files
from .selection import SelectedModule

LICENSES = PurePosixPath("PACKAGE-LICENSES")


def build_extension_tree(spec: PackageSpec, modules: Sequence[SelectedModule], created_at: str) -> OutputTree:
    """All files of the extension for `modules`; `created_at` (ISO 8601) is the date of the changelog."""
    tree = OutputTree()
    tree.text(CONFIG, extension_toml_text(spec))
    identifier = extension_id(spec)
    tree.merge(python_module_files(spec, modules))
    for name, template in (("__init__", "tests_init"), ("test_modules", "test_modules")):
        text = render(TEMPLATES, f"{template}.py.j2", id=identifier)
        tree.text(module_folder(identifier) / "tests" / f"{name}.py", text)
    for module in modules:
        tree.add(module.file, CopiedFile(path=module.path, sha256=module.inspection.sha256))
    tree.merge(documentation_files(spec, modules, created_at))
    tree.merge(scenario_files(spec, modules))
    license_file = spec.distribution_config.license_file
    if license_file is not None:  # the place and name that Kit's own extensions use
        tree.add(LICENSES / f"{identifier}-LICENSE.md", CopiedFile(path=license_file))
    config = spec.omniverse_config
    tree.add(ICON, CopiedFile(path=config.extension_icon or TEMPLATES / "icon.png"))
    tree.add(PREVIEW, CopiedFile(path=config.extension_preview or TEMPLATES / "preview.png"))
    return tree
