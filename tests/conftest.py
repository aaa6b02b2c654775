"""Hooks and fixtures of all tests: the session, the order of tests, the summary of missing parts, shared servers."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests import parts
from tests.parts import lookup
from tests.running import groups, missing, session, turns

if TYPE_CHECKING:
    from portalis.tritonserver import TritonServer

# no deadline: the time of an example depends more on the machine than on the code
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("patient"), max_examples=25)  # for `make check`
settings.load_profile("patient")

# Triton ends a stub's process before Python runs its exit functions, so coverage must be saved earlier
MEASURED_MODEL_PY = """
import coverage
from portalis_backend.triton.model import TritonPythonModel as Model

class TritonPythonModel(Model):
    def finalize(self):
        super().finalize()
        measured = coverage.Coverage.current()
        measured.stop()  # afterwards, Coverage.current() returns None
        measured.save()
"""


def pytest_report_header() -> str:
    return "parts: " + (
        "all required" if parts.required() else "tests skip if one is missing (PORTALIS_REQUIRE_PARTS=1: they fail)"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        session.begin()
        config.add_cleanup(session.end)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    groups.arrange(items)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # modules and tests exist until the end: excluded from further collections


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> groups.GroupScheduling:
    config.option.loadscopereorder = False  # the tests are sorted already
    return groups.GroupScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with turns.turn(alone=item.get_closest_marker(groups.ALONE) is not None):
        lookup.current = item
        try:
            return (yield)
        finally:
            lookup.current = None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [each for kind in ("skipped", "failed", "error") for each in terminalreporter.stats.get(kind, ())]
    lines = missing.summary(reports)
    terminalreporter.write_sep("=", "missing parts, and tests that did not run")
    for line in lines or ["no part is missing, and every test ran"]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def registry_program() -> str:
    """The path of a registry's executable. As a fixture, it marks each test that starts a registry."""
    return parts.docker_registry()


@pytest.fixture(scope="session")
def wasm_backends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One backend directory (python and wasm) for all servers of this test run."""
    from portalis.tritonserver import create_backend_directory

    folder = create_backend_directory(tmp_path_factory.mktemp("backends"), install=parts.tritonserver())
    if os.environ.get("COVERAGE_PROCESS_START") or os.environ.get("COVERAGE_PROCESS_CONFIG"):
        (folder / "wasm" / "model.py").write_text(MEASURED_MODEL_PY)
    return folder


@pytest.fixture(scope="session")
def shared_triton(wasm_backends: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A Triton server for tests that only add models.

    They write models with unique names into its repository, and load them with `portalis.triton_client.load_model`.
    """
    from portalis.tritonserver import TritonServer

    repository = tmp_path_factory.mktemp("shared")
    with TritonServer(repository, backend_directory=wasm_backends, model_control="explicit") as server:
        yield server


@pytest.fixture(autouse=True)
def _no_user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the CLI's output independent of the colors and the width of the terminal that runs the tests."""
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
