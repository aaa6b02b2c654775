"""The fork that becomes a command is like a process that was started for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from portalis.examples.catalog import EXAMPLES
from tests.running.commands import portalis

GELU = str(EXAMPLES["gelu"].module)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["inspect", GELU],
        ["inspect", "nowhere.wasm"],
        ["verify", "--json", "nowhere"],
        ["no-such-command"],
        [],
    ],
    ids=lambda each: " ".join(each)[:20],
)
def test_it_prints_and_ends_as_a_process_of_its_own_does(tmp_path: Path, arguments: list[str]) -> None:
    real = subprocess.run(
        [sys.executable, "-m", "portalis", *arguments],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    forked = portalis(*arguments, folder=tmp_path)
    assert visible(forked) == visible(real)


def visible(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    """The exit code and what was printed, without the time of day."""
    return done.returncode, re.sub(r'"timestamp": "[^"]+"', '"timestamp": ""', done.stdout), done.stderr


def test_each_has_its_own_folder_and_environment(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.wasm").write_bytes(EXAMPLES["gelu"].module.read_bytes())
        done = portalis("init", f"{name}.wasm", folder=tmp_path / name)
        assert (done.returncode, (tmp_path / name / "portalis.toml").exists()) == (0, True), done.stderr
    wide = portalis("inspect", GELU, folder=tmp_path, environment=os.environ | {"COLUMNS": "200"})
    narrow = portalis("inspect", GELU, folder=tmp_path, environment=os.environ | {"COLUMNS": "50"})
    assert wide.stdout != narrow.stdout


def test_what_python_reads_at_its_start_gets_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('started anew')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    assert "started anew" in portalis("--version", folder=tmp_path, environment=environment).stdout
    assert "started anew" not in portalis("--version", folder=tmp_path).stdout
