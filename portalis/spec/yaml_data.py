"""Reads YAML as data: what YAML takes silently and a writer cannot mean is an error here."""

from __future__ import annotations

from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """YAML lets a key be given twice and keeps the last, and its merge keys can grow without bound."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    merged: dict[Any, Any] = {}
    own: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if key_node.tag == _MERGE:
            # the first of several tables goes before the later ones
            for table in reversed(_tables(loader, value_node)):
                merged.update(table)
            continue
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, (dict, list, set)):
            raise _error("a key must be text", key_node)
        if key in own:
            raise _error(f"{key!r} is given twice", key_node)
        own[key] = loader.construct_object(value_node, deep=True)
    return merged | own


def _tables(loader: yaml.SafeLoader, node: yaml.Node) -> list[dict[Any, Any]]:
    found = loader.construct_object(node, deep=True)
    tables = found if isinstance(found, list) else [found]
    if not all(isinstance(each, dict) for each in tables):
        raise _error("<< takes a table, or a list of tables", node)
    return tables


def _error(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def yaml_data(text: str) -> Any:
    """The one document in `text`. Raises YAMLError, ValueError and RecursionError."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
