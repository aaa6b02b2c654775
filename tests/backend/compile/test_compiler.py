"""Compiling modules: in this process, in a child bounded in time and memory, and without an interpreter."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import wasmtime
from coverage import Coverage

from portalis.backend.compile import compiler, interpreter
from portalis.backend.compile import compiler_process as compile_worker
from portalis.backend.compile.compiler import IN_PROCESS_BYTES, compile_module, explain_compile_failure
from portalis.backend.compile.engine import EngineSettings, engine_config, engine_for
from portalis.backend.compile.interpreter import find_interpreter
from portalis.backend.compile.loading import deserialize_module
from portalis.backend.errors import ModuleError
from tests.backend import pooled
from tests.backend.big_module import big_module, hungry_module, slow_module
from tests.running.waiting import PATIENCE_S, until

ROOT = Path(__file__).parents[3]
ISLAND = Path(compiler.__file__).parent.parent
SETTINGS = EngineSettings(max_stack_bytes=1 << 20)
CHECKED = {"max_memory_size": 256 << 20}  # of a slot, where code checks its addresses itself
SMALL = bytes(wasmtime.wat2wasm('(module (func (export "f") (param f32) (result f32) (local.get 0)))'))
BIG = big_module(20_000)
SLOW = slow_module(4000)
INVALID = BIG[:-20] + b"\xff" * 20


@pytest.fixture
def no_interpreter_known() -> Iterator[None]:
    before = interpreter._found[:]
    interpreter._found.clear()
    yield
    interpreter._found[:] = before


def children() -> set[str]:
    """The child processes of this process, including zombies."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has ended
            found.update((task / "children").read_text().split())
    return found


def open_files() -> set[str]:
    """The open files of this process; each pipe has its own number.

    Garbage of earlier tests can be closed at any time.
    """
    found: set[str] = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of the listing
            found.add(str(descriptor.readlink()))
    return found


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


# -- what is compiled --------------------------------------------------------------------------------------


def test_a_child_process_compiles_to_identical_code() -> None:
    here = compile_module(BIG, SETTINGS, timeout_s=PATIENCE_S, trusted=True)
    child = compile_module(BIG, SETTINGS, timeout_s=PATIENCE_S, trusted=False)
    assert here == child
    deserialize_module(engine_for(SETTINGS), child)


@pytest.mark.parametrize("signals", [False, True])
def test_code_from_a_child_loads_with_and_without_a_pool_of_memories(signals: bool) -> None:
    settings = EngineSettings(max_stack_bytes=1 << 20, signals_based_traps=signals)
    code = compile_module(BIG, settings, timeout_s=PATIENCE_S, trusted=False)
    deserialize_module(engine_for(settings), code)
    deserialize_module(wasmtime.Engine(pooled.pool(engine_config(settings), **({} if signals else CHECKED))), code)
    with pytest.raises(ModuleError, match="the compiled module cannot be loaded"):
        deserialize_module(engine_for(EngineSettings(max_stack_bytes=1 << 20, signals_based_traps=not signals)), code)


def test_machine_code_that_is_invalid_is_rejected() -> None:
    with pytest.raises(ModuleError, match="the compiled module cannot be loaded"):
        deserialize_module(engine_for(SETTINGS), b"not machine code at all")


def test_tiny_and_trusted_modules_are_compiled_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_interpreter", lambda: "")
    padded = SMALL + bytes([0, IN_PROCESS_BYTES - len(SMALL) - 3 & 0x7F | 0x80, IN_PROCESS_BYTES - len(SMALL) - 3 >> 7])
    tiny = padded + bytes(IN_PROCESS_BYTES - len(padded))
    assert len(tiny) == IN_PROCESS_BYTES
    for wasm, trusted in ((tiny, False), (BIG, True)):
        deserialize_module(engine_for(SETTINGS), compile_module(wasm, SETTINGS, timeout_s=PATIENCE_S, trusted=trusted))
    with pytest.raises(ModuleError, match="PORTALIS_PYTHON"):
        compile_module(BIG, SETTINGS, timeout_s=PATIENCE_S, trusted=False)


@pytest.mark.parametrize("wasm", [b"", b"(module)", b"\x7fELF" + bytes(5000)], ids=["empty", "text", "elf"])
@pytest.mark.parametrize("trusted", [False, True])
def test_data_that_is_not_a_binary_module_is_rejected(wasm: bytes, trusted: bool) -> None:
    with pytest.raises(ModuleError, match="does not begin with"):
        compile_module(wasm, SETTINGS, timeout_s=PATIENCE_S, trusted=trusted)


@pytest.mark.parametrize("trusted", [False, True])
def test_an_invalid_module_is_rejected_with_the_validators_reason_and_offset(trusted: bool) -> None:
    with pytest.raises(
        ModuleError, match=r"^bad\.wasm is not valid WebAssembly: .*\(at offset 0x[0-9a-f]+\)$"
    ) as caught:
        compile_module(INVALID, SETTINGS, timeout_s=PATIENCE_S, trusted=trusted, name="bad.wasm")
    assert "Caused by" not in str(caught.value)


def refusal(wat: str) -> str:
    with pytest.raises(ModuleError) as caught:
        compile_module(bytes(wasmtime.wat2wasm(wat)), SETTINGS, timeout_s=PATIENCE_S, trusted=True)
    return str(caught.value)


def test_the_reason_names_the_function() -> None:
    assert refusal("(module (func) (func $named (result i32)))") == (
        "the module is not valid WebAssembly: function 1 (named): type mismatch: expected i32 but nothing on"
        " stack (at offset 0x1f)"
    )


def test_the_reason_names_the_proposal_that_the_sandbox_disables() -> None:
    assert "threads must be enabled" in refusal("(module (memory 1 2 shared))")
    assert "memory64" in refusal("(module (memory i64 1))")


def test_a_reason_without_causes_or_offset_is_kept() -> None:
    assert explain_compile_failure("something else\n") == "is not valid WebAssembly: something else"
    assert explain_compile_failure(
        "failed to compile: wasm[0]::function[7]::sum\n\nCaused by:\n    Code for function is too large\n"
    ) == ("cannot be compiled: function 7 (sum): Code for function is too large")


# -- limits ------------------------------------------------------------------------------------------------


def test_a_long_compilation_is_aborted_at_the_deadline() -> None:
    find_interpreter()
    start = time.monotonic()
    with pytest.raises(ModuleError) as caught:
        compile_module(SLOW, SETTINGS, timeout_s=0.3, trusted=False, name="slow.wasm")
    assert 0.3 <= time.monotonic() - start < PATIENCE_S
    assert str(caught.value) == (
        f"slow.wasm ({len(SLOW)} bytes) took longer to compile than the limit of 0.3 s and was stopped"
        " (raise wasm.compile_timeout_ms, or set wasm.trusted if its author is trusted)"
    )


def test_a_compilation_that_needs_gigabytes_is_stopped_at_its_memory_limit() -> None:
    with pytest.raises(ModuleError) as caught:
        compile_module(hungry_module(), SETTINGS, timeout_s=PATIENCE_S, trusted=False, memory_bytes=256 << 20)
    assert "needs more memory to compile than the limit of 256 MiB" in str(caught.value)


@pytest.mark.parametrize("memory_bytes", [1 << 20, 16 << 20])
def test_a_memory_limit_too_small_for_the_compiler_is_an_error(memory_bytes: int) -> None:
    with pytest.raises(ModuleError, match=r"memory|cannot be compiled"):
        compile_module(BIG, SETTINGS, timeout_s=PATIENCE_S, trusted=False, memory_bytes=memory_bytes)


def test_a_killed_compiler_process_is_an_error() -> None:
    find_interpreter()
    before = children()
    outcome: list[str] = []

    def work() -> None:
        with pytest.raises(ModuleError) as caught:
            compile_module(SLOW, SETTINGS, timeout_s=PATIENCE_S, trusted=False)
        outcome.append(str(caught.value))

    thread = threading.Thread(target=work)
    thread.start()
    (child,) = until(lambda: children() - before)
    time.sleep(0.4)
    os.kill(int(child), signal.SIGKILL)
    thread.join(PATIENCE_S)
    assert outcome == ["the module cannot be compiled: the compiler process failed (signal 9): it gave no reason"]


def test_the_compiler_dies_with_the_server() -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.backend.big_module import slow_module
from portalis.backend.compile.compiler import compile_module
from portalis.backend.compile.engine import EngineSettings
from portalis.backend.compile.interpreter import find_interpreter
find_interpreter()
print("go", flush=True)
compile_module(slow_module(20_000), EngineSettings(), timeout_s=600, trusted=False)"""
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent)]
    server = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "go\n"
    listing = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    child = until(lambda: listing.read_text().strip())
    time.sleep(0.5)
    assert Path(f"/proc/{child}").exists()
    server.kill()
    server.wait()
    server.stdout.close()
    until(lambda: not Path(f"/proc/{child}").exists())


def test_many_threads_compile_concurrently() -> None:
    results: list[bytes | ModuleError] = []

    def work(wasm: bytes) -> None:
        try:
            results.append(compile_module(wasm, SETTINGS, timeout_s=PATIENCE_S, trusted=False))
        except ModuleError as error:
            results.append(error)

    threads = [threading.Thread(target=work, args=(wasm,)) for wasm in (BIG, INVALID) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    good = {result for result in results if isinstance(result, bytes)}
    assert len(good) == 1
    assert sum(isinstance(result, ModuleError) for result in results) == 3


def test_no_file_is_open_and_no_process_runs_after_many_failures() -> None:
    find_interpreter()

    def fail_twice() -> None:
        for wasm, timeout_s in ((INVALID, PATIENCE_S), (SLOW, 0.05)):
            with pytest.raises(ModuleError):
                compile_module(wasm, SETTINGS, timeout_s=timeout_s, trusted=False)

    fail_twice()
    before = open_files()
    for _ in range(5):
        fail_twice()
    assert open_files() <= before


def test_a_server_that_ignores_the_death_of_its_children_still_gets_its_code() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the exit status is lost then
    try:
        assert compile_module(BIG, SETTINGS, timeout_s=PATIENCE_S, trusted=False)
        with pytest.raises(ModuleError, match="not valid WebAssembly"):
            compile_module(INVALID, SETTINGS, timeout_s=PATIENCE_S, trusted=False)
    finally:
        signal.signal(signal.SIGCHLD, before)


# -- the compiler_process --------------------------------------------------------------------------------------------


def compiler_process(wasm: bytes, **changes: object) -> subprocess.CompletedProcess[bytes]:
    """Run the compiler process's script, with coverage measurement if this run has it."""
    job = {
        "folder": str(ISLAND),
        "path": interpreter.module_path(),
        "settings": asdict(EngineSettings()),
        "memory_bytes": 4 << 30,
        "cpu_s": 60,
        "parent": os.getpid(),
    }
    command = [sys.executable]
    measured = Coverage.current()
    if measured is not None:
        data_file = f"--data-file={measured.config.data_file}"
        command += ["-m", "coverage", "run", "--branch", "--parallel-mode", data_file]
    command += [compile_worker.__file__, json.dumps(job | changes)]
    return subprocess.run(command, input=wasm, capture_output=True, timeout=PATIENCE_S)


def report(done: subprocess.CompletedProcess[bytes]) -> dict[str, object]:
    last: dict[str, object] = json.loads(done.stderr.splitlines()[-1])
    return last


def test_the_compiler_process_writes_the_code_and_its_size() -> None:
    done = compiler_process(BIG)
    assert report(done) == {"bytes": len(done.stdout)}
    deserialize_module(engine_for(SETTINGS), done.stdout)


def test_the_compiler_process_distinguishes_a_rejected_module_from_a_failure() -> None:
    assert "Caused by" in str(report(compiler_process(INVALID))["refused"])
    assert "TypeError" in str(report(compiler_process(BIG, settings={"unheard_of": 1}))["failed"])
    assert "ModuleNotFoundError" in str(report(compiler_process(BIG, folder="/nowhere"))["failed"])


def test_the_compiler_process_ends_immediately_after_its_parent() -> None:
    done = compiler_process(BIG, parent=1)
    assert (done.returncode, done.stdout) == (1, b"")


def test_the_compiler_process_stops_at_its_limit_of_cpu_time() -> None:
    done = compiler_process(slow_module(20_000), cpu_s=1)
    assert done.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
    assert not done.stdout


def test_the_compiler_process_runs_from_a_directory_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "1 not-a package name"
    shutil.copytree(ISLAND, copied, ignore=shutil.ignore_patterns("__pycache__"))
    (copied / "__init__.py").write_text("raise SystemExit('the package itself must not be run')")
    monkeypatch.setattr(compiler, "_COMPILER_PROCESS", copied / "compile" / "compiler_process.py")
    monkeypatch.chdir(tmp_path)
    assert compile_module(BIG, SETTINGS, timeout_s=PATIENCE_S, trusted=False)
    assert not list(copied.rglob("__pycache__"))


def test_the_child_process_does_not_inherit_the_servers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    assert set(interpreter.environment()) <= {
        "OPENBLAS_NUM_THREADS",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "SYSTEMROOT",
    }


# -- finding an interpreter --------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_interpreter_known")
def test_the_running_interpreter_is_found() -> None:
    assert find_interpreter() == sys.executable
    assert interpreter._found == [sys.executable]


@pytest.mark.usefixtures("no_interpreter_known")
@pytest.mark.parametrize("executable", ["", "/bin/true", "/nowhere/python", "python3"])
def test_an_embedding_program_finds_an_interpreter_by_its_prefix(
    monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(sys, "_base_executable", executable, raising=False)
    assert Path(find_interpreter()).name == interpreter.PYTHON
    assert compile_module(BIG, SETTINGS, timeout_s=PATIENCE_S, trusted=False)


@pytest.mark.usefixtures("no_interpreter_known")
def test_an_interpreter_on_the_path_is_used_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = Path(sys.executable)
    for name in (
        "executable",
        "_base_executable",
        "prefix",
        "exec_prefix",
        "base_prefix",
        "base_exec_prefix",
    ):
        monkeypatch.setattr(sys, name, "/nowhere", raising=False)
    script = tmp_path / "python3"
    script.write_text(f'#!/bin/sh\nexec "{real}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_interpreter() == str(script)


@pytest.mark.usefixtures("no_interpreter_known")
def test_the_environment_variable_names_the_interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "mine"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PORTALIS_PYTHON", str(script))
    assert find_interpreter() == str(script)


@pytest.mark.usefixtures("no_interpreter_known")
@pytest.mark.parametrize(
    "script",
    [
        "#!/bin/sh\necho '(2, 7)'\n",
        "#!/bin/sh\nexit 1\n",
        "#!/no/such/interpreter\n",
        "#!/bin/sh\nexec sleep 60\n",
    ],
    ids=["another version", "fails", "cannot run", "hangs"],
)
def test_an_unsuitable_python_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(script)
    wrong.chmod(0o755)
    monkeypatch.setenv("PORTALIS_PYTHON", str(wrong))
    works = interpreter._works

    def probe(python: str) -> bool:
        monkeypatch.setattr(interpreter, "PROBE_TIMEOUT_S", 0.5 if python == str(wrong) else PATIENCE_S)
        return works(python)

    monkeypatch.setattr(interpreter, "_works", probe)
    assert find_interpreter() == sys.executable


@pytest.mark.usefixtures("no_interpreter_known")
def test_without_any_interpreter_a_module_that_is_not_trusted_is_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (
        "executable",
        "_base_executable",
        "prefix",
        "exec_prefix",
        "base_prefix",
        "base_exec_prefix",
    ):
        monkeypatch.setattr(sys, name, "", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ModuleError, match=r"no python3.*PORTALIS_PYTHON"):
        compile_module(BIG, SETTINGS, timeout_s=PATIENCE_S, trusted=False)
    assert compile_module(BIG, SETTINGS, timeout_s=PATIENCE_S, trusted=True)


def test_a_compiler_process_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_interpreter", lambda: "/nowhere/python")
    with pytest.raises(ModuleError, match="no process can be started: No such file"):
        compile_module(BIG, SETTINGS, timeout_s=PATIENCE_S, trusted=False)
