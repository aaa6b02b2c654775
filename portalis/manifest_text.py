"""The package manifest as JSON, YAML or TOML text, and back. The keys always come in the order of the contract.

A number that is not finite is unknown, like null: no format but YAML could write it. TOML has no null, so a key whose
value is null is left out there.
"""

from __future__ import annotations

import json
import math
from typing import Any

from .bounded import Bounds, parse_json, parse_toml
from .contracts.package_manifest import PackageManifest
from .escaping import escape_hidden
from .spec.distribution import ManifestFormat

MOST_FILES = 100_000  # with more, a manifest is not read
_ENDINGS = {ManifestFormat.JSON: "json", ManifestFormat.YAML: "yaml", ManifestFormat.TOML: "toml"}


def manifest_name(how: ManifestFormat) -> str:
    """What the file of a manifest is called."""
    return f"manifest.{_ENDINGS[how]}"


def manifest_text(manifest: PackageManifest, how: ManifestFormat) -> str:
    """The text of `manifest`, with a newline at its end."""
    data = _clean(manifest.model_dump(mode="json"))
    if how is ManifestFormat.JSON:
        return escape_hidden(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"
    if how is ManifestFormat.YAML:
        from .yaml_writer import yaml_document

        return yaml_document(data)
    import tomlkit

    return escape_hidden(tomlkit.dumps(_without_nulls(data)))


def parse_manifest(text: str, how: ManifestFormat, files: int = MOST_FILES) -> PackageManifest:
    """The manifest in `text`, of a package of so many `files`. Raises ValueError where it is not one, or is larger than
    that of so many files can be."""
    return PackageManifest.model_validate(_load(text, how, _bounds(files)))


def _bounds(files: int) -> Bounds:
    files = min(files, MOST_FILES)
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
