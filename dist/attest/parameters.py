"""A spec as the provenance has it: everything that was asked for, and nothing that is secret or only of one machine."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

from ...spec import PackageSpec
from ...spec.base import Structure

NOT_RECORDED = "(not recorded)"
# where it lies, and with which key it is signed, changes nothing of what is made
_LEFT_OUT = frozenset({"output_directory", "signing_key"})
_UNTOLD = frozenset({"environment_vars"})
_SECRET = re.compile(r"pass(word|phrase|wd)|secret|token|credential|api_?key|private", re.IGNORECASE)
_USER = re.compile(r"//[^/@\s]*@")


def parameters(spec: PackageSpec) -> dict[str, Any]:
    """The spec as plain JSON. Of input files there are the names, of environment variables too; credentials in URLs
    and values whose key sounds secret are left out."""
    found = _plain(spec)
    assert isinstance(found, dict)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Structure):
        fields = {key: getattr(value, key) for key in type(value).model_fields if key not in _LEFT_OUT}
        return {key: _field(key, each) for key, each in fields.items() if each is not None}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return value.name
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, str):
        return _USER.sub("//", value)
    if isinstance(value, dict):
        return {str(key): _field(str(key), each) for key, each in sorted(value.items())}
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return value


def _field(key: str, value: Any) -> Any:
    if key in _UNTOLD and isinstance(value, dict):
        return dict.fromkeys(sorted(value), NOT_RECORDED)
    if _SECRET.search(key) and isinstance(value, (str, int, Path)) and not isinstance(value, bool):
        return NOT_RECORDED
    return _plain(value)
