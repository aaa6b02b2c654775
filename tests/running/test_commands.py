"""A command in a fork behaves like a command in a new process."""

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
def test_output_and_exit_code_are_those_of_a_new_process(tmp_path: Path, arguments: list[str]) -> None:
    real = subprocess.run(
        [sys.executable, "-m", "portalis", *arguments],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    forked = portalis(*arguments, folder=tmp_path)
    assert result_without_time(forked) == result_without_time(real)


def result_without_time(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    """Exit code, standard output without timestamps, and standard error."""
    return done.returncode, re.sub(r'"timestamp": "[^"]+"', '"timestamp": ""', done.stdout), done.stderr


def test_each_command_has_its_own_directory_and_environment(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.wasm").write_bytes(EXAMPLES["gelu"].module.read_bytes())
        done = portalis("init", f"{name}.wasm", folder=tmp_path / name)
        assert (done.returncode, (tmp_path / name / "portalis.toml").exists()) == (0, True), done.stderr
    wide = portalis("inspect", GELU, folder=tmp_path, environment=os.environ | {"COLUMNS": "200"})
    narrow = portalis("inspect", GELU, folder=tmp_path, environment=os.environ | {"COLUMNS": "50"})
    assert wide.stdout != narrow.stdout


def test_variables_that_python_reads_at_startup_require_a_new_process(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('new interpreter')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    assert "new interpreter" in portalis("--version", folder=tmp_path, environment=environment).stdout
    assert "new interpreter" not in portalis("--version", folder=tmp_path).stdout
