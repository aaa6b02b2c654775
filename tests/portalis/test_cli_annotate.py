"""`portalis annotate`: the annotated module, and which files a failure leaves unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wasmtime

from portalis.backend import Program
from portalis.examples.catalog import ECHO
from tests import parts
from tests.backend import guests

from .conftest import Cli
from .inspection.test_inspector import sections
from .test_annotation import TWO, entries, others

GUFUNC = ("--convention", "gufunc", "--signature", "(n)->(n)", "-i", "x:FP32[-1]", "--output", "y:FP32[-1]")


@pytest.fixture
def double(tmp_path: Path) -> Path:
    """A module whose interface cannot be derived."""
    path = tmp_path / "in" / "double.wasm"
    path.parent.mkdir()
    path.write_bytes(wasmtime.wat2wasm(guests.DOUBLE))
    return path


@pytest.fixture
def untouched(double: Path) -> Iterator[Path]:
    """`double`; the test must neither change it nor add files to its directory."""
    before, status = double.read_bytes(), double.stat()
    yield double
    assert double.read_bytes() == before
    assert (double.stat().st_ino, double.stat().st_mode) == (status.st_ino, status.st_mode)
    assert [path.name for path in double.parent.iterdir()] == ["double.wasm"]


def test_a_module_that_cannot_be_served_runs_once_it_is_annotated(cli: Cli, untouched: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.wasm"
    assert cli("inspect", untouched).returncode == 1
    done = cli("annotate", untouched, *GUFUNC, "-o", out)
    assert (done.returncode, done.stderr) == (0, "")
    size = out.stat().st_size
    assert done.stdout == f"{out}: {size} bytes, describes gufunc 'double'\n"
    assert others(out.read_bytes()) == sections(untouched.read_bytes())
    assert cli("inspect", out).returncode == 0
    with Program.load(out, cache=None) as program:
        assert program.interface.source == "section"
        assert program.run({"x": np.array([1.5, -2], np.float32)})["y"].tolist() == [3, -4]


SCALE = """(module (memory (export "memory") 1) (func (export "helper"))
  (func (export "scale") (param $x i32) (param $y i32) (param $m i32) (param $n i32) (param $by f64) (result i32)
    (i32.const 0)))"""


def test_every_option_is_written(cli: Cli, tmp_path: Path) -> None:
    module = tmp_path / "m.wasm"
    module.write_bytes(wasmtime.wat2wasm(SCALE))
    done = cli(
        *("annotate", module, "--in-place", "--entry", "scale", "--convention", "gufunc"),
        *("--signature", "(m,n)->(m,n)", "-i", "x:FP64[-1,-1]", "--output", "y:FP64[-1,-1]"),
        *("--args", "x,y,m,n,2.5", "--returns", "status", "--max-batch-size", "4", "--description", "larger", "--json"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = {
        "abi": 1,
        "entry": "scale",
        "convention": "gufunc",
        "signature": "(m,n)->(m,n)",
        "args": ["x", "y", "m", "n", 2.5],
        "returns": "status",
        "max_batch_size": 4,
        "inputs": [{"name": "x", "dtype": "FP64", "dims": [-1, -1]}],
        "outputs": [{"name": "y", "dtype": "FP64", "dims": [-1, -1]}],
        "description": "larger",
    }
    summary = json.loads(done.stdout)
    assert summary == {"file": str(module), "size_bytes": module.stat().st_size, "entries": [expected]}
    assert entries(module.read_bytes()) == [expected]
    with Program.load(module, cache=None) as program:
        assert program.run({"x": np.ones((2, 3, 3))})["y"].shape == (2, 3, 3)


def test_an_optional_input_is_written_with_a_question_mark(cli: Cli, tmp_path: Path) -> None:
    module = tmp_path / "m.wasm"
    module.write_bytes(wasmtime.wat2wasm(f"(module {guests.PRELUDE} {INFER})"))
    inputs = ("-i", "x:FP32[-1]", "-i", "o:BYTES[1]?")
    done = cli("annotate", module, *inputs, "--output", "y:FP32[-1]", "--in-place")
    assert (done.returncode, done.stderr) == (0, "")
    (entry,) = entries(module.read_bytes())
    assert (entry["convention"], entry["entry"]) == ("dlpack", "portalis_infer")
    assert entry["inputs"] == [guests.tensor("x"), guests.tensor("o", "BYTES", (1,), optional=True)]


INFER = '(func (export "portalis_infer") (param i32 i32 i32 i32) (result i32) (i32.const 0))'


def test_the_description_of_the_echo_example_can_be_changed(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "echo.wasm"
    assert cli("annotate", ECHO.module, "--description", "x", "-o", out).returncode == 0
    before, after = ECHO.module.read_bytes(), out.read_bytes()
    assert entries(after) == [{"entry": "portalis_infer", **entries(before)[0], "description": "x"}]
    assert others(after) == others(before)
    with Program.load(out, cache=None) as program:
        np.testing.assert_array_equal(program.run({"x": np.eye(3, dtype=np.float32)})["y"], np.eye(3))


def test_a_second_run_changes_one_key_and_the_same_run_changes_nothing(cli: Cli, double: Path) -> None:
    assert cli("annotate", double, *GUFUNC, "--max-batch-size", "8", "--in-place").returncode == 0
    first = double.read_bytes()
    assert cli("annotate", double, "--description", "twice", "--in-place").returncode == 0
    assert entries(double.read_bytes()) == [{**entries(first)[0], "description": "twice"}]
    second = double.read_bytes()
    assert cli("annotate", double, "--description", "twice", "--in-place").returncode == 0
    assert double.read_bytes() == second


def test_entries_can_be_added_one_at_a_time(cli: Cli, tmp_path: Path) -> None:
    module = tmp_path / "two.wasm"
    module.write_bytes(wasmtime.wat2wasm(TWO))
    assert cli("annotate", module, "--entry", "add", "--in-place").returncode == 0
    done = cli("annotate", module, "--entry", "mul", "--description", "product", "--in-place")
    assert done.stdout.endswith("describes elementwise 'add', elementwise 'mul'\n")
    assert [(e["entry"], e.get("description")) for e in entries(module.read_bytes())] == [
        ("add", None),
        ("mul", "product"),
    ]
    ambiguous = cli("annotate", module, "--description", "sum", "--in-place")
    assert ambiguous.returncode == 1
    assert "has several entries (add, mul)" in ambiguous.stderr


def test_an_entry_without_its_defaults_is_kept_and_reported(cli: Cli, tmp_path: Path) -> None:
    module = tmp_path / "m.wasm"
    module.write_bytes(guests.wasm(guests.ADD, {"inputs": []}))
    done = cli("annotate", module, "--entry", "add", "--in-place")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("describes ? 'portalis_infer', elementwise 'add'\n")


@pytest.mark.parametrize("several", [False, True])
def test_from_a_file_replaces_the_entire_section(cli: Cli, tmp_path: Path, several: bool) -> None:
    module, source = tmp_path / "two.wasm", tmp_path / "interface.json"
    module.write_bytes(guests.wasm(TWO, {"entry": "add", "convention": "elementwise"}, {"entry": "mul"}))
    interfaces: list[dict[str, Any]] = [{"entry": "mul", "description": "Wärme · 漢"}, {"entry": "add"}]
    source.write_text(json.dumps(interfaces if several else interfaces[0], ensure_ascii=False), encoding="utf-8")
    done = cli("annotate", module, "--from", source, "--in-place", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, "")
    assert [e["entry"] for e in entries(module.read_bytes())] == (["mul", "add"] if several else ["mul"])
    assert entries(module.read_bytes())[0]["description"] == "Wärme · 漢"


def test_options_override_a_file_with_one_entry_but_not_with_several(cli: Cli, tmp_path: Path) -> None:
    module, source = tmp_path / "two.wasm", tmp_path / "interface.json"
    module.write_bytes(wasmtime.wat2wasm(TWO))
    source.write_text('{"entry": "mul", "description": "file"}')
    assert cli("annotate", module, "--from", source, "--description", "option", "--in-place").returncode == 0
    before = module.read_bytes()
    assert entries(before)[0]["description"] == "option"
    source.write_text('[{"entry": "mul"}, {"entry": "add"}]')
    done = cli("annotate", module, "--from", source, "--description", "option", "--in-place")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: the options describe one entry, but the file has several\n  Edit {source}, or omit the options.\n"
    )
    assert module.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "is not JSON: Expecting property name"),
        (b"\xff\xfe", "is not JSON: 'utf-8' codec can't decode"),
        (b"[" * 200_000, "is nested too deeply: more than 200 levels, which is too large for an interface"),
        (b"[]", "must contain an object or a list of objects"),
        (b"[1]", "must contain an object or a list of objects"),
        (b'"x"', "must contain an object or a list of objects"),
        (b'{"entry": "double", "typo": 1}', "unknown key 'typo'"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_is_not_an_interface_is_rejected(
    cli: Cli, untouched: Path, tmp_path: Path, text: bytes | None, message: str
) -> None:
    source = tmp_path / "interface.json"
    if text is not None:
        source.write_bytes(text)
    done = cli("annotate", untouched, "--from", source, *(GUFUNC if b"typo" in (text or b"") else ()), "--in-place")
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 1, "does not take and return numbers, so its interface cannot be derived"),
        (("--signature", "(n)->(m", *GUFUNC[:2], *GUFUNC[4:]), 1, "signature '(n)->(m' is invalid"),
        (("--signature", "(n),(n)->(n)", *GUFUNC[:2], *GUFUNC[4:]), 1, "(n),(n)->(n) has 2 inputs, but 1 are declared"),
        ((*GUFUNC, "--entry", "doubel"), 1, "exports no function 'doubel' (did you mean 'double'?)"),
        ((*GUFUNC, "-i", "x y"), 2, "error: 'x y' does not describe a tensor\n  Write NAME:DTYPE[DIMS], for example"),
        ((*GUFUNC, "-i", "z:FP32[n]"), 2, "error: 'z:FP32[n]': the dims are not integers"),
        ((*GUFUNC[:-1], "y:FP99[-1]"), 1, "FP99"),
        ((*GUFUNC, "--args", "x,,n"), 2, "--args x,,n: use names and numbers separated by commas"),
        ((*GUFUNC, "--returns", "maybe"), 1, "returns must be one of value, status, not 'maybe'"),
        ((*GUFUNC, "--max-batch-size", "-1"), 1, "max_batch_size must be an integer of at least 0, not -1"),
        (("--convention", "dlpack", *GUFUNC[4:]), 1, "exports no function 'portalis_infer'"),
    ],
)
def test_an_interface_that_does_not_match_the_module_is_rejected_and_the_module_is_unchanged(
    cli: Cli, untouched: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    done = cli("annotate", untouched, *options, "--in-place")
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("where", [(), ("-o", "out.wasm", "--in-place")])
def test_exactly_one_output_is_required(cli: Cli, untouched: Path, tmp_path: Path, where: tuple[str, ...]) -> None:
    done = cli("annotate", untouched, *GUFUNC, *where)
    assert done.returncode == 2
    assert done.stderr == "error: no output file given\n  Use either -o FILE or --in-place.\n"
    assert list((tmp_path / "cwd").iterdir()) == []


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444])
def test_in_place_keeps_the_mode_of_the_file(cli: Cli, double: Path, mode: int) -> None:
    double.chmod(mode)
    assert cli("annotate", double, *GUFUNC, "--in-place").returncode == 0
    assert double.stat().st_mode & 0o7777 == mode
    assert [path.name for path in double.parent.iterdir()] == ["double.wasm"]


def test_a_new_file_is_readable_by_all_and_an_existing_file_keeps_its_mode(
    cli: Cli, untouched: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.wasm"
    assert cli("annotate", untouched, *GUFUNC, "-o", out).returncode == 0
    assert out.stat().st_mode & 0o777 == 0o644
    first = out.read_bytes()
    out.chmod(0o600)
    out.write_bytes(b"old")
    assert cli("annotate", untouched, *GUFUNC, "-o", out).returncode == 0
    assert (out.stat().st_mode & 0o777, out.read_bytes()) == (0o600, first)


def test_a_symlink_is_kept_and_its_target_is_written(cli: Cli, double: Path, tmp_path: Path) -> None:
    link = tmp_path / "model.wasm"
    link.symlink_to(double)
    assert cli("annotate", link, *GUFUNC, "--in-place").returncode == 0
    assert link.is_symlink()
    assert entries(double.read_bytes())[0]["convention"] == "gufunc"


def test_an_output_that_is_not_a_regular_file_is_rejected(cli: Cli, untouched: Path, tmp_path: Path) -> None:
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    for target in (folder, pipe, Path("/dev/null")):
        done = cli("annotate", untouched, *GUFUNC, "-o", target)
        assert (done.returncode, done.stderr) == (2, f"error: cannot write {target}: it is not a regular file\n")
    assert Path("/dev/null").is_char_device()
    none = tmp_path / "none" / "out.wasm"
    done = cli("annotate", untouched, *GUFUNC, "-o", none)
    assert (done.returncode, done.stderr) == (2, f"error: cannot write {none}: No such file or directory\n")


def test_a_full_disk_leaves_the_module_unchanged_and_no_other_file(cli: Cli, double: Path) -> None:
    """A limit on the size of files simulates the full disk."""
    large = double.read_bytes() + bytes([0, 0x81, 0x80, 0x01, 0]) + bytes(16_384)  # a custom section without a name
    double.write_bytes(large)
    command = [sys.executable, "-B", "-m", "portalis", "annotate", str(double), *GUFUNC, "--in-place"]
    limited = ["bash", "-c", 'ulimit -f 8; exec "$@"', "-", *command]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("COV")
    }  # coverage would write files too
    done = subprocess.run(limited, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"error: cannot write {double}: File too large\n")
    assert double.read_bytes() == large
    assert [path.name for path in double.parent.iterdir()] == ["double.wasm"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty, not a WebAssembly module"),
        (b"just some text", "is not a WebAssembly module: it is text that begins with 'just some text'"),
        (b"\0asm\x0d\0\x01\0", "is a WebAssembly component; a core module is needed"),
        (bytes(wasmtime.wat2wasm(guests.ADD))[:29], "is not a whole WebAssembly module: "),
    ],
    ids=["empty", "text", "component", "truncated"],
)
def test_a_file_that_is_not_a_module_is_a_single_line_error_and_is_unchanged(
    cli: Cli, tmp_path: Path, data: bytes, message: str
) -> None:
    path = tmp_path / "file.wasm"
    path.write_bytes(data)
    done = cli("annotate", path, "--description", "x", "--in-place")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {path} {message}")
    assert len(done.stderr.splitlines()) == 1
    assert path.read_bytes() == data
    error = json.loads(cli("annotate", path, "--in-place", "--json").stdout)["error"]
    assert (error["type"], error["message"]) == ("ModuleError", done.stderr[len("error: ") : -1])


def test_a_directory_a_pipe_and_a_missing_file_are_errors_that_name_them(cli: Cli, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe):
        done = cli("annotate", path, "--in-place")
        assert (done.returncode, done.stderr) == (1, f"error: {path} is not a regular file\n")
    done = cli("annotate", tmp_path / "none.wasm", "--in-place")
    assert done.stderr == f"error: {tmp_path}/none.wasm cannot be read: No such file or directory\n"


def test_control_characters_in_names_are_printed_escaped(cli: Cli, tmp_path: Path) -> None:
    module = tmp_path / "m.wasm"
    module.write_bytes(
        wasmtime.wat2wasm('(module (func (export "\\1b[31m[red]") (param f32) (result f32) (local.get 0)))')
    )
    done = cli("annotate", module, "--in-place")
    assert done.stdout == f"{module}: {module.stat().st_size} bytes, describes elementwise '\\x1b[31m[red]'\n"
    assert entries(module.read_bytes())[0]["entry"] == "\x1b[31m[red]"


def test_the_annotated_module_is_valid_for_wasm_tools(cli: Cli, untouched: Path, tmp_path: Path) -> None:
    tools, out = parts.wasm_tools(), tmp_path / "out.wasm"
    assert cli("annotate", untouched, *GUFUNC, "-o", out).returncode == 0
    done = subprocess.run([tools, "validate", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", [("--signature", "(n)->(n)"), ("--args", "x,y,n"), ("--returns", "value")])
def test_an_option_that_only_gufuncs_have_implies_that_convention(
    cli: Cli, double: Path, option: tuple[str, str]
) -> None:
    options = {"--signature": "(n)->(n)", option[0]: option[1]}
    done = cli(
        *("annotate", double, "-i", "x:FP32[-1]", "--output", "y:FP32[-1]", "--in-place"),
        *(each for pair in options.items() for each in pair),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert entries(double.read_bytes())[0]["convention"] == "gufunc"


def test_a_signature_with_a_different_convention_is_rejected(cli: Cli, untouched: Path) -> None:
    done = cli("annotate", untouched, "--convention", "dlpack", *GUFUNC[2:], "--in-place")
    assert done.returncode in (1, 2) and "signature" in done.stderr


def test_a_signature_completes_an_entry_of_a_file(cli: Cli, double: Path, tmp_path: Path) -> None:
    source = tmp_path / "interface.json"
    tensors = {"inputs": [guests.tensor("x")], "outputs": [guests.tensor("y")]}
    source.write_text(json.dumps(tensors))
    done = cli("annotate", double, "--from", source, "--signature", "(n)->(n)", "--in-place")
    assert (done.returncode, done.stderr) == (0, "")
    assert entries(double.read_bytes())[0]["convention"] == "gufunc"
