"""WASI commands run by the real WasmEdge give the same results as in process, and hostile ones are contained.

Wasmer is not available from the registries that a build can reach. Its arguments and errors are therefore tested with
`WASMER_DOUBLE`, a script around the wasmtime package with the same command line: the arguments that the service passes
and its handling of results are real, Wasmer itself is not.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wasmtime

from portalis.backend import (
    GuestError,
    GuestTimeout,
    InputError,
    Limits,
    MemoryLimit,
    ModuleError,
    Program,
    SettingsError,
    Trap,
)
from portalis.nim.service.external import load_program
from portalis.nim.wasm_runtimes import find_runtime
from portalis.spec.container import ContainerConfiguration, WasmRuntime
from tests import parts
from tests.backend import guests
from tests.nim.service.serving import serving
from tests.running import waiting

MIB = 1 << 20
TRAP = '(module (memory (export "memory") 1) (func $deep unreachable) (func (export "_start") (call $deep)))'
SPIN = '(module (memory (export "memory") 1) (func (export "_start") (loop $again (br $again))))'
DEEP = """(module (memory (export "memory") 1)
  (func $down (param i32) (result i32) (i32.add (i32.const 1) (call $down (local.get 0))))
  (func (export "_start") (drop (call $down (i32.const 1)))))"""
GROW = """(module (memory (export "memory") 1)
  (func (export "_start") (if (i32.ne (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable))))"""
LARGE = '(module (memory (export "memory") 2000) (func (export "_start")))'
EXIT = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {code}))))"""
SOCKET = """(module (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (func (export "_start") (drop (call $open (i32.const 1) (i32.const 1) (i32.const 0)))))"""
# writes two bytes: the number of environment variables, and the result of asking for the first preopened directory
LOOK = """(module
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $folder (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $environ (i32.const 32) (i32.const 36)))
    (i32.store8 (i32.const 33) (call $folder (i32.const 3) (i32.const 64)))
    (i32.store (i32.const 0) (i32.const 32)) (i32.store (i32.const 4) (i32.const 2))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
FLOOD = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start") (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 65536))
    (loop $again (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $again))))"""
WASMER_DOUBLE = """#!{python}
# A test double, not Wasmer: `run MODULE [-- ARGUMENTS]`, and Wasmer's form of errors.
import sys, wasmtime
assert sys.argv[1] == "run", sys.argv
module, rest = sys.argv[2], sys.argv[3:]
assert not rest or rest[0] == "--", sys.argv
engine = wasmtime.Engine()
store, linker = wasmtime.Store(engine), wasmtime.Linker(engine)
linker.define_wasi()
wasi = wasmtime.WasiConfig()
wasi.argv = [module, *rest[1:]]
wasi.inherit_stdin(), wasi.inherit_stdout(), wasi.inherit_stderr()
store.set_wasi(wasi)
try:
    instance = linker.instantiate(store, wasmtime.Module.from_file(engine, module))
    instance.exports(store)["_start"](store)
except wasmtime.ExitTrap as leaving:
    sys.exit(leaving.code)
except (wasmtime.Trap, wasmtime.WasmtimeError) as trap:
    sys.exit(f"error: RuntimeError: {{trap}}")
"""


@pytest.fixture(scope="module")
def wasmedge(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The command that starts WasmEdge from the files that an image contains."""
    config = ContainerConfiguration(wasm_runtime=WasmRuntime.WasmEdge, wasm_runtime_path=parts.wasmedge())
    runtime = find_runtime(config)
    assert runtime is not None
    folder = tmp_path_factory.mktemp("runtime")
    for place, source in runtime.files.items():
        target = folder / place
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(source)
    return tuple(word.replace("/opt/wasm-runtime", str(folder)) for word in runtime.command)


@pytest.fixture(params=["WasmEdge", "Wasmer"])
def either(request: pytest.FixtureRequest, wasmedge: tuple[str, ...], tmp_path: Path) -> tuple[str, tuple[str, ...]]:
    """WasmEdge, and the test double of Wasmer."""
    if request.param == "WasmEdge":
        return "WasmEdge", wasmedge
    double = tmp_path / "wasmer"
    double.write_text(WASMER_DOUBLE.format(python=sys.executable))
    double.chmod(0o755)
    return "Wasmer", (str(double),)


def load(folder: Path, runtime: tuple[str, tuple[str, ...]], module: str | bytes, **options: Any) -> Program:
    path = folder / "program.wasm"
    path.write_bytes(module if isinstance(module, bytes) else wasmtime.wat2wasm(module))
    limits = Limits(**options.pop("limits", {}))
    return load_program(path, *runtime, limits=limits, **options)


def rows(*items: object) -> np.ndarray:
    return np.array([[item] for item in items], dtype=object)


CAT = guests.wasm(guests.CAT)


def test_results_equal_those_of_wasmtime_in_process(tmp_path: Path, either: tuple[str, tuple[str, ...]]) -> None:
    args = np.array([[b"a", b"--help"], [b"-v", b""], [b"x y", b"--"]], dtype=object)
    inputs = {"stdin": rows(b"one", b"\xfftwo\n\0", b""), "args": args}
    with load(tmp_path, either, CAT, threads=2) as program, Program.load(CAT) as in_process:
        assert program.interface == in_process.interface
        outputs, expected = program.run(inputs), in_process.run(inputs)
    assert {key: each.tolist() for key, each in outputs.items()} == {
        key: each.tolist() for key, each in expected.items()
    }
    assert {key: each.dtype for key, each in outputs.items()} == {key: each.dtype for key, each in expected.items()}


def test_input_larger_than_a_pipe_buffer_is_sent_completely(
    tmp_path: Path, either: tuple[str, tuple[str, ...]]
) -> None:
    data = bytes(range(256)) * 2000
    with load(tmp_path, either, CAT) as program:
        assert program.run({"stdin": rows(data)})["stdout"][0, 0] == data


def test_a_program_that_does_not_read_its_input_succeeds(tmp_path: Path, either: tuple[str, tuple[str, ...]]) -> None:
    with load(tmp_path, either, EXIT.format(code=7)) as program:
        assert program.run({"stdin": rows(b"x" * MIB)})["exit_code"].tolist() == [[7]]


@pytest.mark.parametrize("code", [0, 1, 125])
def test_an_exit_code_is_a_result(tmp_path: Path, either: tuple[str, tuple[str, ...]], code: int) -> None:
    with load(tmp_path, either, EXIT.format(code=code)) as program:
        assert program.run({"stdin": rows(b"")})["exit_code"].tolist() == [[code]]


@pytest.mark.parametrize(("code", "reported"), [(134, 134), (255, 255), (300, 44)])
def test_only_the_lowest_eight_bits_of_an_exit_code_are_reported(
    tmp_path: Path, wasmedge: tuple[str, ...], code: int, reported: int
) -> None:
    # 134 is also the exit status of WasmEdge after a trap
    with load(tmp_path, ("WasmEdge", wasmedge), EXIT.format(code=code)) as program:
        assert program.run({"stdin": rows(b"")})["exit_code"].tolist() == [[reported]]


def test_a_trap_fails_only_its_own_request(tmp_path: Path, either: tuple[str, tuple[str, ...]]) -> None:
    with load(tmp_path, either, TRAP) as program, pytest.raises(Trap, match=f"(?s){either[0]}: .*unreachable"):
        program.run({"stdin": rows(b"")})
    with load(tmp_path, either, CAT) as program:
        good, bad = program.run_batch([{"stdin": rows(b"x")}, {"nope": rows(b"")}])
        assert isinstance(good, dict) and isinstance(bad, InputError)


def test_a_program_that_runs_too_long_is_killed(tmp_path: Path, either: tuple[str, tuple[str, ...]]) -> None:
    path = str(tmp_path / "program.wasm")
    with load(tmp_path, either, SPIN) as program, pytest.raises(GuestTimeout, match=r"limit of 0\.5 s"):
        program.run({"stdin": rows(b"")}, timeout_s=0.5)
    waiting.until(lambda: path not in "".join(_command_lines()))


def _command_lines() -> list[str]:
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            found.append((each / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found


def test_a_program_that_writes_too_much_is_stopped(tmp_path: Path, either: tuple[str, tuple[str, ...]]) -> None:
    with (
        load(tmp_path, either, FLOOD, limits={"max_stdout_bytes": MIB}) as program,
        pytest.raises(GuestError, match=r"more than 1048576 bytes to a stream"),
    ):
        program.run({"stdin": rows(b"")})


def test_the_guest_has_no_environment_variables_and_no_directories(
    tmp_path: Path, either: tuple[str, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    with load(tmp_path, either, LOOK) as program:
        assert program.run({"stdin": rows(b"")})["stdout"][0, 0] == b"\x00\x08"  # 8 is EBADF


def test_memory_beyond_the_limit_is_not_available(tmp_path: Path, wasmedge: tuple[str, ...]) -> None:
    runtime = ("WasmEdge", wasmedge)
    with load(tmp_path, runtime, GROW, limits={"max_memory_bytes": MIB}) as program:
        result = program.run({"stdin": rows(b"")})
        # WasmEdge writes a log line to the guest's standard output, which is removed
        assert result["stdout"].tolist() == [[b""]] and result["exit_code"].tolist() == [[0]]
    with pytest.raises(ModuleError, match=r"131072000 bytes\), more than the limit of 1048576 bytes: raise limits.max"):
        load(tmp_path, runtime, LARGE, limits={"max_memory_bytes": MIB})


def test_a_recursion_that_exhausts_the_runtimes_memory_is_stopped(tmp_path: Path, wasmedge: tuple[str, ...]) -> None:
    limits = {"max_memory_bytes": MIB, "timeout_s": waiting.PATIENCE_S}
    with load(tmp_path, ("WasmEdge", wasmedge), DEEP, limits=limits) as program:
        with pytest.raises(MemoryLimit, match="SIGABRT"):
            program.run({"stdin": rows(b"")})
        assert program.stats.calls == 1


def test_modules_that_import_sockets_are_rejected_although_wasmedge_has_them(
    tmp_path: Path, wasmedge: tuple[str, ...]
) -> None:
    with pytest.raises(ModuleError, match=r"has imports that the host does not provide: .*sock_open"):
        load(tmp_path, ("WasmEdge", wasmedge), SOCKET)


def test_modules_and_executables_that_cannot_be_used_are_rejected_with_the_reason(
    tmp_path: Path, wasmedge: tuple[str, ...]
) -> None:
    kernel = '(module (func (export "twice") (param $x f32) (result f32) (f32.add (local.get $x) (local.get $x))))'
    with pytest.raises(SettingsError, match="expected the convention command for an external runtime, got elementwise"):
        load(tmp_path, ("WasmEdge", wasmedge), kernel)
    with pytest.raises(SettingsError, match=r"WasmEdge cannot be started: no executable /nowhere/wasmedge found"):
        load(tmp_path, ("WasmEdge", ("/nowhere/wasmedge",)), CAT)


def test_a_runtime_that_is_not_on_path_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("Wasmer", "WasmEdge"):
        with pytest.raises(SettingsError, match=f"{name} is not installed: no {name.lower()} found on PATH; install"):
            load(tmp_path, (name, ()), CAT)


def test_arguments_beyond_the_operating_systems_limit_are_an_input_error(
    tmp_path: Path, wasmedge: tuple[str, ...]
) -> None:
    with load(tmp_path, ("WasmEdge", wasmedge), CAT) as program, pytest.raises(InputError, match="args"):
        program.run({"stdin": rows(b""), "args": rows(b"x" * (8 * MIB))})


def open_files() -> set[tuple[str, str]]:
    """The file descriptors of this process, and what each refers to."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of the directory itself
            found.add((each.name, str(each.readlink())))
    return found


def test_many_threads_run_programs_concurrently_and_leave_no_open_descriptors(
    tmp_path: Path, wasmedge: tuple[str, ...]
) -> None:
    with load(tmp_path, ("WasmEdge", wasmedge), CAT) as program:
        program.run({"stdin": rows(b"x")})
        before = open_files()
        outputs: list[bytes] = []

        def call(number: int) -> None:
            for turn in range(5):
                data = f"{number} {turn}".encode() * 1000
                assert program.run({"stdin": rows(data)})["stdout"][0, 0] == data
                outputs.append(data)

        threads = [threading.Thread(target=call, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(waiting.PATIENCE_S)
        assert len(outputs) == 40
        # descriptors of an earlier test can be closed in the meantime
        assert open_files() - before == set()


@pytest.mark.service
def test_the_service_serves_a_command_in_wasmedge(tmp_path: Path, wasmedge: tuple[str, ...]) -> None:
    (tmp_path / "cat.wasm").write_bytes(CAT)
    model = {"name": "cat", "file": "cat.wasm", "wasm_runtime": "WasmEdge", "wasm_runtime_command": list(wasmedge)}
    with serving(tmp_path, [model]) as client:
        client.wait_ready()
        stdin = {"name": "stdin", "datatype": "BYTES", "shape": [2, 1], "data": ["hello", "Zürich"]}
        status, document = client.infer("cat", {"inputs": [stdin]})
    assert status == 200, document
    outputs = {each["name"]: each["data"] for each in document["outputs"]}
    assert outputs["stdout"] == ["hello", "Zürich"]


@pytest.mark.service
def test_health_reports_why_a_model_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "cat.wasm").write_bytes(CAT)
    model = {"name": "cat", "file": "cat.wasm", "wasm_runtime": "Wasmer", "wasm_runtime_command": ["/nowhere/wasmer"]}
    with serving(tmp_path, [model]) as client:
        client.wait_loaded()
        message = client.get("/v1/health/ready")[1]["error"]["message"]
    assert "no executable /nowhere/wasmer found; install Wasmer" in message


@pytest.mark.service
def test_a_program_ends_even_if_the_service_is_killed(tmp_path: Path, wasmedge: tuple[str, ...]) -> None:
    module = tmp_path / "spin.wasm"
    module.write_bytes(wasmtime.wat2wasm(SPIN))
    code = f"""
import numpy as np
from pathlib import Path
from portalis.backend import GuestTimeout, Limits
from portalis.nim.service.external import load_program
program = load_program(Path({str(module)!r}), "WasmEdge", {wasmedge!r}, limits=Limits(timeout_s=2))
while True:
    try:
        program.run({{"stdin": np.array([[b""]], dtype=object)}})
    except GuestTimeout:  # the test has not seen it within its 2 s, which can happen on a busy machine
        pass
"""
    service = subprocess.Popen([sys.executable, "-c", code], cwd=parts.ROOT)

    def running() -> bool:
        """Whether the shell that sets the limits has become WasmEdge."""
        assert service.poll() is None
        for child in Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{child}/cmdline").read_text()
                return str(module) in line and "wasmedge" in line and "-c" not in line.split("\0")
        return False

    waiting.until(running, every_s=0.01)
    service.kill()
    service.wait(waiting.PATIENCE_S)
    waiting.until(lambda: str(module) not in "".join(_command_lines()))
