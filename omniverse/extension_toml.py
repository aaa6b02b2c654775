"""Generates ``config/extension.toml`` with a TOML serializer, so that every string is read back unchanged.

Kit 110.4 uses the values of this file verbatim. Only code that calls ``carb.tokens`` replaces ``${…}``, so it is
neither escaped nor rejected here: a doubled dollar would be visible in the extension manager. In keys, however, Kit
interprets ``/``, ``filter:`` and ``++``. The only keys from a user's text are ids that `extension_names` has checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import tomlkit

from ..backend.limits import Limits
from ..escaping import escape_hidden
from ..spec.package_spec import PackageSpec
from .extension_names import extension_id, extension_version
from .kit_target import target_table

CATEGORY = "Portalis"
README = "docs/README.md"
CHANGELOG = "docs/CHANGELOG.md"
ICON = "data/icon.png"
PREVIEW = "data/preview.png"
CONFIG = "config/extension.toml"
INTEGRATION = "docs/integration.md"
TEST_TIMEOUT_S = 300  # compiling large modules is slow
LIMITS: Mapping[str, int | float] = asdict(Limits())
"""The runtime's default limits. The file lists them so that users see which settings exist."""
_EXACT = re.compile(r"=\s*(.+)")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


def extension_toml_text(spec: PackageSpec) -> str:
    """The content of the file."""
    identifier = extension_id(spec)
    document: dict[str, Any] = {
        "package": _package(spec),
        "dependencies": _dependencies(spec),
        "python": {"module": [{"name": identifier}]},
        "settings": {"exts": {identifier: {"load_on_startup": True, **LIMITS}}},
        # omni.kit.test finds the tests in the `tests` module of each python.module
        "test": [{"timeout": TEST_TIMEOUT_S, "args": ["--no-window"]}],
        "documentation": {"pages": _pages(spec)},
    }
    return escape_hidden(tomlkit.dumps(document))


def extension_title(spec: PackageSpec) -> str:
    """The single-line title that the extension manager shows."""
    title = spec.omniverse_config.extension_title
    return _one_line(title or "") or _one_line(spec.package_name)


def extension_description(spec: PackageSpec) -> str:
    """The description; never empty, because Kit's publishing check requires one."""
    configured = spec.omniverse_config.extension_description
    text = spec.description if configured is None else configured
    return text.strip() or f"WebAssembly modules of {extension_title(spec)}"


def _package(spec: PackageSpec) -> dict[str, Any]:
    about = spec.distribution_config.publish_metadata
    authors = _lines((about.author, about.maintainer))
    return {
        "version": extension_version(spec),
        "title": extension_title(spec),
        "description": extension_description(spec),
        "category": _one_line(spec.omniverse_config.extension_category) or CATEGORY,
        "keywords": _lines(("portalis", "webassembly", *about.keywords)),
        "authors": authors,
        "repository": _one_line(about.repository or about.homepage or ""),
        "readme": README,
        "changelog": CHANGELOG,
        "icon": ICON,
        "preview_image": PREVIEW,
        "target": target_table(spec),
    }


def _pages(spec: PackageSpec) -> list[str]:
    return [README, *([INTEGRATION] if spec.omniverse_config.generate_integration_docs else []), CHANGELOG]


def _dependencies(spec: PackageSpec) -> dict[str, Any]:
    # an application gets numpy from this extension, which the plain Kit of the Python wheel lacks
    dependencies: dict[str, Any] = {"omni.kit.pip_archive": {"optional": True}}
    if spec.omniverse_config.omnigraph_nodes:
        # optional: the extension also starts in a Kit without OmniGraph, for calls from Python
        dependencies |= {"omni.graph": {"optional": True}, "omni.graph.tools": {"optional": True}}
    for each in spec.omniverse_config.dependencies:
        requirement = each.version_requirement.strip()
        exact = _EXACT.fullmatch(requirement)
        if exact:
            dependencies[each.extension_name] = {"version": exact[1], "exact": True}
        else:
            # for Kit, a version is the minimum within its major version, which is also the meaning of a caret
            version = requirement.removeprefix("^").strip()
            dependencies[each.extension_name] = {"version": version} if version not in ("", "*") else {}
    return dependencies


def _lines(texts: Iterable[str]) -> list[str]:
    """The distinct, non-blank `texts`, each on one line."""
    return list(filter(None, dict.fromkeys(map(_one_line, texts))))


def _one_line(text: str) -> str:
    return " ".join(_CONTROLS.sub(" ", text).split())
