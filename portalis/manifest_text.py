"""Serializes the package manifest as JSON, YAML or TOML, with the keys in the order of the contract, and parses it.

Non-finite numbers become null, because only YAML can represent them. TOML has no null, so keys with null are omitted.
"""

from __future__ import annotations

import json
import math
from typing import Any

from .bounded import Bounds, parse_json, parse_toml
from .contracts.package_manifest import PackageManifest
from .escaping import escape_hidden
from .spec.distribution import ManifestFormat

MAX_FILES = 100_000  # of a manifest that is read
_ENDINGS = {ManifestFormat.JSON: "json", ManifestFormat.YAML: "yaml", ManifestFormat.TOML: "toml"}


def manifest_name(how: ManifestFormat) -> str:
    """The file name of a manifest."""
    return f"manifest.{_ENDINGS[how]}"


def manifest_text(manifest: PackageManifest, how: ManifestFormat) -> str:
    """`manifest` as text, with a newline at its end."""
    data = _clean(manifest.model_dump(mode="json"))
    if how is ManifestFormat.JSON:
        return escape_hidden(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"
    if how is ManifestFormat.YAML:
        from .yaml_writer import yaml_document

        return yaml_document(data)
    import tomlkit

    return escape_hidden(tomlkit.dumps(_without_nulls(data)))


def parse_manifest(text: str, how: ManifestFormat, files: int = MAX_FILES) -> PackageManifest:
    """The manifest in `text`, of a package with at most `files` files.

    Raises ValueError if it is invalid, or larger than the manifest of so many files can be.
    """
    return PackageManifest.model_validate(_load(text, how, _bounds(files)))


def _bounds(files: int) -> Bounds:
    files = min(files, MAX_FILES)
    # YAML has 11 keys, values and tables for each file; modules can have many exports
    return Bounds(max_bytes=(2 << 20) + (files << 11), max_values=100_000 + 12 * files)


def _load(text: str, how: ManifestFormat, bounds: Bounds) -> Any:
    if how is ManifestFormat.JSON:
        return parse_json(text, bounds)
    if how is ManifestFormat.YAML:
        from .bounded.yaml_text import parse_yaml

        return parse_yaml(text, bounds, aliases=False)
    return parse_toml(text, bounds)


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
