"""`portalis verify`: exit codes and output, for the package of a real run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from .conftest import ADD, Cli

NAME = "demo-1.0.0.tar.zst"
SPEC: dict[str, Any] = {
    "package_name": "demo",
    "package_version": "1.0.0",
    "output_directory": "out",
    "enable_nim_packaging": False,
    "enable_omniverse_packaging": False,
    "wasm_binaries": ["add.wasm"],
    "distribution_config": {"archive_format": "TarZst", "checksum_algorithms": ["SHA256", "SHA512", "Blake3"]},
}


@pytest.fixture
def output(tmp_path: Path, cli: Cli) -> Path:
    """The output directory of `portalis package`."""
    folder = tmp_path / "cwd"
    (folder / "add.wasm").write_bytes(wasmtime.wat2wasm(ADD))
    (folder / "portalis.json").write_text(json.dumps(SPEC))
    done = cli("package", "portalis.json")
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_an_output_directory_is_verified_including_its_archive(output: Path, cli: Cli) -> None:
    done = cli("verify", "out")
    assert done.returncode == 0, done.stdout
    assert f"out/archives/{NAME}: verified" in done.stdout and done.stdout.endswith("out: verified\n")
    (output / "publish.sh").write_text("# left by portalis publish\n")
    assert cli("verify", "out").returncode == 0


def test_changes_in_an_output_directory_are_reported(output: Path, cli: Cli) -> None:
    module = next((output / "model_repository").rglob("model.wasm"), None) or next(output.rglob("*.wasm"))
    module.write_bytes(module.read_bytes() + b"\0")
    (output / "more").write_text("x")
    done = cli("verify", output)
    assert done.returncode == 1
    assert f"changed: '{module.relative_to(output)}': expected " in done.stdout
    assert "extra: 'more' is in the package" in done.stdout and done.stdout.endswith(": NOT verified: 2 findings\n")


def test_a_damaged_archive_exits_with_1_and_a_remediation(output: Path, cli: Cli) -> None:
    path = output / "archives" / NAME
    path.write_bytes(path.read_bytes()[:-5])
    done = cli("verify", path)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert (
        "FAILED  structure" in lines and "          the archive is truncated: its compressed data has no end" in lines
    )
    assert (
        "          -> Download the archive and the files next to it again. If the error remains, report it to the publisher."
        in lines
    )
    assert any("does not match the archive: expected " in line and ", got " in line for line in lines)
    assert lines[-1].startswith(f"{path}: NOT verified: ")


def test_json_contains_all_results(output: Path, cli: Cli) -> None:
    path = shutil.copy(output / "archives" / NAME, output.parent)
    done = cli("verify", path, "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["verified"], report["format"]) == (0, True, "TarZst")
    assert set(report["digests"]) == {"SHA256", "SHA512", "Blake3"} and report["files"] > 3
    assert {check["name"]: check["passed"] for check in report["checks"]} == dict.fromkeys(
        ("structure", "paths", "checksums", "manifest", "provenance", "proof"), True
    )
    Path(path).write_bytes(b"x")
    done = cli("verify", path, "--json")
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)["checks"][0]["findings"]
    assert finding["message"].startswith("not an archive in a supported format") and finding["remediation"]


def test_limits_are_set_on_the_command_line(output: Path, cli: Cli) -> None:
    path = output / "archives" / NAME
    for option, message in (
        ("--max-bytes", "are larger than 2 bytes in total"),
        ("--max-entries", "more than 2 files and directories"),
    ):
        done = cli("verify", path, option, "2")
        assert done.returncode == 1 and message in done.stdout and option in done.stdout
    assert cli("verify", path, "--max-ratio", "0").returncode == 2


def test_an_invalid_argument_is_a_usage_error(tmp_path: Path, cli: Cli) -> None:
    for argument in ("gone.tar.gz", "."):
        done = cli("verify", argument)
        assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stdout == ""


def test_control_characters_in_names_are_printed_escaped(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "cwd" / "got"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    (folder / "a\x1b[2Jb").write_text("")
    done = cli("verify", folder)
    assert done.returncode == 1 and "\x1b" not in done.stdout and "\\x1b" in done.stdout
