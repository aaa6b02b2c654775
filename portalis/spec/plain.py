"""What of some data is plain: what JSON can hold, and every file format and program argument too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ..problems import MAX_PROBLEMS, InputProblems, Problem, truncate_problems
from .loc import Loc, loc_text

MAX_DEPTH = 64
MAX_VALUES = 200_000  # YAML's aliases can make a small file a huge document
_QUOTE = "Put it into quotes."


class PlainData:
    """A copy of `data` without what is not plain, which is in `problems`. Raises InputProblems where it has no end."""

    def __init__(self, data: Mapping[Any, Any], *, source: str) -> None:
        self.problems: dict[Loc, Problem] = {}
        self._source = source
        self._count = 0
        self.data: dict[str, Any] = self._table(data, ())

    def _table(self, table: Mapping[Any, Any], place: Loc) -> dict[str, Any]:
        kept = {}
        for key, value in table.items():
            at = (*place, key)
            if not isinstance(key, str):
                self._wrong(at, f"the key {key!r} is no text", _QUOTE)
            elif trouble := _trouble(key):
                self._wrong(at, f"the key has {trouble}")
            else:
                kept[key] = self._value(value, at)
        return kept

    def _value(self, value: Any, place: Loc) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise InputProblems(
                [Problem(where="", message=f"it holds more than {MAX_VALUES} values")], source=self._source
            )
        if isinstance(value, (Mapping, list, tuple)) and len(place) >= MAX_DEPTH:
            return self._wrong(place, f"it is nested more than {MAX_DEPTH} levels deep")
        if isinstance(value, Mapping):
            return self._table(value, place)
        if isinstance(value, (list, tuple)):
            return [self._value(each, (*place, i)) for i, each in enumerate(value)]
        if isinstance(value, PurePath):
            value = str(value)
        trouble, remediation = _scalar(value)
        return self._wrong(place, trouble, remediation) if trouble else value

    def _wrong(self, place: Loc, message: str, remediation: str = "") -> None:
        self.problems[place] = Problem(where=loc_text(place), message=message, remediation=remediation)
        if len(self.problems) > MAX_PROBLEMS:
            raise InputProblems(truncate_problems([*self.problems.values()]), source=self._source)


def _scalar(value: Any) -> tuple[str, str]:
    """What is wrong with a single value, and what to do; nothing with what JSON can hold."""
    if value is None or isinstance(value, bool):
        return "", ""
    if isinstance(value, str):
        trouble = _trouble(value)
        return (f"{format_value(value)} has {trouble}", "") if trouble else ("", "")
    if isinstance(value, float):
        return ("", "") if math.isfinite(value) else (f"{value} is no finite number", "")
    if isinstance(value, int):
        return ("", "") if -(2**63) <= value < 2**64 else ("it is a number of more than 64 bits", "")
    return f"{format_value(value)} is of the type {type(value).__name__}, not text", _QUOTE


def _trouble(text: str) -> str:
    if "\0" in text:
        return "a NUL character"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "half of a surrogate pair"
    return ""


def format_value(value: Any) -> str:
    """`value` as a person may have written it, cut to a size for a message."""
    names = {"True": "true", "False": "false", "None": "null"}
    text = ascii(value) if isinstance(value, str) and _trouble(value) else repr(value)
    text = names.get(text, text)
    return text if len(text) <= 60 else f"{text[:57]}..."
