"""`portalis package`: exit codes, output streams, and the files that an interrupted run leaves."""

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


class Workplace:
    """A working directory with the modules `add` and `opaque`."""

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
def workplace(tmp_path: Path, cli: Cli) -> Workplace:
    return Workplace(tmp_path / "cwd", cli)


def test_a_success_reports_its_stages_and_the_next_steps(workplace: Workplace) -> None:
    done = workplace.package("--only", "triton", "--only", "archive")
    assert done.returncode == 0, done.stderr
    first, serve, archive = done.stdout.splitlines()
    assert re.fullmatch(rf"packaged: 2 artifacts, [\d.]+ KiB, [\d.]+ s, in {re.escape(str(workplace.output))}", first)
    assert serve == f"  serve the models: portalis serve {workplace.output / 'triton'}"
    assert archive == f"  archive: {workplace.output / 'archives' / 'demo-1.0.0.tar.gz'}"
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


def test_portalis_toml_is_the_default_spec(workplace: Workplace) -> None:
    done = workplace.package(spec=None)
    assert done.returncode == 2
    assert (
        "no portalis.toml found in this directory\n  Write one with `portalis init MODULE`, or pass a spec file."
        in done.stderr
    )
    (workplace.folder / "portalis.toml").write_text(
        'package_name = "demo"\npackage_version = "1.0.0"\noutput_directory = "out"\nwasm_binaries = ["add.wasm"]\n'
    )
    assert workplace.package("--only", "triton", "-q", spec=None).returncode == 0


def test_a_partial_success_exits_with_3_and_reports_what_failed(workplace: Workplace) -> None:
    workplace.spec(wasm_binaries=["add.wasm", "opaque.wasm"])
    done = workplace.package("--only", "triton")
    assert done.returncode == 3
    assert done.stdout.startswith("packaged in part: 1 artifact, ")
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "model 'demo_opaque' would not load" in error
    assert "1 artifact, 1 failed" in done.stderr
    assert (workplace.output / "triton" / "demo_add" / "1" / "model.wasm").is_file()


def test_a_failure_exits_with_1_and_keeps_the_previous_output(workplace: Workplace) -> None:
    assert workplace.package("--only", "triton", "-q").returncode == 0
    before = sorted(workplace.output.rglob("*"))
    workplace.spec(wasm_binaries=["opaque.wasm"])
    done = workplace.package("--only", "triton")
    assert done.returncode == 1
    assert done.stdout == "nothing was packaged; the output directory is unchanged\n"
    assert sorted(workplace.output.rglob("*")) == before


def test_fail_fast_turns_a_partial_success_into_a_failure(workplace: Workplace) -> None:
    workplace.spec(wasm_binaries=["add.wasm", "opaque.wasm"])
    assert workplace.package("--only", "triton", "--fail-fast").returncode == 1
    assert not workplace.output.exists()


def test_an_invalid_spec_exits_with_2_and_reports_all_problems(workplace: Workplace) -> None:
    workplace.spec(package_version="1", wasm_binaries=["gone.wasm"], packge_name="x")
    done = workplace.package()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "error: portalis.json has 3 problems:",
        "  - package_version: expected a semantic version such as 1.0.0 or 1.2.0-rc.1, got '1'",
        "  - packge_name: the key 'packge_name' is unknown. Did you mean 'package_name'?",
        f"  - wasm_binaries[0].path: {workplace.folder / 'gone.wasm'} does not exist",
    ]


def test_json_prints_only_the_contract(workplace: Workplace) -> None:
    for modules, status, code in (
        (["add.wasm"], "success", 0),
        (["add.wasm", "opaque.wasm"], "partial_success", 3),
        (["opaque.wasm"], "failure", 1),
    ):
        workplace.spec(wasm_binaries=modules)
        done = workplace.package("--only", "triton", "--json")
        assert (done.returncode, done.stderr) == (code, "")
        report = json.loads(done.stdout)
        assert report["status"] == status
        jsonschema.validate(report, json.loads(schema_text("output")))
        PackagingAgentOutput.model_validate_json(done.stdout)


def test_json_contains_the_problems_of_an_invalid_spec(workplace: Workplace) -> None:
    workplace.spec(package_version="1", wasm_binaries=["gone.wasm"])
    done = workplace.package("--json")
    assert (done.returncode, done.stderr) == (2, "")
    error = json.loads(done.stdout)["error"]
    assert error["type"] == "InputProblems"
    assert "package_version: " in error["message"]
    assert "wasm_binaries[0].path: " in error["message"]
    assert [problem["where"] for problem in error["problems"]] == ["package_version", "wasm_binaries[0].path"]


@pytest.mark.parametrize("option", ["--only", "--skip"])
def test_an_unknown_target_is_reported_with_the_closest_match(workplace: Workplace, option: str) -> None:
    done = workplace.package(option, "archiv")
    assert done.returncode == 2
    assert done.stderr == "error: unknown target 'archiv'\n  Did you mean 'archive'?\n"


def test_skipped_targets_do_not_run_and_at_least_one_target_is_required(workplace: Workplace) -> None:
    done = workplace.package("--skip", "archive", "--skip", "docs", "--skip", "deployment")
    assert done.returncode == 0
    assert sorted(path.name for path in workplace.output.iterdir()) == [
        "manifest.json",
        "packaging-report.json",
        "triton",
    ]
    done = workplace.package("--only", "nim")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "error: no target is left to run")


def test_quiet_prints_only_errors(workplace: Workplace) -> None:
    done = workplace.package("--only", "triton", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    workplace.spec(wasm_binaries=["add.wasm", "opaque.wasm"])
    done = workplace.package("--only", "triton", "-q")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: model 'demo_opaque' would not load")


def test_the_report_is_written_to_the_given_path_even_after_a_failure(workplace: Workplace) -> None:
    workplace.spec(wasm_binaries=["opaque.wasm"])
    assert workplace.package("--only", "triton", "-q", "--report", "reports/last.json").returncode == 1
    report = json.loads((workplace.folder / "reports" / "last.json").read_text())
    assert report["status"] == "failure"
    done = workplace.package("--report", "reports")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "error: reports is a directory")


def test_the_output_option_is_validated_like_the_spec(workplace: Workplace) -> None:
    assert workplace.package("--only", "triton", "-q", "--output", "elsewhere/deep").returncode == 0
    assert (workplace.folder / "elsewhere" / "deep" / "packaging-report.json").is_file()
    assert not workplace.output.exists()
    for output, message in (
        (".", "would be replaced entirely"),
        ("..", "together with the spec"),
        ("add.wasm", "is not a directory"),
    ):
        done = workplace.package("--only", "triton", "-o", output)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.startswith("error: the command line has a problem:\n  - output_directory: ")


def test_a_directory_that_portalis_did_not_write_is_kept_without_force(workplace: Workplace) -> None:
    workplace.output.mkdir()
    (workplace.output / "mine.txt").touch()
    done = workplace.package("--only", "triton")
    assert done.returncode == 2
    assert "was not written by portalis" in done.stderr
    assert workplace.package("--only", "triton", "-q", "--force").returncode == 0
    assert not (workplace.output / "mine.txt").exists()


def test_an_unknown_depth_of_validation_is_a_usage_error(workplace: Workplace) -> None:
    done = workplace.package("--validate", "deep")
    assert (done.returncode, done.stderr) == (
        2,
        "error: --validate deep: unknown kind of validation\n  Use static or live.\n",
    )


def test_the_problems_of_a_contract_are_reported_with_its_keys(workplace: Workplace) -> None:
    for name in ("tests.json", "parity.json"):
        (workplace.folder / name).write_text("{}")
    contract = {
        "wasm_binaries": {"binaries": [{"crate_name": "add", "file_path": "add.wasm"}]},
        "test_results": {"results_path": "tests.json", "parity_report_path": "parity.json"},
        "packaging_configuration": {key: value for key, value in SPEC.items() if key != "wasm_binaries"},
        "context": {"pipeline_id": "run-7", "previous_agent": "TestAgent", "mode": "script"},
    }
    path = workplace.folder / "packaging-input.json"
    path.write_text(json.dumps(contract))
    done = workplace.package("--only", "triton", "--json", "--input", "packaging-input.json", spec=None)
    report = json.loads(done.stdout)
    assert (done.returncode, report["package_metadata"]["package_manifest"]["pipeline_id"]) == (0, "run-7")
    done = workplace.package("--input", "packaging-input.json")
    assert (done.returncode, done.stderr.splitlines()[1]) == (2, "  Pass either a spec file or --input.")
    # a problem that the pipeline finds after the contract was read
    (workplace.folder / "add.wasm").write_bytes(b"\0asm\1\0\0\0\xff")
    done = workplace.package("--only", "triton", "--input", "packaging-input.json", spec=None)
    assert done.returncode == 2
    assert "  - wasm_binaries.binaries[0].file_path: " in done.stderr


def test_control_characters_in_names_are_printed_escaped(workplace: Workplace) -> None:
    name = "red\x1b[31m\x07"
    (workplace.folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(OPAQUE))
    workplace.spec(wasm_binaries=["add.wasm", {"path": f"{name}.wasm", "name": "x"}], description=name)
    outputs = [workplace.package("--only", "triton")]
    workplace.spec(wasm_binaries=[f"gone{name}.wasm"], **{name: 1})
    outputs.append(workplace.package())
    outputs.append(workplace.package(spec=f"{name}.toml"))
    assert [done.returncode for done in outputs] == [3, 2, 2]
    for done in outputs:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout + done.stderr)
        assert r"red\x1b[31m\x07" in done.stderr


def run_in_terminal(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a command in a pseudoterminal; returns its exit code and output."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-m", "portalis", *arguments])
    output = b""
    while True:
        ready, _, _ = select.select([terminal], [], [], 120)
        try:
            chunk = os.read(terminal, 1 << 16) if ready else b""
        except OSError:  # Linux's error after the other side was closed
            break
        if not chunk:
            break
        output += chunk
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), output.decode()


def test_a_terminal_shows_live_progress_and_is_restored_at_the_end(workplace: Workplace) -> None:
    code, output = run_in_terminal(
        workplace.folder, "package", "portalis.json", "--only", "triton", "--only", "archive"
    )
    assert code == 0
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h") == 1  # the cursor is hidden, then shown again
    assert "reading the modules" in output
    after = output.rpartition("\x1b[?25h")[2]
    assert "\x1b[2K" in output  # the spinner's line is cleared
    assert "packaged: 2 artifacts" in after
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    assert re.search(r"Triton models +done +1 artifact, [\d.]+ s\r\n", plain)
    assert "Traceback" not in output


# The real command with a target that waits while the test sends signals.
WAITING = """
import sys, time
from pathlib import Path
from portalis.model_repository_gen import model_repository_target as target
from portalis.cli import main
run = target.run
def wait(context, results):
    Path("waiting").touch()
    time.sleep(600)
    return run(context, results)
target.run = wait
sys.argv = ["portalis", "package", "portalis.json", "--only", "triton"]
main()
"""


def _reset_signals() -> None:
    """Reset signals that the tests and their child processes ignore if a shell runs them in the background."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def waiting(workplace: Workplace) -> Iterator[subprocess.Popen[str]]:
    """A run that replaces an earlier output and waits in its second stage."""
    assert workplace.package("--only", "triton", "-q").returncode == 0
    workplace.spec(package_version="2.0.0")
    run = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        cwd=workplace.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_reset_signals,  # noqa: PLW1509 (no thread runs here)
    )

    def is_waiting() -> bool:
        assert run.poll() is None, run.communicate()
        return (workplace.folder / "waiting").exists()

    until(is_waiting)
    assert list(workplace.folder.glob(".out.staging-*"))
    yield run
    run.kill()
    run.communicate()


def packaged_version(output: Path) -> str:
    return str(json.loads((output / "manifest.json").read_text())["package_version"])


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGHUP, 129, "stopped by SIGHUP"),
    ],
)
def test_an_interrupted_run_keeps_the_previous_output_and_leaves_no_other_files(
    workplace: Workplace, waiting: subprocess.Popen[str], number: signal.Signals, code: int, message: str
) -> None:
    waiting.send_signal(number)
    _, errors = waiting.communicate(timeout=PATIENCE_S)
    assert waiting.returncode == code
    assert errors.splitlines()[-1] == message
    assert "Traceback" not in errors
    assert packaged_version(workplace.output) == "1.0.0"
    assert not list(workplace.folder.glob(".out.*"))


def test_a_killed_run_keeps_the_previous_output_and_the_next_run_cleans_up(
    workplace: Workplace, waiting: subprocess.Popen[str]
) -> None:
    waiting.kill()
    waiting.communicate(timeout=PATIENCE_S)
    assert packaged_version(workplace.output) == "1.0.0"
    assert len(list(workplace.folder.glob(".out.staging-*"))) == 1
    assert workplace.package("--only", "triton", "-q").returncode == 0
    assert packaged_version(workplace.output) == "2.0.0"
    assert not list(workplace.folder.glob(".out.*"))


def test_a_module_that_cannot_be_served_is_packaged_with_an_error(workplace: Workplace, cli: Cli) -> None:
    assert cli("init", "opaque.wasm").returncode == 1
    done = workplace.package("--only", "triton", spec=None)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: no target is left to run\n  --only triton: enable_triton_integration is false\n"
    )
    assert "opaque cannot be served: " in done.stderr and "portalis annotate" in done.stderr
    done = workplace.package("--quiet", spec=None)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: opaque is in no target of the package, and none could serve it: ")
