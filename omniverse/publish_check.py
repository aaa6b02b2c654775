"""The check that Kit makes before it publishes an extension, made here without Kit: required keys, files that exist, a
changelog with this very version as a heading, a semantic version; and that the Python module lies where Kit looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import semver
import tomlkit
from tomlkit.exceptions import TOMLKitError

from .extension import module_folder
from .extension_toml import CONFIG

# as in Kit 110.4 (omni.kit.registry.nucleus, verification)
_TEXTS = ("version", "title", "description", "category")
_FILES = ("readme", "preview_image", "icon", "changelog")
_HEADING = re.compile(r"\[?(?P<version>[^(\]|\s)]+)\]?( - \d{4}-\d{2}-\d{2})?")


def check(folder: Path) -> list[str]:
    """What is wrong with the extension in `folder`, one text for each; empty when nothing is."""
    try:
        config = tomlkit.parse((folder / CONFIG).read_text(encoding="utf-8")).unwrap()
    except (OSError, UnicodeDecodeError, TOMLKitError) as problem:
        return [f"{CONFIG} cannot be read: {problem}"]
    return [*_package(folder, config.get("package", {})), *_modules(folder, config.get("python", {}))]


def _package(folder: Path, package: Mapping[str, Any]) -> Iterator[str]:
    for key in _TEXTS:
        if not package.get(key):
            yield f"package.{key} is not set"
    for key in _FILES:
        path = package.get(key)
        if not path:
            yield f"package.{key} is not set"
        elif not (folder / path).is_file():
            yield f"package.{key} is {path!r}, and there is no such file"
    version = str(package.get("version", ""))
    if not semver.Version.is_valid(version):
        yield f"package.version is {version!r}, and no semantic version"
    changelog = folder / str(package.get("changelog") or "-")
    if changelog.is_file() and version not in _versions(changelog.read_text(encoding="utf-8")):
        yield f"{package['changelog']} has no heading with the version {version}"
    identifier = folder.name
    if identifier.startswith("omni."):
        yield f"the id {identifier} begins with omni., which is NVIDIA's own"


def _modules(folder: Path, python: Mapping[str, Any]) -> Iterator[str]:
    names = [each.get("name") for each in python.get("module", ())]
    if folder.name not in names:
        yield f"python.module does not name {folder.name}"
    for name in filter(None, names):
        if not (folder / module_folder(name) / "__init__.py").is_file():
            yield f"python.module names {name}, and {module_folder(name)}/__init__.py is not there"


def _versions(changelog: str) -> set[str]:
    headings = (line.lstrip(" #") for line in changelog.splitlines() if line.startswith("#"))
    return {found["version"] for line in headings if (found := _HEADING.fullmatch(line))}
