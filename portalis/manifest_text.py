"""The package manifest as JSON, YAML or TOML text, and back. The keys always come in the order of the contract.

A number that is not finite is unknown, like null: no format but YAML could write it. TOML has no null, so a key whose
value is null is left out there.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import yaml

from .contracts.manifest import PackageManifest
from .spec.distribution import ManifestFormat

_ENDINGS = {ManifestFormat.JSON: "json", ManifestFormat.YAML: "yaml", ManifestFormat.TOML: "toml"}


def manifest_name(how: ManifestFormat) -> str:
    """What the file of a manifest is called."""
    return f"manifest.{_ENDINGS[how]}"


def manifest_text(manifest: PackageManifest, how: ManifestFormat) -> str:
    """The text of `manifest`, with a newline at its end."""
    data = _clean(manifest.model_dump(mode="json"))
    if how is ManifestFormat.JSON:
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if how is ManifestFormat.YAML:
        return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    import tomlkit

    return tomlkit.dumps(_without_nulls(data))


def parse_manifest(text: str, how: ManifestFormat) -> PackageManifest:
    """The manifest in `text`. Raises ValueError where it is not one."""
    return PackageManifest.model_validate(_load(text, how))


def _load(text: str, how: ManifestFormat) -> Any:
    if how is ManifestFormat.JSON:
        return json.loads(text)
    if how is ManifestFormat.YAML:
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from None
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


class _Dumper(yaml.SafeDumper):
    """Writes every text in quotes that any reader could take for something else: 1e3 is a text to YAML 1.1 and a
    number to YAML 1.2."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    plain = text.isidentifier() and text.isascii() and len(text) > 1  # y and n are booleans to some
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


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
