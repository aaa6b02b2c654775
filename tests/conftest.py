"""What all tests share: which parts are required, and the backends folder of every server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import parts

# Triton ends a stub's process before Python has run its exit functions, so coverage has to be saved earlier
MEASURED_MODEL_PY = """
import coverage
from portalis_backend.triton_model import TritonPythonModel as Model

class TritonPythonModel(Model):
    def finalize(self):
        super().finalize()
        measured = coverage.Coverage.current()
        measured.stop()  # from here there is no current one
        measured.save()
"""


def pytest_report_header() -> str:
    return "real parts: " + (
        "all required" if parts.required() else "missing ones skip (PORTALIS_REQUIRE_PARTS=1 fails)"
    )


@pytest.fixture(scope="session")
def wasm_backends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One backends folder (python + wasm) for every server of this test run."""
    from portalis.tritonserver import backend_directory

    folder = backend_directory(tmp_path_factory.mktemp("backends"), install=parts.tritonserver())
    if os.environ.get("COVERAGE_PROCESS_START") or os.environ.get("COVERAGE_PROCESS_CONFIG"):
        (folder / "wasm" / "model.py").write_text(MEASURED_MODEL_PY)
    return folder


@pytest.fixture(autouse=True)
def _no_user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours and widths of the terminal that runs the tests must not change what the CLI prints."""
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
