"""A process without memory: whichever allocation of the core fails, the program does not load or the call fails with
HostBusy, and the next one is answered."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backend.native.cores import child, core

HERE = Path(__file__).parent
NATIVE = HERE.parents[2] / "backend" / "native"
SOURCES = ("engine", "program", "box", "call", "failure", "host")


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core with an allocator that can be made to fail."""
    core()
    assert importlib.util.find_spec("ziglang") is not None, "the package ziglang compiles the core"
    library = tmp_path_factory.mktemp("failing") / "libwasm_core.so"
    header = library.parent / "failing.h"
    header.write_text(
        "#include <stdlib.h>\nvoid *failing_malloc(size_t);\nvoid *failing_calloc(size_t, size_t);\n"
        "void *failing_realloc(void *, size_t);\n"
    )
    cc = [sys.executable, "-m", "ziglang", "cc", "-target", f"{platform.machine()}-linux-gnu.2.28", "-std=gnu11", "-O1", "-fPIC"]
    allocator = library.parent / "failing.o"
    subprocess.run([*cc, "-c", str(HERE / "failing.c"), "-o", str(allocator)], check=True)
    flags = ["-shared", "-fvisibility=hidden", "-I", str(NATIVE), "-D_GNU_SOURCE", "-Wno-macro-redefined", "-include", str(header)]
    flags += [f"-D{name}=failing_{name}" for name in ("malloc", "calloc", "realloc")]
    sources = [str(NATIVE / f"{name}.c") for name in SOURCES]
    subprocess.run([*cc, *flags, "-o", str(library), *sources, str(allocator)], check=True)
    return library


def test_every_allocation_that_fails_is_an_error_of_its_call(failing: Path) -> None:
    told = child(f"""
import ctypes
from portalis.backend.executor import loaded
from portalis.backend.executor.core_library import Core
from tests.backend import guests, host_guests
LINE = guests.wasm(f'''(module {{host_guests.imports("fd_write")}} {{guests.PRELUDE}} (data (i32.const 16) "a line")
  (func (export "portalis_infer") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32) (result i32)
    (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 6))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) {{guests.ECHO_BODY}}))''',
  dict(entry="portalis_infer", convention="dlpack", max_batch_size=8, inputs=[guests.tensor("x")], outputs=[guests.tensor("y")]))
library = Core({str(failing)!r})
raw = ctypes.CDLL({str(failing)!r})
failing_at = ctypes.c_int.in_dll(raw, "failing_at")
loaded.native_core = lambda: library
library.set(Settings(0, 5_000_000_000, 60_000_000_000, 4096))
outcomes, lines, at = set(), [], 0
while True:
    at += 1
    raw.failing_count(1)
    failing_at.value = at
    limits = Limits(max_stack_bytes=(1 << 18) + 4096 * min(at, 4))  # new engines at first, since those are kept
    try:
        program = Program.load(LINE, limits=limits, on_output=lambda stream, text: lines.append(text))
        answer(program)
        outcomes.add("ok")
    except WasmError as error:
        outcomes.add(type(error).__name__)
    reached = raw.failing_count(0) >= at
    failing_at.value = 0
    assert answer(Program.load(guests.echo(batch=8))) == [1] * 4
    if not reached: break
print(at > 6, *sorted(outcomes), core().instances())
print(set(lines))
""")
    first, lines = told.splitlines()
    assert first == "True HostBusy InternalError ok 0"
    assert "a line" in lines
