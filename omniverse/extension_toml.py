"""``config/extension.toml``, written by a TOML serialiser: whatever a text holds, it is read back as the same text.

Kit 110.4 hands out the values of this file as they stand; ``${…}`` is replaced only by code that asks for it
(``carb.tokens``), so it is neither escaped here nor refused: doubling the dollar would show in the extension
manager. Keys are another matter, as Kit takes ``/``, ``filter:`` and ``++`` in them for syntax: keys made from a
user's text are ids that `names` has checked, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import tomlkit

from ..spec.package import PackageSpec
from .names import extension_id, extension_version

CATEGORY = "Portalis"
README = "docs/README.md"
CHANGELOG = "docs/CHANGELOG.md"
ICON = "data/icon.png"
PREVIEW = "data/preview.png"
CONFIG = "config/extension.toml"
# the runtime's own limits, written out so that a user finds what can be set; a test holds them to its defaults
LIMITS: Mapping[str, int | float] = {
    "max_memory_bytes": 256 << 20,
    "timeout_s": 10.0,
    "max_module_bytes": 256 << 20,
    "compile_timeout_s": 60.0,
    "max_output_bytes": 64 << 10,
    "max_stdout_bytes": 16 << 20,
    "max_stack_bytes": 1 << 20,
}
_EXACT = re.compile(r"=\s*(.+)")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


def extension_toml(spec: PackageSpec) -> str:
    """The file's text."""
    identifier = extension_id(spec)
    document: dict[str, Any] = {
        "package": _package(spec),
        "dependencies": _dependencies(spec),
        "python": {"module": [{"name": identifier}]},
        "settings": {"exts": {identifier: {"load_on_startup": True, **LIMITS}}},
    }
    return tomlkit.dumps(document)


def title(spec: PackageSpec) -> str:
    """What people read in the extension manager, on one line."""
    return _one_line(spec.package_name)


def description(spec: PackageSpec) -> str:
    """What the extension is for; Kit's publishing check wants one that is not empty."""
    own = spec.omniverse_config.extension_description
    told = spec.description if own is None else own
    return told.strip() or f"WebAssembly modules of {title(spec)}"


def _package(spec: PackageSpec) -> dict[str, Any]:
    about = spec.distribution_config.publish_metadata
    authors = dict.fromkeys(_one_line(each) for each in (about.author, about.maintainer) if each.strip())
    return {
        "version": extension_version(spec),
        "title": title(spec),
        "description": description(spec),
        "category": CATEGORY,
        "keywords": list(dict.fromkeys(("portalis", "webassembly", *map(_one_line, about.keywords)))),
        "authors": list(authors),
        "repository": about.repository or about.homepage or "",
        "readme": README,
        "changelog": CHANGELOG,
        "icon": ICON,
        "preview_image": PREVIEW,
    }


def _dependencies(spec: PackageSpec) -> dict[str, Any]:
    # numpy comes with this extension in an application; the bare Kit of the Python wheel has none
    found: dict[str, Any] = {"omni.kit.pip_archive": {"optional": True}}
    for each in spec.omniverse_config.dependencies:
        wanted = each.version_requirement.strip()
        exact = _EXACT.fullmatch(wanted)
        if exact:
            found[each.extension_name] = {"version": exact[1], "exact": True}
        else:
            # Kit takes a version for "this one or a later one of the same major version", which a caret says too
            version = wanted.removeprefix("^").strip()
            found[each.extension_name] = {"version": version} if version not in ("", "*") else {}
    return found


def _one_line(text: str) -> str:
    return " ".join(_CONTROLS.sub(" ", text).split())
