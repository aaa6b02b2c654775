"""The package manifest as JSON, YAML or TOML text, and back. The keys always come in the order of the contract.

A number that is not finite is unknown, like null: no format but YAML could write it. TOML has no null, so a key whose
value is null is left out there.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

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
        from .yaml_text import document

        return document(data)
    import tomlkit

    return tomlkit.dumps(_without_nulls(data))


def parse_manifest(text: str, how: ManifestFormat) -> PackageManifest:
    """The manifest in `text`. Raises ValueError where it is not one."""
    return PackageManifest.model_validate(_load(text, how))


def _load(text: str, how: ManifestFormat) -> Any:
    if how is ManifestFormat.JSON:
        return json.loads(text)
    if how is ManifestFormat.YAML:
        return _load_yaml(text)
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _load_yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Takes no aliases: a few lines of them would stand for more than fits into memory."""

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("it has aliases, which manifests do not")
            return super().compose_node(parent, index)

    try:
        return yaml.load(text, Loader)  # noqa: S506 (it is a safe loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


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
