"""The command line as a whole: help, version, errors."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import portalis

from .conftest import Cli

COMMANDS = ("inspect", "annotate", "install-backend", "serve", "run", "infer", "demo", "doctor")


def test_help_lists_every_command(cli: Cli) -> None:
    done = cli("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"^\W*{command}\s+\w", done.stdout, re.MULTILINE), command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    done = cli(command, "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout


def test_the_command_line_imports_no_heavy_libraries() -> None:
    program = "import portalis.cli.app, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "numpy",
        "wasmtime",
        "tritonclient",
        "fastapi",
        "grpc",
        "PIL",
        "pydantic",
        "rich.console",
        "portalis.backend",
    }
    assert heavy.isdisjoint(loaded)


def test_version_prints_the_version_of_the_distribution(cli: Cli) -> None:
    assert cli("--version").stdout == f"portalis {portalis.__version__}\n"
    assert importlib.metadata.version("portalis") == portalis.__version__


def test_no_argument_shows_help_and_an_unknown_command_is_a_usage_error(cli: Cli) -> None:
    assert "Usage: " in cli().stdout + cli().stderr
    done = cli("no-such-command")
    assert done.returncode == 2
    assert "no-such-command" in done.stderr


def test_an_error_is_a_short_block_on_stderr_without_a_traceback(cli: Cli) -> None:
    done = cli("serve", "no-such-folder")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        "error: the model repository no-such-folder does not exist\n  A model repository contains "
    )
    assert "Traceback" not in done.stderr


def test_with_json_an_error_is_an_object_on_stdout(cli: Cli, tmp_path: Path) -> None:
    empty = tmp_path / "empty.wasm"
    empty.write_bytes(b"")
    done = cli("infer", "--module", empty, "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["type"] == "ModuleError"
    assert str(empty) in error["message"]


def test_the_error_names_a_file_that_cannot_be_read(cli: Cli, tmp_path: Path) -> None:
    done = cli("infer", "--module", tmp_path / "none.wasm")
    assert done.returncode == 1
    assert "none.wasm" in done.stderr
    assert "Traceback" not in done.stderr


def test_shell_completion_works(cli: Cli) -> None:
    """The test sets a shell's variables, because `--show-completion` needs a shell among its parent processes."""

    def complete(**variables: str) -> str:
        script = Path(sys.executable).with_name("portalis")  # the variable's name contains that of the executable
        return subprocess.run(
            [script], env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    assert "--show-completion" in cli("--help").stdout
    assert "complete" in complete(_PORTALIS_COMPLETE="source_bash")
    completions = complete(_PORTALIS_COMPLETE="complete_bash", COMP_WORDS="portalis ins", COMP_CWORD="1")
    assert completions.split() == ["inspect", "install-backend"]
