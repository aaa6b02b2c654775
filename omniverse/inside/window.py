"""The tool's window, for a Kit with `omni.ui`."""

from __future__ import annotations

from typing import Any

from .tool import Tool


class Window:
    """Lists the modules, and runs one on a file of arrays."""

    def __init__(self, title: str, tool: Tool, names: tuple[str, ...]) -> None:
        """Raises ImportError if this Kit lacks `omni.ui`."""
        import omni.ui as ui

        self._tool = tool
        self._window: Any = ui.Window(title, width=480, height=240)
        self._names = names
        with self._window.frame, ui.VStack(spacing=4):
            for line in tool.describe():
                ui.Label(line, height=18)
            self._module = ui.ComboBox(0, *names, height=22).model
            self._inputs = self._field(ui, "inputs (.npz)")
            self._outputs = self._field(ui, "outputs (.npz)")
            ui.Button("Run", height=24, clicked_fn=self.run)
            self._result = ui.Label("", height=18)

    @staticmethod
    def _field(ui: Any, label: str) -> Any:
        with ui.HStack(height=22):
            ui.Label(label, width=110)
            return ui.StringField().model

    def run(self) -> None:
        """Run the selected module; the button calls this method."""
        index = self._module.get_item_value_model().get_value_as_int()
        files = self._inputs.get_value_as_string(), self._outputs.get_value_as_string()
        done = self._tool.run_file(self._names[index], *files)
        self._result.text = f"wrote {files[1]}" if done else "failed: see the log"

    def close(self) -> None:
        """Destroy the window."""
        if self._window is not None:
            self._window.destroy()
        self._window = None
