"""`portalis inspect --omniverse`: whether a module can run in Kit, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import wasmtime

from portalis.examples.catalog import EXAMPLES

from .conftest import Cli

CALLABLE = '(func (export "f") (param f32) (result f32) local.get 0)'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "module.wasm"
    path.write_bytes(wasmtime.wat2wasm(f"(module {text} {CALLABLE})"))
    return path


def test_a_compatible_module_can_run_in_kit(cli: Cli) -> None:
    done = cli("inspect", "--omniverse", EXAMPLES["gelu"].module)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "Omniverse Kit: can run there"


def test_without_the_option_kit_is_not_mentioned(cli: Cli) -> None:
    assert "Kit" not in cli("inspect", EXAMPLES["gelu"].module).stdout


def test_each_finding_has_a_reason_and_a_remediation(cli: Cli, tmp_path: Path) -> None:
    module = write(tmp_path, '(import "game" "tick" (func)) (memory (export "memory") 1 2 shared)')
    done = cli("inspect", "--omniverse", module)
    assert done.returncode == 1
    section = done.stdout.partition("Omniverse Kit: ")[2]
    assert section.splitlines() == [
        "cannot run there",
        (
            "  error: it is not WASI compliant: it has imports that the host does not provide: game.tick. The host provides only the"
            " functions of wasi_snapshot_preview1 and env.abort"
        ),
        "    Build the module without these imports.",
        (
            "  error: it uses threads: it uses the WebAssembly proposal threads, which the sandbox disables (a shared"
            " memory)"
        ),
        "    Build it without threads (no -pthread, no -matomics).",
    ]


def test_a_warning_is_not_a_failure(cli: Cli, tmp_path: Path) -> None:
    done = cli("inspect", "--omniverse", write(tmp_path, '(memory (export "memory") 2000)'))
    assert done.returncode == 0
    assert "  warning (medium): it requires a large amount of memory" in done.stdout


@pytest.mark.parametrize(("text", "code"), [("", 0), ('(import "a" "b" (func))', 1)])
def test_json_contains_the_same_findings(cli: Cli, tmp_path: Path, text: str, code: int) -> None:
    done = cli("inspect", "--omniverse", "--json", write(tmp_path, text))
    assert done.returncode == code
    report = json.loads(done.stdout)
    assert report["omniverse"]["compatible"] is (code == 0)
    assert [each["severity"] for each in report["omniverse"]["findings"]] == ["Error"] * code
    assert "omniverse" not in json.loads(cli("inspect", "--json", write(tmp_path, text)).stdout)


def test_control_characters_in_names_are_escaped(cli: Cli, tmp_path: Path) -> None:
    done = cli("inspect", "--omniverse", write(tmp_path, '(import "\\1b[31m[bold]" "x" (func))'))
    assert "\x1b" not in done.stdout
    assert "[bold].x" in done.stdout
