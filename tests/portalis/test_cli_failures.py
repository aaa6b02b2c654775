"""With `--json`, each failure of a command is one document that follows the error contract of packaging."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import wasmtime

from portalis.cli.app import app
from portalis.contracts.errors import PackagingError
from portalis.contracts.json_schemas import schema_text
from portalis.problems import MAX_PROBLEMS

from .conftest import ADD, Cli

SCHEMA = json.loads(schema_text("error"))
UNUSABLE = "unix:///nowhere/engine.sock"
# failures of each command: arguments, exit code, error_type, stage, and a part of the message
FAILURES: dict[str, tuple[tuple[str, ...], int, str, str, str]] = {
    "annotate: no module": (
        ("annotate", "none.wasm", "--in-place"),
        1,
        "ValidationError",
        "InputValidation",
        "none.wasm",
    ),
    "annotate: two outputs": (("annotate", "m.wasm"), 2, "ValidationError", "InputValidation", "no output file given"),
    "annotate: an invalid interface": (
        ("annotate", "m.wasm", "--in-place", "--from", "text.txt"),
        2,
        "ValidationError",
        "InputValidation",
        "not JSON",
    ),
    "build-images: an invalid spec": (
        ("build-images", "text.txt"),
        2,
        "ValidationError",
        "InputValidation",
        "has the unknown extension '.txt'",
    ),
    "build-images: no engine": (
        ("build-images", "--triton"),
        1,
        "ContainerBuildError",
        "NimGeneration",
        "cannot connect to a Docker engine",
    ),
    "demo: an unknown example": (
        ("demo", "none"),
        2,
        "ValidationError",
        "InputValidation",
        "unknown example none",
    ),
    "infer: no module": (("infer", "--module", "none.wasm"), 1, "ValidationError", "InputValidation", "none.wasm"),
    "infer: no server": (
        ("infer", "-m", "x", "--url", "127.0.0.1:9", "-i", "x=1"),
        1,
        "ValidationError",
        "InputValidation",
        "127.0.0.1:9",
    ),
    "init: no module": (("init", "text.txt"), 2, "ValidationError", "InputValidation", "text.txt"),
    "inspect: no module": (("inspect", "text.txt"), 1, "ValidationError", "InputValidation", "text.txt"),
    "install-backend: no folder": (
        ("install-backend", "text.txt"),
        2,
        "ValidationError",
        "InputValidation",
        "text.txt",
    ),
    "keygen: no passphrase": (
        ("keygen", "k", "--passphrase-file", "none"),
        2,
        "ValidationError",
        "InputValidation",
        "none",
    ),
    "package: no spec": (("package",), 2, "ValidationError", "InputValidation", "portalis.toml"),
    "package: no such file": (("package", "none.toml"), 2, "ValidationError", "InputValidation", "does not exist"),
    "package: no such contract": (
        ("package", "--input", "none.json"),
        2,
        "ValidationError",
        "InputValidation",
        "none.json",
    ),
    "package: an invalid spec": (("package", "wrong.json"), 2, "ValidationError", "InputValidation", "package_version"),
    "publish: no output": (
        ("publish", "none", "--registry", "x.example.com"),
        2,
        "ValidationError",
        "InputValidation",
        "none",
    ),
    "run: no module": (("run", "none.wasm"), 2, "ValidationError", "InputValidation", "none.wasm"),
    "schema: no such schema": (("schema", "none"), 2, "ValidationError", "InputValidation", "unknown schema 'none'"),
    "serve: no repository": (("serve", "none"), 2, "ValidationError", "InputValidation", "none"),
    "verify: no archive": (("verify", "none"), 2, "ValidationError", "InputValidation", "none"),
    "an unknown option": (("verify", "x", "--none"), 2, "ValidationError", "InputValidation", "--none"),
    "a missing argument": (("inspect",), 2, "ValidationError", "InputValidation", "MODULE"),
    "an invalid value": (
        ("verify", "x", "--max-bytes", "many"),
        2,
        "ValidationError",
        "InputValidation",
        "--max-bytes",
    ),
    "an unknown command": (("none",), 2, "ValidationError", "InputValidation", "none"),
}


def failure(cli: Cli, *arguments: str, code: int) -> dict[str, Any]:
    """The error document of a command that must fail without output on stderr."""
    done = cli(*arguments, "--json", DOCKER_HOST=UNUSABLE, CONTAINER_HOST=UNUSABLE)
    assert (done.returncode, done.stderr) == (code, ""), done.stdout
    document = json.loads(done.stdout)
    assert list(document) == ["error"]
    error: dict[str, Any] = document["error"]
    jsonschema.validate(error, SCHEMA)
    PackagingError.model_validate(error)
    return error


@pytest.fixture
def folder(tmp_path: Path, cli: Cli) -> Path:
    """The working directory of the command, with a module, a text file, and a spec with two problems."""
    directory = tmp_path / "cwd"
    (directory / "m.wasm").write_bytes(wasmtime.wat2wasm(ADD))
    (directory / "text.txt").write_text("text")
    wrong = {"package_name": "demo", "package_version": "1", "output_directory": "out", "wasm_binaries": ["gone.wasm"]}
    (directory / "wrong.json").write_text(json.dumps(wrong))
    return directory


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_one_document_that_follows_the_contract(cli: Cli, folder: Path, name: str) -> None:
    arguments, code, kind, stage, fragment = FAILURES[name]
    error = failure(cli, *arguments, code=code)
    assert (error["error_type"], error["context"]["stage"]) == (kind, stage)
    assert fragment in error["message"]
    assert error["context"]["pipeline_id"] and error["context"]["agent"] == "PackagingAgent"
    assert error["remediation"]["summary"]
    assert all(each["remediation"] for each in error["problems"])


def test_every_command_is_in_the_table() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert commands - {arguments[0] for arguments, *_ in FAILURES.values()} == {"doctor"}  # doctor only reports


def test_every_command_has_the_option() -> None:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert any("--json" in parameter.opts for parameter in command.params), name


def test_the_details_contain_the_problems_of_a_spec(cli: Cli, folder: Path) -> None:
    error = failure(cli, "package", "wrong.json", code=2)
    assert error["details"]["kind"] == "InputError"
    assert error["details"]["source"] == "wrong.json"
    assert [each.partition(":")[0] for each in error["details"]["validation_errors"]] == [
        "package_version",
        "wasm_binaries[0].path",
    ]
    assert [each["where"] for each in error["problems"]] == ["package_version", "wasm_binaries[0].path"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"pipeline_id": "run-7"}, "run-7"), ({}, "demo-1"), ({"package_name": 1}, "portalis-package")],
)
def test_the_error_of_an_invalid_spec_has_a_pipeline_id(
    cli: Cli, folder: Path, changes: dict[str, Any], expected: str
) -> None:
    path = folder / "wrong.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert failure(cli, "package", "wrong.json", code=2)["context"]["pipeline_id"] == expected


def test_the_error_of_a_valid_spec_has_its_pipeline_id(cli: Cli, folder: Path) -> None:
    spec = {"package_name": "demo", "package_version": "1.0.0", "output_directory": "out", "wasm_binaries": ["m.wasm"]}
    (folder / "right.json").write_text(json.dumps(spec | {"pipeline_id": "run-8"}))
    error = failure(cli, "package", "right.json", "--only", "none", code=2)
    assert (error["context"]["pipeline_id"], error["remediation"]["summary"] != "") == ("run-8", True)


def test_the_error_of_an_invalid_contract_has_its_pipeline_id(cli: Cli, folder: Path) -> None:
    (folder / "input.json").write_text(json.dumps({"context": {"pipeline_id": "run-9"}}))
    error = failure(cli, "package", "--input", "input.json", code=2)
    assert error["context"]["pipeline_id"] == "run-9"
    assert error["problems"]


def test_the_number_of_problems_is_limited(cli: Cli, folder: Path) -> None:
    (folder / "many.json").write_text(json.dumps({f"k{i}": 1 for i in range(5000)}))
    assert len(failure(cli, "package", "many.json", code=2)["problems"]) == MAX_PROBLEMS + 1


def test_an_internal_error_follows_the_contract_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from portalis.cli import failures

    for as_json in (False, True):
        assert failures.report_error(ZeroDivisionError("no"), "verify", as_json=as_json) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: internal error: ZeroDivisionError: no\n")
    error = json.loads(captured.out)["error"]
    jsonschema.validate(error, SCHEMA)
    assert (error["error_type"], error["type"]) == ("ValidationError", "ZeroDivisionError")


def test_results_and_help_are_not_errors(cli: Cli, folder: Path) -> None:
    assert cli("schema", "--json").stdout.startswith("{")
    assert "Usage: " in cli("verify", "--json", "--help").stdout
    done = cli("inspect", "m.wasm", "--json")
    assert (done.returncode, "error" in json.loads(done.stdout)) == (0, False)
