"""`portalis inspect`: the description of a module, as text and as JSON."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import wasmtime

from portalis.backend import Program
from portalis.examples.catalog import ECHO, EXAMPLES, Example
from portalis.inspection import inspect_module
from tests.backend import guests

from .conftest import ADD, Cli


def write(tmp_path: Path, text: str, name: str = "module.wasm") -> Path:
    """Write the module of the WebAssembly text `text`; returns its path."""
    path = tmp_path / name
    path.write_bytes(wasmtime.wat2wasm(text))
    return path


def rows(stdout: str) -> dict[str, str]:
    """The table of properties: values by name, with wrapped lines joined."""
    properties: dict[str, str] = {}
    name = ""
    for line in stdout.split("exports and imports", maxsplit=1)[0].splitlines()[2:]:
        match = re.match(r"^  (\S.*?)?\s{2,}(\S.*?)\s*$", line)
        if match:
            name = match[1] or name
            properties[name] = properties[name] + match[2] if match[1] is None else match[2]
    return properties


def cells(stdout: str) -> list[list[str]]:
    """The rows of the framed tables, without headings."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in stdout.splitlines() if "│" in line]


def test_it_shows_properties_imports_exports_and_interface(cli: Cli, add_wasm: Path) -> None:
    done = cli("inspect", add_wasm)
    assert (done.returncode, done.stderr) == (0, "")
    data = add_wasm.read_bytes()
    assert done.stdout.splitlines()[0].strip() == "model.wasm"
    assert rows(done.stdout) == {
        "size": f"{len(data)} bytes",
        "sha256": hashlib.sha256(data).hexdigest(),
        "memory": "none",
        "features": "WebAssembly 1.0 only",
        "WASI compliant": "yes (no imports)",
        "threads": "no",
        "start function": "no",
        "state": "none: instances are reused",
        "engine in Triton": "native: on Linux (aarch64, x86_64); python elsewhere, or where wasm.engine is python",
        "custom sections": rows(done.stdout)["custom sections"],
    }
    assert rows(done.stdout)["custom sections"].startswith("name (")
    assert cells(done.stdout) == [
        ["export", "add", "func", "(f32, f32) -> (f32)"],
        ["input", "a", "FP32", "[-1]"],
        ["input", "b", "FP32", "[-1]"],
        ["output", "y", "FP32", "[-1]"],
    ]
    title = " ".join(done.stdout.split("┘")[1].split("┏")[0].split())
    assert title == "elementwise entry 'add', from its exports; batches of up to 64"


def test_a_command_shows_its_wasi_imports_and_is_compliant(cli: Cli) -> None:
    module = EXAMPLES["text_filter"].module
    done = cli("inspect", module)
    assert done.returncode == 0
    shown = rows(done.stdout)
    assert (shown["WASI compliant"], shown["memory"]) == ("yes", "257 pages")
    assert shown["engine in Triton"] == "python: the native executor does not run commands"
    imports = [row[1] for row in cells(done.stdout) if row[0] == "import"]
    assert imports == [f"{i.module}.{i.name}" for i in inspect_module(module).imports]
    assert ["input", "args (optional)", "BYTES", "[-1]"] in cells(done.stdout)
    assert "command entry '_start', from its" in done.stdout


def test_a_gufunc_shows_its_signature(cli: Cli) -> None:
    done = cli("inspect", EXAMPLES["softmax"].module)
    assert "signature (n)->(n)" in " ".join(done.stdout.split())


@pytest.mark.parametrize("example", [*EXAMPLES.values(), ECHO], ids=lambda example: example.name)
def test_json_equals_the_inspection(cli: Cli, example: Example) -> None:
    done = cli("inspect", example.module, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == inspect_module(example.module).to_json()


def test_the_shown_interface_can_be_used_to_load_the_module(cli: Cli, tmp_path: Path) -> None:
    module = write(tmp_path, guests.ADD)
    interface = json.loads(cli("inspect", module, "--json").stdout)["interface"]
    with Program.load(module, interface=interface, cache=None) as program:
        assert program.run({"a": 1.5, "b": 2.0})["y"] == 3.5


@pytest.mark.parametrize("columns", ["40", "60", "200"])
def test_digest_and_names_are_complete_at_any_width_of_the_terminal(cli: Cli, columns: str) -> None:
    module = EXAMPLES["text_filter"].module
    done = cli("inspect", module, COLUMNS=columns)
    assert rows(done.stdout)["sha256"] == hashlib.sha256(module.read_bytes()).hexdigest()
    assert "…" not in done.stdout
    names = "".join(row[1] for row in cells(done.stdout))
    for each in inspect_module(module).imports:
        assert f"{each.module}.{each.name}" in names
    assert all(len(line) <= int(columns) for line in done.stdout.splitlines())


def test_foreign_imports_are_listed_and_cannot_be_served(cli: Cli, tmp_path: Path) -> None:
    text = '(import "env" "log" (func (param i32))) (import "js" "now" (func (result f64)))'
    module = write(tmp_path, f'(module {text} (func (export "f") (param f32) (result f32) (local.get 0)))')
    done = cli("inspect", module)
    assert done.returncode == 1
    assert rows(done.stdout)["WASI compliant"] == "no: env.log, js.now"
    assert done.stdout.splitlines()[-1] == (
        "cannot be served: it has imports that the host does not provide: env.log, js.now. The host provides only the functions of"
        " wasi_snapshot_preview1 and env.abort. Build the module without these imports."
    )
    report = json.loads(cli("inspect", module, "--json").stdout)
    assert (report["wasi_compliant"], report["not_wasi"]) == (False, ["env.log", "js.now"])


def test_shared_memory_is_reported_as_unsupported(cli: Cli, tmp_path: Path) -> None:
    text = '(module (memory 1 2 shared) (func (export "f") (param f32) (result f32) (local.get 0)))'
    done = cli("inspect", write(tmp_path, text))
    assert done.returncode == 1
    shown = rows(done.stdout)
    assert shown["threads"] == "yes: not supported by the sandbox"
    assert (shown["features"], shown["memory"]) == ("threads", "1 to 2 pages, shared")
    assert "cannot be served: it uses the WebAssembly proposal threads, which the sandbox disables" in done.stdout


def test_a_module_without_an_interface_says_what_to_declare_and_exits_with_1(cli: Cli, tmp_path: Path) -> None:
    module = write(tmp_path, guests.DOUBLE)
    done = cli("inspect", module)
    assert (done.returncode, done.stderr) == (1, "")
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"cannot be served: {module}: the entry 'double'(i32, i32, i32) -> () does not take and")
    assert "--convention gufunc --signature '(n)->(n)' with --input and --output" in last
    assert last.endswith("Its exports are: memory (memory), double(i32, i32, i32) -> ()")
    as_json = cli("inspect", module, "--json")
    assert as_json.returncode == 1
    assert (json.loads(as_json.stdout)["interface"], json.loads(as_json.stdout)["no_interface"] in last) == (None, True)


def test_invalid_code_is_reported_and_exits_with_1(cli: Cli, tmp_path: Path) -> None:
    module = tmp_path / "invalid.wasm"
    module.write_bytes(bytes(wasmtime.wat2wasm(ADD)).replace(b"\x20\x01\x92", b"\x20\x07\x92"))
    done = cli("inspect", module)
    assert done.returncode == 1
    assert rows(done.stdout)["features"] == rows(done.stdout)["threads"] == "unknown: the module is not valid"
    assert re.search(r"^cannot be served: .*unknown local 7", done.stdout, re.MULTILINE)
    assert json.loads(cli("inspect", module, "--json").stdout)["valid"] is False


def test_one_of_several_entries_is_chosen_with_entry(cli: Cli, tmp_path: Path) -> None:
    text = '(module (func (export "f") (param f32) (result f32) (local.get 0)) (export "g" (func 0)))'
    module = write(tmp_path, text)
    none = cli("inspect", module)
    assert none.returncode == 1
    assert "exports 2 functions that could be the entry: choose one with --entry" in none.stdout
    done = cli("inspect", module, "--entry", "g")
    assert done.returncode == 0
    assert "elementwise entry 'g', from its declaration" in " ".join(done.stdout.split())
    wrong = cli("inspect", module, "--entry", "h")
    assert wrong.returncode == 1
    assert "exports no function 'h'" in wrong.stdout


NAMES = ("[red]loud[/red]", "[/]", "\x1b[31mred", ":warning:", "back\\slash\\", "a\nb", "\u202ereversed", "é漢")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_are_printed_literally_with_control_characters_escaped(cli: Cli, tmp_path: Path, name: str) -> None:
    escaped = "".join(f"\\{byte:02x}" for byte in name.encode())
    text = f"""(module (import "env" "{escaped}" (func)) (@custom "{escaped}" "x")
      (func (export "{escaped}") (param f32) (result f32) (local.get 0)))"""
    done = cli("inspect", write(tmp_path, text, f"{name.replace('/', '')}.wasm"), PYTHONIOENCODING="utf-8")
    assert done.stderr == ""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    assert ["export", shown, "func", "(f32) -> (f32)"] in cells(done.stdout)
    assert ["import", f"env.{shown}", "func", "() -> ()"] in cells(done.stdout)
    assert rows(done.stdout)["WASI compliant"] == f"no: env.{shown}"
    assert rows(done.stdout)["custom sections"].startswith(f"{shown} (1 bytes)")
    assert done.stdout.splitlines()[0].strip() == f"{shown.replace('/', '')}.wasm"
    assert f"entry '{shown}'" in " ".join(done.stdout.split())
    assert all(c.isprintable() for line in done.stdout.split("\n") for c in line)


def test_names_of_tensors_are_escaped_as_well(cli: Cli, tmp_path: Path) -> None:
    module = tmp_path / "module.wasm"
    entry = {
        "entry": "add",
        "convention": "elementwise",
        "inputs": [guests.tensor("[red]"), guests.tensor("\x1b[2J")],
        "outputs": [guests.tensor("y")],
    }
    module.write_bytes(guests.wasm(guests.ADD, entry))
    done = cli("inspect", module)
    assert done.returncode == 0
    assert [row[1] for row in cells(done.stdout)[1:]] == ["[red]", "\\x1b[2J", "y"]


def test_many_exports_are_truncated_in_the_table_and_complete_in_json(cli: Cli, tmp_path: Path) -> None:
    text = "".join(f'(func (export "f{i}") (param f32) (result f32) (local.get 0))' for i in range(40))
    module = write(tmp_path, f"(module {text})")
    done = cli("inspect", module)
    assert "and 10 more (--json shows all)" in done.stdout
    assert len([row for row in cells(done.stdout) if row[0] == "export"]) == 30
    assert len(json.loads(cli("inspect", module, "--json").stdout)["exports"]) == 40


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty, not a WebAssembly module"),
        (b"just some text", "is not a WebAssembly module: it is text that begins with 'just some text'"),
        (b"(module)", "is not a WebAssembly module: it is WebAssembly text: convert it with wat2wasm"),
        (b"\0asm\x0d\0\x01\0", "is a WebAssembly component; a core module is needed: build for wasm32-wasip1"),
        (bytes(wasmtime.wat2wasm(ADD))[:29], "is not a whole WebAssembly module: "),
        (b"\x80\x81\x82\x83" * 20, "is not a WebAssembly module: it begins with 8081828380818283"),
    ],
    ids=["empty", "text", "wat", "component", "truncated", "noise"],
)
def test_a_file_that_is_not_a_module_is_a_single_line_error(
    cli: Cli, tmp_path: Path, data: bytes, message: str
) -> None:
    path = tmp_path / "file.wasm"
    path.write_bytes(data)
    done = cli("inspect", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {path} {message}")
    assert len(done.stderr.splitlines()) == 1
    error = json.loads(cli("inspect", path, "--json").stdout)["error"]
    assert (error["type"], error["message"]) == ("ModuleError", done.stderr[len("error: ") : -1])


def test_a_directory_and_a_missing_file_are_errors_that_name_them(cli: Cli, tmp_path: Path) -> None:
    folder = cli("inspect", tmp_path)
    assert (folder.returncode, folder.stderr) == (1, f"error: {tmp_path} is not a regular file\n")
    missing = cli("inspect", tmp_path / "none.wasm")
    assert missing.returncode == 1
    assert missing.stderr == f"error: {tmp_path}/none.wasm cannot be read: No such file or directory\n"
