"""Shared resources of a test run: created by one process, available to all, removed with the run."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from portalis import free_ports
from tests.parts import ROOT
from tests.running import session
from tests.running.waiting import until


@pytest.fixture
def separate_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session for this test only."""
    monkeypatch.setenv(session.FOLDER, str(tmp_path))
    monkeypatch.setenv(session.PROCESS, str(os.getpid()))
    return tmp_path


def python(program: str) -> subprocess.Popen[str]:
    """Start another process of the same session."""
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("separate_session")
def test_concurrent_processes_share_the_value_that_one_of_them_computes() -> None:
    program = """
        import os, time
        from tests.running import session
        def make():
            time.sleep(0.5)
            return os.getpid()
        print(session.once("thing", make))
    """
    values = [process.communicate()[0] for process in [python(program) for _ in range(3)]]
    assert len(set(values)) == 1 and int(values[0]) > 0


@pytest.mark.usefixtures("separate_session")
def test_a_failed_computation_is_repeated() -> None:
    def fail() -> int:
        raise OSError("failed")

    with pytest.raises(OSError, match="failed"):
        session.once("thing", fail)
    assert session.once("thing", lambda: 7) == 7


@pytest.mark.usefixtures("separate_session")
def test_no_port_is_assigned_twice_in_a_session() -> None:
    program = "from tests.running.ports import free_port; print(*(free_port() for _ in range(50)))"
    ports = " ".join(process.communicate()[0] for process in [python(program) for _ in range(3)]).split()
    assert len(ports) == len(set(ports)) == 150
    end = int(free_ports.PORT_RANGE_FILE.read_text().split()[0])
    assert all(free_ports.FIRST_PORT <= int(port) < end for port in ports)


KEPT = """
    import os, sys, time
    from pathlib import Path
    from tests.running import session
    session.begin()
    folder = session.folder() / "server"
    folder.mkdir()
    session.keep("server", [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(3600)"], folder / "log")
    while not (folder / "log").read_text():
        time.sleep(0.05)
    print(os.environ["PORTALIS_TEST_SESSION"], (folder / "log").read_text(), flush=True)
    sys.stdin.read()
    session.end()
"""


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
def test_a_server_ends_with_the_run_even_if_the_run_is_killed(killed: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KEPT)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    folder, server = process.stdout.readline().split()
    assert Path("/proc", server).exists()
    if killed:
        process.kill()
    process.stdin.close()
    process.wait()
    until(lambda: not Path("/proc", server).exists(), "the server still runs")
    until(lambda: not Path(folder, "server").exists(), "the server's directory still exists")
    assert Path(folder).exists() is killed  # the next run removes the directory of a killed one
    if killed:
        session_folder = os.environ[session.FOLDER]
        subprocess.run(
            [sys.executable, "-c", "from tests.running import session; session.begin(); session.end()"], cwd=ROOT
        )
        assert not Path(folder).exists() and Path(session_folder).exists()
