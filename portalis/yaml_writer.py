"""Writes YAML that all readers interpret as the same data.

PyYAML writes YAML 1.1. Other readers, such as the Go libraries of Kubernetes and Compose, read 1.2, in which strings
that PyYAML does not quote, for example ``1e3`` or ``0o7``, can be numbers. So a string is quoted unless it is plainly a
word.
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
    """A dumper without aliases: each object is written in full at every use."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    bare = _WORD.fullmatch(value) is not None and value.lower() not in _NOT_TEXT
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if bare else '"')


_Dumper.add_representer(str, _text)


def yaml_document(value: Any) -> str:
    """`value` as a file with one document."""
    return escape_hidden(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 30))


def yaml_documents(values: Iterable[Any], heading: str) -> str:
    """`values` as the documents of one file, after a comment line with `heading`."""
    text: str = yaml.dump_all(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 30, explicit_start=True
    )
    return f"# {heading}\n{escape_hidden(text)}"
