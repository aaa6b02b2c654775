"""Writes YAML that every reader takes for the same data.

PyYAML knows YAML 1.1. Others, such as the Go libraries of Kubernetes and Compose, read 1.2, to which words that PyYAML
leaves bare, such as ``1e3`` or ``0o7``, can be numbers. So a text is quoted unless it is plainly a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from .escaping import escape_hidden

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*([./_-]+[A-Za-z0-9]+)*")
_NOT_TEXT = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity"}


class _Dumper(yaml.SafeDumper):
    """No aliases: each object is written where it is used, and none of it depends on what else is the same."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    bare = _WORD.fullmatch(value) is not None and value.lower() not in _NOT_TEXT
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if bare else '"')


_Dumper.add_representer(str, _text)


def yaml_document(value: Any) -> str:
    """`value` as a file of one document."""
    return escape_hidden(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 30))


def yaml_documents(values: Iterable[Any], heading: str) -> str:
    """`values` as the documents of one file, below `heading`, a comment of one line."""
    text: str = yaml.dump_all(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 30, explicit_start=True
    )
    return f"# {heading}\n{escape_hidden(text)}"
