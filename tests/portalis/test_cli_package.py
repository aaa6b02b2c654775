"""`portalis package`: exit codes, what is printed where, and what a stopped run leaves behind."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import wasmtime

from portalis.contracts.json_schemas import schema_text
from portalis.contracts.output import PackagingAgentOutput
from tests.running.waiting import PATIENCE_S, until

from .conftest import ADD, Cli
from .pipeline.conftest import OPAQUE

SPEC: dict[str, Any] = {
    "package_name": "demo",
    "package_version": "1.0.0",
    "output_directory": "out",
    "enable_nim_packaging": False,
    "enable_omniverse_packaging": False,
    "wasm_binaries": ["add.wasm"],
}


class Place:
    """The folder that the commands run in, with the modules `add` and `opaque`."""

    def __init__(self, folder: Path, cli: Cli) -> None:
        self.folder = folder
        self.output = folder / "out"
        self._cli = cli
        for name, wat in (("add", ADD), ("opaque", OPAQUE)):
            (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(wat))
        self.spec()

    def spec(self, **changes: Any) -> None:
        (self.folder / "portalis.json").write_text(json.dumps(SPEC | changes))

    def package(self, *arguments: str, spec: str | None = "portalis.json") -> subprocess.CompletedProcess[str]:
        return self._cli("package", *([spec] if spec else []), *arguments)


@pytest.fixture
def place(tmp_path: Path, cli: Cli) -> Place:
    return Place(tmp_path / "cwd", cli)


def test_a_success_tells_its_stages_and_what_can_be_done_next(place: Place) -> None:
    done = place.package("--only", "triton", "--only", "archive")
    assert done.returncode == 0, done.stderr
    first, serve, archive = done.stdout.splitlines()
    assert re.fullmatch(rf"packaged: 2 artifacts, [\d.]+ KiB, [\d.]+ s, in {re.escape(str(place.output))}", first)
    assert serve == f"  serve the models: portalis serve {place.output / 'triton'}"
    assert archive == f"  archive: {place.output / 'archives' / 'demo-1.0.0.tar.gz'}"
    stages = [line for line in done.stderr.splitlines() if not line.startswith(" ")]
    assert [line[:22].rstrip() for line in stages] == [
        "NIM containers",
        "Triton models",
        "Omniverse extension",
        "Documentation",
        "Deployment manifests",
        "Distribution archive",
        "Publishing",
    ]
    assert re.fullmatch(r"Triton models +done +1 artifact, [\d.]+ s", stages[1])
    assert stages[0].endswith("skipped  skipped by --only triton --only archive")
    assert "\x1b" not in done.stdout + done.stderr


def test_portalis_toml_is_taken_when_no_spec_is_named(place: Place) -> None:
    done = place.package(spec=None)
    assert done.returncode == 2
    assert (
        "no portalis.toml found in this directory\n  Write one with `portalis init MODULE`, or give a spec file."
        in done.stderr
    )
    (place.folder / "portalis.toml").write_text(
        'package_name = "demo"\npackage_version = "1.0.0"\noutput_directory = "out"\nwasm_binaries = ["add.wasm"]\n'
    )
    assert place.package("--only", "triton", "-q", spec=None).returncode == 0


def test_a_partial_success_ends_with_3_and_says_what_is_missing_and_what_to_do(place: Place) -> None:
    place.spec(wasm_binaries=["add.wasm", "opaque.wasm"])
    done = place.package("--only", "triton")
    assert done.returncode == 3
    assert done.stdout.startswith("packaged in part: 1 artifact, ")
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "model 'demo_opaque' would not load" in error
    assert "1 artifact, 1 failed" in done.stderr
    assert (place.output / "triton" / "demo_add" / "1" / "model.wasm").is_file()


def test_a_failure_ends_with_1_and_leaves_the_old_output(place: Place) -> None:
    assert place.package("--only", "triton", "-q").returncode == 0
    before = sorted(place.output.rglob("*"))
    place.spec(wasm_binaries=["opaque.wasm"])
    done = place.package("--only", "triton")
    assert done.returncode == 1
    assert done.stdout == "nothing was packaged; the output directory is unchanged\n"
    assert sorted(place.output.rglob("*")) == before


def test_failing_fast_is_a_failure_where_a_partial_success_would_be(place: Place) -> None:
    place.spec(wasm_binaries=["add.wasm", "opaque.wasm"])
    assert place.package("--only", "triton", "--fail-fast").returncode == 1
    assert not place.output.exists()


def test_a_bad_spec_ends_with_2_and_tells_everything_at_once(place: Place) -> None:
    place.spec(package_version="1", wasm_binaries=["gone.wasm"], packge_name="x")
    done = place.package()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "error: portalis.json has 3 problems:",
        "  - package_version: expected a semantic version such as 1.0.0 or 1.2.0-rc.1, got '1'",
        "  - packge_name: the key 'packge_name' is unknown. Did you mean 'package_name'?",
        f"  - wasm_binaries[0].path: {place.folder / 'gone.wasm'} does not exist",
    ]


def test_json_prints_the_contract_and_nothing_else(place: Place) -> None:
    for modules, status, code in (
        (["add.wasm"], "success", 0),
        (["add.wasm", "opaque.wasm"], "partial_success", 3),
        (["opaque.wasm"], "failure", 1),
    ):
        place.spec(wasm_binaries=modules)
        done = place.package("--only", "triton", "--json")
        assert (done.returncode, done.stderr) == (code, "")
        report = json.loads(done.stdout)
        assert report["status"] == status
        jsonschema.validate(report, json.loads(schema_text("output")))
        PackagingAgentOutput.model_validate_json(done.stdout)


def test_json_has_the_problems_of_a_bad_spec(place: Place) -> None:
    place.spec(package_version="1", wasm_binaries=["gone.wasm"])
    done = place.package("--json")
    assert (done.returncode, done.stderr) == (2, "")
    error = json.loads(done.stdout)["error"]
    assert error["type"] == "InputProblems"
    assert "package_version: " in error["message"]
    assert "wasm_binaries[0].path: " in error["message"]
    assert [problem["where"] for problem in error["problems"]] == ["package_version", "wasm_binaries[0].path"]


@pytest.mark.parametrize("option", ["--only", "--skip"])
def test_a_target_that_is_not_there_is_told_with_the_nearest(place: Place, option: str) -> None:
    done = place.package(option, "archiv")
    assert done.returncode == 2
    assert done.stderr == "error: unknown target 'archiv'\n  Did you mean 'archive'?\n"


def test_skipped_targets_are_left_out_and_no_target_at_all_is_bad_usage(place: Place) -> None:
    done = place.package("--skip", "archive", "--skip", "docs", "--skip", "deployment")
    assert done.returncode == 0
    assert sorted(path.name for path in place.output.iterdir()) == ["manifest.json", "packaging-report.json", "triton"]
    done = place.package("--only", "nim")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "error: no target is left to run")


def test_quiet_prints_only_what_went_wrong(place: Place) -> None:
    done = place.package("--only", "triton", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    place.spec(wasm_binaries=["add.wasm", "opaque.wasm"])
    done = place.package("--only", "triton", "-q")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: model 'demo_opaque' would not load")


def test_the_report_is_written_where_it_is_wanted_also_of_a_failure(place: Place) -> None:
    place.spec(wasm_binaries=["opaque.wasm"])
    assert place.package("--only", "triton", "-q", "--report", "reports/last.json").returncode == 1
    report = json.loads((place.folder / "reports" / "last.json").read_text())
    assert report["status"] == "failure"
    done = place.package("--report", "reports")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "error: reports is a directory")


def test_the_output_directory_can_be_another_and_is_checked_too(place: Place) -> None:
    assert place.package("--only", "triton", "-q", "--output", "elsewhere/deep").returncode == 0
    assert (place.folder / "elsewhere" / "deep" / "packaging-report.json").is_file()
    assert not place.output.exists()
    for output, message in (
        (".", "would be replaced entirely"),
        ("..", "together with the spec"),
        ("add.wasm", "is not a directory"),
    ):
        done = place.package("--only", "triton", "-o", output)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.startswith("error: the command line has a problem:\n  - output_directory: ")


def test_a_directory_that_portalis_has_not_written_is_kept_unless_forced(place: Place) -> None:
    place.output.mkdir()
    (place.output / "mine.txt").touch()
    done = place.package("--only", "triton")
    assert done.returncode == 2
    assert "was not written by portalis" in done.stderr
    assert place.package("--only", "triton", "-q", "--force").returncode == 0
    assert not (place.output / "mine.txt").exists()


def test_a_depth_of_validation_that_is_not_there_is_bad_usage(place: Place) -> None:
    done = place.package("--validate", "deep")
    assert (done.returncode, done.stderr) == (
        2,
        "error: --validate deep: unknown depth\n  Use static or live.\n",
    )


def test_a_contract_is_an_input_and_its_problems_are_told_in_its_terms(place: Place) -> None:
    for name in ("tests.json", "parity.json"):
        (place.folder / name).write_text("{}")
    contract = {
        "wasm_binaries": {"binaries": [{"crate_name": "add", "file_path": "add.wasm"}]},
        "test_results": {"results_path": "tests.json", "parity_report_path": "parity.json"},
        "packaging_configuration": {key: value for key, value in SPEC.items() if key != "wasm_binaries"},
        "context": {"pipeline_id": "run-7", "previous_agent": "TestAgent", "mode": "script"},
    }
    path = place.folder / "packaging-input.json"
    path.write_text(json.dumps(contract))
    done = place.package("--only", "triton", "--json", "--input", "packaging-input.json", spec=None)
    report = json.loads(done.stdout)
    assert (done.returncode, report["package_metadata"]["package_manifest"]["pipeline_id"]) == (0, "run-7")
    done = place.package("--input", "packaging-input.json")
    assert (done.returncode, done.stderr.splitlines()[1]) == (2, "  Give the spec file, or only --input.")
    # what the pipeline and its targets find, after the contract was read
    (place.folder / "add.wasm").write_bytes(b"\0asm\1\0\0\0\xff")
    done = place.package("--only", "triton", "--input", "packaging-input.json", spec=None)
    assert done.returncode == 2
    assert "  - wasm_binaries.binaries[0].file_path: " in done.stderr


def test_names_with_the_terminals_escapes_are_only_shown(place: Place) -> None:
    name = "red\x1b[31m\x07"
    (place.folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(OPAQUE))
    place.spec(wasm_binaries=["add.wasm", {"path": f"{name}.wasm", "name": "x"}], description=name)
    outputs = [place.package("--only", "triton")]
    place.spec(wasm_binaries=[f"gone{name}.wasm"], **{name: 1})
    outputs.append(place.package())
    outputs.append(place.package(spec=f"{name}.toml"))
    assert [done.returncode for done in outputs] == [3, 2, 2]
    for done in outputs:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout + done.stderr)
        assert r"red\x1b[31m\x07" in done.stderr


def on_a_terminal(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code, and all that a terminal is told."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-m", "portalis", *arguments])
    told = b""
    while True:
        ready, _, _ = select.select([terminal], [], [], 120)
        try:
            part = os.read(terminal, 1 << 16) if ready else b""
        except OSError:  # what Linux says when the other side is closed
            break
        if not part:
            break
        told += part
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), told.decode()


def test_on_a_terminal_the_progress_is_live_and_the_screen_clean_at_the_end(place: Place) -> None:
    code, told = on_a_terminal(place.folder, "package", "portalis.json", "--only", "triton", "--only", "archive")
    assert code == 0
    assert told.count("\x1b[?25l") == told.count("\x1b[?25h") == 1  # the cursor is hidden, and shown again
    assert "reading the modules" in told
    after = told.rpartition("\x1b[?25h")[2]
    assert "\x1b[2K" in told  # the spinner's line is wiped
    assert "packaged: 2 artifacts" in after
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told)
    assert re.search(r"Triton models +done +1 artifact, [\d.]+ s\r\n", plain)
    assert "Traceback" not in told


# A target that waits while the test sends signals; the rest is the real command.
WAITING = """
import sys, time
from pathlib import Path
from portalis.model_repository_gen import model_repository_target as target
from portalis.cli import main
act = target.run
def wait(job, made):
    Path("waiting").touch()
    time.sleep(600)
    return act(job, made)
target.run = wait
sys.argv = ["portalis", "package", "portalis.json", "--only", "triton"]
main()
"""


def _heed_signals() -> None:
    """A shell has what it runs in the background ignore SIGINT, these tests and all that they start included."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def waiting(place: Place) -> Iterator[subprocess.Popen[str]]:
    """A run over an earlier output, amid its second stage."""
    assert place.package("--only", "triton", "-q").returncode == 0
    place.spec(package_version="2.0.0")
    run = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        cwd=place.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_signals,  # noqa: PLW1509 (no thread runs here)
    )

    def waits() -> bool:
        assert run.poll() is None, run.communicate()
        return (place.folder / "waiting").exists()

    until(waits)
    assert list(place.folder.glob(".out.staging-*"))
    yield run
    run.kill()
    run.communicate()


def version_of(output: Path) -> str:
    return str(json.loads((output / "manifest.json").read_text())["package_version"])


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGHUP, 129, "stopped by SIGHUP"),
    ],
)
def test_a_run_that_is_stopped_leaves_the_old_output_and_nothing_else(
    place: Place, waiting: subprocess.Popen[str], number: signal.Signals, code: int, said: str
) -> None:
    waiting.send_signal(number)
    _, told = waiting.communicate(timeout=PATIENCE_S)
    assert waiting.returncode == code
    assert told.splitlines()[-1] == said
    assert "Traceback" not in told
    assert version_of(place.output) == "1.0.0"
    assert not list(place.folder.glob(".out.*"))


def test_a_run_that_is_killed_leaves_the_old_output_and_the_next_cleans_up(
    place: Place, waiting: subprocess.Popen[str]
) -> None:
    waiting.kill()
    waiting.communicate(timeout=PATIENCE_S)
    assert version_of(place.output) == "1.0.0"
    assert len(list(place.folder.glob(".out.staging-*"))) == 1
    assert place.package("--only", "triton", "-q").returncode == 0
    assert version_of(place.output) == "2.0.0"
    assert not list(place.folder.glob(".out.*"))


def test_a_module_that_nothing_can_serve_is_packaged_with_the_word_that_it_cannot(place: Place, cli: Cli) -> None:
    assert cli("init", "opaque.wasm").returncode == 1
    done = place.package("--only", "triton", spec=None)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: no target is left to run\n  --only triton: enable_triton_integration is false\n"
    )
    assert "opaque cannot be served: " in done.stderr and "portalis annotate" in done.stderr
    done = place.package("--quiet", spec=None)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: opaque is in no target of the package, and none could serve it: ")
