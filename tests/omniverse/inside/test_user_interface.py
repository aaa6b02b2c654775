"""The tool's window and command. Kit's wheel has neither `omni.ui` nor `omni.kit.commands`, so that no real one is seen
here: stand-ins hold what the code asks them for, and real Kit shows that it does without (`test_in_kit_types`)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from portalis.omniverse.inside import actions
from portalis.omniverse.inside.log import Failures
from portalis.omniverse.inside.tool import Tool
from portalis.omniverse.inside.window import Window

from . import guests
from .guests import Heard


def install(monkeypatch: pytest.MonkeyPatch, name: str, module: Any) -> Any:
    """Let ``import omni.…`` find `module`."""
    parts = name.split(".")
    for i in range(1, len(parts)):
        parent = sys.modules.get(".".join(parts[:i])) or ModuleType(parts[i - 1])
        monkeypatch.setitem(sys.modules, ".".join(parts[:i]), parent)
        below = module if i == len(parts) - 1 else ModuleType(parts[i])
        monkeypatch.setattr(parent, parts[i], below, raising=False)
        monkeypatch.setitem(sys.modules, ".".join(parts[: i + 1]), below)
    return module


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    np.savez(tmp_path / "in.npz", x=np.zeros((1, 4), np.float32))
    return Tool(guests.programs(tmp_path, examples=["gelu", "softmax"]), Failures(Heard()))


def test_the_button_runs_the_selected_module_on_the_files(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ui = install(monkeypatch, "omni.ui", MagicMock())
    files = [MagicMock(), MagicMock()]
    for field, name in zip(files, ("in.npz", "out.npz")):
        field.model.get_value_as_string.return_value = str(tmp_path / name)
    ui.StringField.side_effect = files
    ui.ComboBox.return_value.model.get_item_value_model.return_value.get_value_as_int.return_value = 1
    window = Window("a tool", tool, ("gelu", "softmax"))
    (shown,) = ui.Window.call_args.args
    assert shown == "a tool"
    ui.Button.call_args.kwargs["clicked_fn"]()
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["y"], 0.25)
    real = ui.Window.return_value
    window.close()
    window.close()
    real.destroy.assert_called_once_with()


def test_the_command_runs_a_module_and_can_be_unregistered(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = ModuleType("commands")
    known: dict[str, Any] = {}
    commands.Command = object  # type: ignore[attr-defined]
    commands.register = lambda each: known.setdefault(each.__name__, each)  # type: ignore[attr-defined]
    commands.unregister = lambda each: known.pop(each.__name__)  # type: ignore[attr-defined]
    install(monkeypatch, "omni.kit.commands", commands)
    made = actions.register("RunTwoExamples", tool)
    files = {"inputs": str(tmp_path / "in.npz"), "outputs": str(tmp_path / "out.npz")}
    assert known["RunTwoExamples"](module="softmax", **files).do()
    assert not known["RunTwoExamples"](module="none", **files).do()
    actions.unregister(made)
    assert known == {}
