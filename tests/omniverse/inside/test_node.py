"""The values that an OmniGraph node writes to its attributes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from portalis.omniverse.inside.node import compute

TENSOR = {"attribute": "y", "name": "y", "sizes": None, "dtype": "object", "shape": None, "tuple": 1, "optional": False}


def node(*elements: bytes) -> tuple[bool, Any, list[str]]:
    """The result of a node whose module returns `elements`: whether it succeeded, its outputs and its errors."""
    errors: list[str] = []
    db = SimpleNamespace(inputs=SimpleNamespace(), outputs=SimpleNamespace(), log_error=errors.append)
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return compute(db, lambda *_: {"y": array}, "module", [], [TENSOR]), db.outputs, errors


def test_strings_are_written_unchanged() -> None:
    assert node("é".encode(), b"")[1].y == ["é", ""]


def test_bytes_that_are_not_text_are_an_error_of_the_node_and_nothing_is_written() -> None:
    done, outputs, errors = node(b"a", b"\xff\xfe\0")
    assert not done and not hasattr(outputs, "y")
    assert "outputs:y stores strings, but element 1 is not UTF-8" in errors[0]
    assert node(b"a")[0], "the next one computes"
