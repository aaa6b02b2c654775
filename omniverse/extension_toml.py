"""``config/extension.toml``, written by a TOML serialiser: whatever a text holds, it is read back as the same text.

Kit 110.4 hands out the values of this file as they stand; ``${…}`` is replaced only by code that asks for it
(``carb.tokens``), so it is neither escaped here nor refused: doubling the dollar would show in the extension
manager. Keys are another matter, as Kit takes ``/``, ``filter:`` and ``++`` in them for syntax: keys made from a
user's text are ids that `names` has checked, and nothing else.
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
TEST_TIMEOUT_S = 300  # compiling large modules takes its time
# the runtime's own limits, written out so that a user finds what can be set
LIMITS: Mapping[str, int | float] = asdict(Limits())
_EXACT = re.compile(r"=\s*(.+)")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


def extension_toml_text(spec: PackageSpec) -> str:
    """The file's text."""
    identifier = extension_id(spec)
    document: dict[str, Any] = {
        "package": _package(spec),
        "dependencies": _dependencies(spec),
        "python": {"module": [{"name": identifier}]},
        "settings": {"exts": {identifier: {"load_on_startup": True, **LIMITS}}},
        # omni.kit.test, which runs these, finds the tests in the `tests` module below each python.module by itself
        "test": [{"timeout": TEST_TIMEOUT_S, "args": ["--no-window"]}],
        "documentation": {"pages": _pages(spec)},
    }
    return escape_hidden(tomlkit.dumps(document))


def extension_title(spec: PackageSpec) -> str:
    """What people read in the extension manager, on one line."""
    own = spec.omniverse_config.extension_title
    return _one_line(own or "") or _one_line(spec.package_name)


def extension_description(spec: PackageSpec) -> str:
    """What the extension is for; Kit's publishing check wants one that is not empty."""
    own = spec.omniverse_config.extension_description
    told = spec.description if own is None else own
    return told.strip() or f"WebAssembly modules of {extension_title(spec)}"


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
    # numpy comes with this extension in an application; the bare Kit of the Python wheel has none
    found: dict[str, Any] = {"omni.kit.pip_archive": {"optional": True}}
    if spec.omniverse_config.omnigraph_nodes:
        # not needed for calls from Python, so that the extension starts in a Kit without OmniGraph too
        found |= {"omni.graph": {"optional": True}, "omni.graph.tools": {"optional": True}}
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


def _lines(texts: Iterable[str]) -> list[str]:
    """Each of `texts` once, without those that show nothing."""
    return list(filter(None, dict.fromkeys(map(_one_line, texts))))


def _one_line(text: str) -> str:
    return " ".join(_CONTROLS.sub(" ", text).split())
