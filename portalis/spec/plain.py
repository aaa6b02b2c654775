"""Restricts data to plain values: those that JSON, all file formats and command-line arguments can represent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ..problems import MAX_PROBLEMS, InputProblems, Problem, truncate_problems
from .loc import Loc, loc_text

MAX_DEPTH = 64
MAX_VALUES = 200_000  # YAML's aliases can make a small file a huge document
_QUOTE = "Put it in quotes."


class PlainData:
    """A copy of `data` without values that are not plain; `problems` has those. Raises InputProblems for huge data."""

    def __init__(self, data: Mapping[Any, Any], *, source: str) -> None:
        self.problems: dict[Loc, Problem] = {}
        self._source = source
        self._count = 0
        self.data: dict[str, Any] = self._table(data, ())

    def _table(self, table: Mapping[Any, Any], loc: Loc) -> dict[str, Any]:
        kept = {}
        for key, value in table.items():
            at = (*loc, key)
            if not isinstance(key, str):
                self._reject(at, f"expected a string as key, got {key!r}", _QUOTE)
            elif flaw := _text_flaw(key):
                self._reject(at, f"the key has {flaw}")
            else:
                kept[key] = self._value(value, at)
        return kept

    def _value(self, value: Any, loc: Loc) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise InputProblems(
                [Problem(where="", message=f"it has more than {MAX_VALUES} values")], source=self._source
            )
        if isinstance(value, (Mapping, list, tuple)) and len(loc) >= MAX_DEPTH:
            return self._reject(loc, f"it is nested more than {MAX_DEPTH} levels deep")
        if isinstance(value, Mapping):
            return self._table(value, loc)
        if isinstance(value, (list, tuple)):
            return [self._value(each, (*loc, i)) for i, each in enumerate(value)]
        if isinstance(value, PurePath):
            value = str(value)
        message, remediation = _scalar_problem(value)
        return self._reject(loc, message, remediation) if message else value

    def _reject(self, loc: Loc, message: str, remediation: str = "") -> None:
        self.problems[loc] = Problem(where=loc_text(loc), message=message, remediation=remediation)
        if len(self.problems) > MAX_PROBLEMS:
            raise InputProblems(truncate_problems([*self.problems.values()]), source=self._source)


def _scalar_problem(value: Any) -> tuple[str, str]:
    """The message and remediation for a single value; empty for a value that JSON can represent."""
    if value is None or isinstance(value, bool):
        return "", ""
    if isinstance(value, str):
        flaw = _text_flaw(value)
        return (f"{format_value(value)} has {flaw}", "") if flaw else ("", "")
    if isinstance(value, float):
        return ("", "") if math.isfinite(value) else (f"expected a finite number, got {value}", "")
    if isinstance(value, int):
        return ("", "") if -(2**63) <= value < 2**64 else ("the number has more than 64 bits", "")
    return f"expected a string, got {format_value(value)} of type {type(value).__name__}", _QUOTE


def _text_flaw(text: str) -> str:
    if "\0" in text:
        return "a NUL character"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "half of a surrogate pair"
    return ""


def format_value(value: Any) -> str:
    """`value` as in a spec file, shortened for a message."""
    names = {"True": "true", "False": "false", "None": "null"}
    text = ascii(value) if isinstance(value, str) and _text_flaw(value) else repr(value)
    text = names.get(text, text)
    return text if len(text) <= 60 else f"{text[:57]}..."
