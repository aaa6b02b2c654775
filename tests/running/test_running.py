"""Scheduling of tests in groups, exclusive tests, required markers, and the summary of missing parts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import parts
from tests.parts import ROOT, lookup
from tests.running import groups, missing, session


def run_pytest(*arguments: str, **environment: str) -> str:
    """The output of a separate test run."""
    outer = {session.FOLDER, session.PROCESS, "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_CURRENT_TEST"}
    kept = {name: value for name, value in os.environ.items() if name not in outer}
    plugins = ("-p", "xdist.plugin")  # loading the other plugins takes most of such a run's time
    command = [sys.executable, "-m", "pytest", *plugins, "-v", "-o", "cache_dir=build/pytest-inner", *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=kept | environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


def test_all_tests_of_a_file_run_in_one_worker() -> None:
    printed = run_pytest(
        "-n",
        "2",
        "tests/portalis/test_naming.py",
        "tests/dist/archive/test_archive_paths.py",
        "tests/dist/archive/test_checksums.py",
    )
    ran = set(re.findall(r"\[(gw\d)\] \[ *\d+%\] PASSED (\S+?)::", printed))
    assert {worker for worker, _ in ran} == {"gw0", "gw1"}, printed
    assert len(ran) == 3, "the tests of a file ran in different workers"


def test_a_missing_part_is_reported_once_at_the_end(tmp_path: Path) -> None:
    arguments = ("tests/portalis/oci/test_registry.py", "-k", "oras_pulls or a_large_file", "-n", "2")
    printed = run_pytest(*arguments, PATH=str(tmp_path), PORTALIS_REQUIRE_PARTS="0")
    lines = printed.split("missing parts, and tests that did not run")[1].splitlines()
    assert lines[1] == (
        "missing part: docker-registry: `make parts` (as root on Debian), or `apt-get install docker-registry`: 2 tests not run"
    )
    assert lines[2] == "    tests/portalis/oci/test_registry.py (2)"
    required = run_pytest(*arguments, PATH=str(tmp_path), PORTALIS_REQUIRE_PARTS="1")
    assert "2 errors" in required and "docker-registry" in required.split("tests that did not run")[1]


def test_other_skip_reasons_follow_the_missing_parts() -> None:
    reports = [
        report("tests/a.py::one", ("a.py", 1, "Skipped: this is not a git checkout")),
        report("tests/b.py::one", ("b.py", 1, f"Skipped: {lookup.MISSING}Zig: how")),
        report("tests/b.py::two", f"Failed: {lookup.MISSING}Zig: how", skipped=False),
        report("tests/c.py::one", "AssertionError", skipped=False),
    ]
    assert missing.summary(reports) == [
        "missing part: Zig: how: 2 tests not run",
        "    tests/b.py (2)",
        "this is not a git checkout: 1 test not run",
        "    tests/a.py (1)",
    ]


def report(nodeid: str, longrepr: Any, *, skipped: bool = True) -> Any:
    return SimpleNamespace(nodeid=nodeid, longrepr=longrepr, skipped=skipped)


def test_a_test_that_starts_a_part_without_its_marker_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"uses docker_registry: mark it with @pytest\.mark\.registry"):
        parts.docker_registry()
    with pytest.raises(pytest.fail.Exception, match=r"uses tritonserver: mark it with @pytest\.mark\.triton"):
        parts.tritonserver()


def test_an_exclusive_turn_waits_for_running_tests_and_blocks_new_ones(tmp_path: Path) -> None:
    """Two processes take shared turns without a pause; the exclusive turn of a third must come, and not overlap them."""
    program = textwrap.dedent("""
        import sys, time
        from tests.running.turns import turn
        alone, times, pause = sys.argv[1] == "alone", int(sys.argv[2]), float(sys.argv[3])
        for _ in range(times):
            with turn(alone=alone):
                print(sys.argv[1], "begins", time.monotonic_ns(), flush=True)
                time.sleep(pause)
                print(sys.argv[1], "ends", time.monotonic_ns(), flush=True)
    """)
    environment = os.environ | {session.FOLDER: str(tmp_path), session.PROCESS: str(os.getpid())}

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    sharing = [start("shared", "60", "0.05") for _ in range(2)]
    time.sleep(0.5)  # time for the processes to start
    single = start("alone", "1", "0.5")
    lines = "".join(process.communicate()[0] for process in [single, *sharing]).splitlines()
    events = sorted((int(at), who, what) for who, what, at in (line.split() for line in lines))
    order = [(who, what) for _, who, what in events]
    begins = order.index(("alone", "begins"))
    assert order[begins + 1] == ("alone", "ends")
    before = order[:begins]
    assert before.count(("shared", "begins")) == before.count(("shared", "ends"))


def test_all_listed_groups_exist() -> None:
    names = [*groups.WAITING, *groups.COMPUTING]
    assert len(names) == len(set(names))
    for name in {*names, *groups.SHARED} - {*groups.SHARED.values()}:
        assert (ROOT / name).is_file(), name
