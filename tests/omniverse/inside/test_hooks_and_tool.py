"""The hooks of a renderer, and the tool without its window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from portalis.omniverse.inside.hooks import AFTER, BEFORE, Hooks
from portalis.omniverse.inside.log import Failures
from portalis.omniverse.inside.tool import Tool

from . import guests
from .guests import Heard


def test_hooks_are_called_in_their_frames_with_their_inputs(tmp_path: Path) -> None:
    hooks = Hooks(guests.programs(tmp_path, examples=["softmax"]), Failures(Heard()))
    received: list[Any] = []
    hooks.pre_frame("softmax", lambda dt: {"x": np.full((1, 2), dt, np.float32)}, received.append)
    last = hooks.post_frame("softmax", lambda dt: None, received.append)
    hooks.frame(BEFORE, 0.5)
    hooks.frame(AFTER, 0.5)
    np.testing.assert_allclose(received.pop()["y"], [[0.5, 0.5]])
    assert received == []
    hooks.remove(last)
    hooks.remove(last)


def test_a_failing_hook_is_reported_once_and_removed(tmp_path: Path) -> None:
    heard = Heard()
    hooks = Hooks(guests.programs(tmp_path, examples=["softmax"]), Failures(heard))
    hooks.pre_frame("softmax", lambda dt: {"x": np.zeros((1, 2))}, lambda outputs: None)
    for _ in range(3):
        hooks.frame(BEFORE, 0.1)
    (line,) = heard.lines
    assert line.startswith("the pre-frame hook of module softmax: input 'x' has dtype float64, not float32")
    assert line.endswith("(the hook is removed)")


def test_the_tool_runs_a_module_on_a_file(tmp_path: Path) -> None:
    heard = Heard()
    tool = Tool(guests.programs(tmp_path, examples=["softmax", "text_filter"]), Failures(heard))
    given, made = str(tmp_path / "in.npz"), str(tmp_path / "out.npz")
    np.savez(given, x=np.zeros((1, 4), np.float32))
    assert tool.command(["softmax", given, made]) == (0, [f"wrote {Path(made).resolve()}"])
    np.testing.assert_allclose(np.load(made)["y"], 0.25)
    np.savez(given, stdin=np.array([[b"a@example.org"]]))
    assert tool.run_file("text_filter", given, made)
    text = np.load(made)["stdout"]  # without pickle
    assert text.dtype.kind == "S"
    assert b"example.org" not in text.item()
    assert heard.lines == []


def test_the_tool_reports_a_failure_once(tmp_path: Path) -> None:
    heard = Heard()
    tool = Tool(guests.programs(tmp_path, examples=["softmax"]), Failures(heard))
    for _ in range(2):
        assert tool.command(["softmax", str(tmp_path / "none.npz"), "out.npz"]) == (1, [])
    (line,) = heard.lines
    assert "No such file" in line


def test_the_tool_lists_the_modules_and_prints_its_usage(tmp_path: Path) -> None:
    broken: tuple[bytes, dict[str, Any]] = (b"no module", {})
    tool = Tool(guests.programs(tmp_path, {"broken": broken}, examples=["softmax"]), Failures(Heard()))
    status, (first, second) = tool.command(["list"])
    assert status == 0
    assert first.startswith("broken: ")
    assert second == "softmax: x FP32 [-1] -> y FP32 [-1]"
    assert tool.command([])[0] == 2
