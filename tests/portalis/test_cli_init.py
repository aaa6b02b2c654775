"""`portalis init`: the spec that it writes can be packaged without edits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import wasmtime

from .conftest import ADD, Cli
from .pipeline.conftest import OPAQUE


@pytest.fixture
def cwd(tmp_path: Path, cli: Cli) -> Path:
    """The working directory of the commands."""
    return tmp_path / "cwd"


def write(folder: Path, *names: str, wat: str = ADD) -> list[str]:
    for name in names:
        (folder / name).write_bytes(wasmtime.wat2wasm(wat))
    return list(names)


@pytest.mark.parametrize(
    "names",
    [
        ["add.wasm"],
        ["add.wasm", "more.wasm"],
        ["a b.wasm", "A-B.wasm", "a.b.wasm"],
        ["7.wasm", "!!.wasm", "größe.wasm", "class.wasm", "x" * 200 + ".wasm"],
        ["q\"uo'te\nenable_nim_packaging = true.wasm", "--only.wasm", "\x1b[31mred.wasm"],
    ],
    ids=["one", "several", "clashing", "strange", "hostile"],
)
def test_the_spec_can_be_packaged_without_edits(cli: Cli, cwd: Path, names: list[str]) -> None:
    done = cli("init", "--", *write(cwd, *names))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "wrote portalis.toml\n  next: portalis package\n"
    packaged = cli("package", "--json")
    report = json.loads(packaged.stdout)
    assert (packaged.returncode, report["status"], report["diagnostics"]["errors"]) == (0, "success", [])
    assert len(report["artifacts"]["triton_models"]) == len(names)
    assert len(report["artifacts"]["distribution_archives"]) == 1


def test_modules_without_an_interface_are_packaged_with_a_note(cli: Cli, cwd: Path) -> None:
    opaque, add = write(cwd, "opaque.wasm", wat=OPAQUE) + write(cwd, "add.wasm")
    served, alone = (0, "success"), (3, "partial_success")  # a module that is only in the archive cannot be served
    for modules, models, expected in (([opaque, add], ["add"], served), ([opaque], [], alone)):
        done = cli("init", *modules, "--force")
        assert done.returncode == (0 if models else 1)
        assert "note: opaque cannot be a Triton model yet" in done.stdout
        assert ("next: portalis package" in done.stdout) == bool(models)
        packaged = cli("package", "--json")
        report = json.loads(packaged.stdout)
        assert (packaged.returncode, report["status"]) == expected
        assert [each["model_name"] for each in report["artifacts"]["triton_models"]] == models


def test_name_version_and_path_can_be_chosen(cli: Cli, cwd: Path) -> None:
    (cwd / "to go").mkdir()
    write(cwd, "add.wasm")
    spec = "to go/own.toml"
    done = cli("init", "add.wasm", "--spec", spec, "--name", "activations", "--version", "1.2.3-rc.1")
    assert done.stdout == f"wrote {spec}\n  next: portalis package '{spec}'\n"
    assert cli("package", spec, "-q").returncode == 0
    assert (cwd / "to go" / "package" / "archives" / "activations-1.2.3-rc.1.tar.gz").is_file()


def test_an_existing_spec_is_kept_without_force(cli: Cli, cwd: Path) -> None:
    write(cwd, "add.wasm")
    (cwd / "portalis.toml").write_text("mine")
    done = cli("init", "add.wasm")
    assert done.returncode == 2
    assert "portalis.toml exists\n  Pass another file with --spec, or overwrite it with --force." in done.stderr
    assert (cwd / "portalis.toml").read_text() == "mine"
    assert cli("init", "add.wasm", "--force").returncode == 0
    assert "wasm_binaries" in (cwd / "portalis.toml").read_text()
    assert sorted(path.name for path in cwd.iterdir()) == ["add.wasm", "portalis.toml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.wasm"], "gone.wasm: cannot be read: No such file or directory"),
        (["add.wasm", "--spec", "x.yaml"], "x.yaml does not end in .toml"),
        (["add.wasm", "--spec", "none/x.toml"], "the directory none does not exist"),
        (["add.wasm", "--spec", "folder.toml"], "folder.toml is a directory"),
        (
            ["add.wasm", "--version", "one"],
            "package_version: expected a semantic version such as 1.0.0 or 1.2.0-rc.1, got 'one'",
        ),
        (["add.wasm", "--name", "My Package"], "package_name: "),
        ([], "Missing argument"),
    ],
)
def test_invalid_arguments_are_reported_and_nothing_is_written(
    cli: Cli, cwd: Path, arguments: list[str], message: str
) -> None:
    write(cwd, "add.wasm")
    (cwd / "folder.toml").mkdir()
    done = cli("init", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert sorted(path.name for path in cwd.iterdir()) == ["add.wasm", "folder.toml"]
