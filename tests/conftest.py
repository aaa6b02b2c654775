"""What all tests share: the session, groups and turns of its workers, the summary of missing parts, and the backends
folder of every server."""

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

# how long an example takes says more of the machine than of the code
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("patient"), max_examples=25)  # for `make check`
settings.load_profile("patient")

# Triton ends a stub's process before Python has run its exit functions, so coverage has to be saved earlier
MEASURED_MODEL_PY = """
import coverage
from portalis_backend.triton.model import TritonPythonModel as Model

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


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        session.begin()
        config.add_cleanup(session.end)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    groups.arrange(items)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # modules and tests stay to the end: no collection has to look through them again


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> groups.ByGroup:
    config.option.loadscopereorder = False  # they are in order
    return groups.ByGroup(config, log)


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
    terminalreporter.write_sep("=", "missing parts, and what was not run")
    for line in lines or ["all parts are here, and every test was run"]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def registry_program() -> str:
    """The program of a registry: a fixture, so that each test that starts one is marked."""
    return parts.docker_registry()


@pytest.fixture(scope="session")
def wasm_backends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One backends folder (python + wasm) for every server of this test run."""
    from portalis.tritonserver import create_backend_directory

    folder = create_backend_directory(tmp_path_factory.mktemp("backends"), install=parts.tritonserver())
    if os.environ.get("COVERAGE_PROCESS_START") or os.environ.get("COVERAGE_PROCESS_CONFIG"):
        (folder / "wasm" / "model.py").write_text(MEASURED_MODEL_PY)
    return folder


@pytest.fixture(scope="session")
def shared_triton(wasm_backends: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A Triton for tests that only add models: they write them into its repository, under names that no other test has, and
    load them (`portalis.triton_client.load_model`)."""
    from portalis.tritonserver import TritonServer

    repository = tmp_path_factory.mktemp("shared")
    with TritonServer(repository, backend_directory=wasm_backends, model_control="explicit") as server:
        yield server


@pytest.fixture(autouse=True)
def _no_user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours and widths of the terminal that runs the tests must not change what the CLI prints."""
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
