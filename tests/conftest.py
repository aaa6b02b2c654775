"""What all tests share: how slow or hungry tests are marked, and how a missing part shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import parts


def pytest_report_header() -> str:
    return "real parts: " + (
        "all required" if parts.required() else "missing ones skip (PORTALIS_REQUIRE_PARTS=1 fails)"
    )


@pytest.fixture(scope="session")
def wasm_backends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One backends folder (python + wasm) for every server of this test run."""
    from portalis.tritonserver import backend_directory

    return backend_directory(tmp_path_factory.mktemp("backends"), install=parts.tritonserver())


@pytest.fixture(autouse=True)
def _no_user_settings(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Colours and widths of the terminal that runs the tests must not change what the CLI prints."""
    if "portalis" in request.node.nodeid.split("/")[1:2]:
        for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("COLUMNS", "120")
