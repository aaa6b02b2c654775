"""Programs: found by name, called by position or by name, with limits that can change."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest

from portalis.backend import GuestTimeout, SettingsError
from tests.running.garbage import wait_collected

from . import guests


def test_arrays_go_in_by_position_and_by_name(tmp_path: Path) -> None:
    made = guests.programs(tmp_path, examples=["softmax", "text_filter"])
    x = np.zeros((2, 4), np.float32)
    np.testing.assert_allclose(made.call("softmax", None, x), 0.25)
    np.testing.assert_allclose(made.run("softmax", {"x": x})["y"], 0.25)
    given = np.array([[b"write to a@example.org"]], dtype=object)
    outputs = made.call("text_filter", None, given, None)
    assert [each.shape for each in outputs] == [(1, 1)] * 3
    assert made.run("text_filter", {"stdin": given, "args": None})["stdout"] == outputs[0]


def test_an_unknown_name_is_reported(tmp_path: Path) -> None:
    made = guests.programs(tmp_path, examples=["softmax"])
    with pytest.raises(LookupError, match="unknown module 'relu', expected one of softmax"):
        made.get("relu")
    with pytest.raises(TypeError, match=r"softmax expects 1 arrays \(x\), got 2"):
        made.call("softmax", None, 1, 2)


def test_new_limits_apply_to_the_next_call_and_the_old_program_is_freed(tmp_path: Path) -> None:
    made = guests.programs(tmp_path, {"spin": guests.elementwise(guests.SPIN, ["x"])})
    before = weakref.ref(made.get("spin"))
    made.limit({"timeout_s": 0.05})
    with pytest.raises(GuestTimeout, match=r"0\.05 s"):
        made.call("spin", None, np.ones(1, np.float32))
    wait_collected(lambda: before() is None, "the old program is held")


def test_equal_limits_do_not_reload_modules(tmp_path: Path) -> None:
    made = guests.programs(tmp_path, examples=["softmax"], limits={"timeout_s": 2.0})
    program = made.get("softmax")
    made.limit({"timeout_s": 2.0})
    assert made.get("softmax") is program


def test_invalid_limits_keep_the_previous_ones(tmp_path: Path) -> None:
    made = guests.programs(tmp_path, examples=["softmax"])
    with pytest.raises(SettingsError, match="timeout_s must be greater than 0"):
        made.limit({"timeout_s": -1.0})
    assert made.limits.timeout_s == 10.0


def test_closing_frees_all_modules(tmp_path: Path) -> None:
    made = guests.programs(tmp_path, examples=["softmax"])
    program = weakref.ref(made.get("softmax"))
    made.close()
    wait_collected(lambda: program() is None, "the program is held")
