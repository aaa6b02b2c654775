"""What a run has once: made by one process, kept for all, and gone with the run."""

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
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session of the test's own."""
    monkeypatch.setenv(session.FOLDER, str(tmp_path))
    monkeypatch.setenv(session.PROCESS, str(os.getpid()))
    return tmp_path


def python(program: str) -> subprocess.Popen[str]:
    """Another process of the same session."""
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("own")
def test_processes_that_ask_at_the_same_time_get_what_one_of_them_has_made() -> None:
    program = """
        import os, time
        from tests.running import session
        def make():
            time.sleep(0.5)
            return os.getpid()
        print(session.once("thing", make))
    """
    told = [process.communicate()[0] for process in [python(program) for _ in range(3)]]
    assert len(set(told)) == 1 and int(told[0]) > 0


@pytest.mark.usefixtures("own")
def test_what_could_not_be_made_is_tried_again() -> None:
    def fail() -> int:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        session.once("thing", fail)
    assert session.once("thing", lambda: 7) == 7


@pytest.mark.usefixtures("own")
def test_no_port_is_given_twice_whichever_process_asks() -> None:
    program = "from tests.running.ports import free_port; print(*(free_port() for _ in range(50)))"
    given = " ".join(process.communicate()[0] for process in [python(program) for _ in range(3)]).split()
    assert len(given) == len(set(given)) == 150
    end = int(free_ports.PORT_RANGE_FILE.read_text().split()[0])
    assert all(free_ports.FIRST_PORT <= int(port) < end for port in given)


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
def test_a_server_ends_with_the_run_however_that_ends(killed: bool) -> None:
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
    until(lambda: not Path(folder, "server").exists(), "its folder is left")
    assert Path(folder).exists() is killed  # the next run removes it
    if killed:
        session_folder = os.environ[session.FOLDER]
        subprocess.run(
            [sys.executable, "-c", "from tests.running import session; session.begin(); session.end()"], cwd=ROOT
        )
        assert not Path(folder).exists() and Path(session_folder).exists()
