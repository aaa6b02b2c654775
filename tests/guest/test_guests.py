"""The examples of the guest kits, compiled and run. Together they use the entire ABI."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from portalis.backend import GuestStatus, Program, Trap
from tests import parts
from tests.running.compiled import compiled

GUEST = Path(__file__).resolve().parents[2] / "guest"
C_FLAGS = ("-target", "wasm32-freestanding", "-O3", "-mcpu=generic+simd128+bulk_memory", "-nostdlib", "-Wl,--no-entry")
F32 = np.float32
pytestmark = pytest.mark.compiler


def run(*command: str | Path) -> None:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=GUEST.parent, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def c(source: Path, target: Path, *flags: str, compiler: str = "cc") -> Path:
    strict = ("-Wall", "-Wextra", "-Werror", "-Wl,--strip-debug", "-I", str(GUEST / "c"))
    run(*parts.zig(), compiler, *C_FLAGS, *strict, *flags, source, "-o", target)
    return target


def rust(name: str, folder: Path) -> Path:
    rustc = [parts.rustc(), "--edition", "2021", "-O", "-C", "panic=abort", "--target", "wasm32-unknown-unknown"]
    library, target = folder / "libportalis_guest.rlib", folder / f"{name}.wasm"
    run(
        *rustc,
        "--crate-type",
        "rlib",
        "--crate-name",
        "portalis_guest",
        "-D",
        "warnings",
        GUEST / "rust/src/lib.rs",
        "-o",
        library,
    )
    source = GUEST / "rust" / "examples" / f"{name}.rs"
    run(
        *rustc,
        "--crate-type",
        "cdylib",
        "--extern",
        f"portalis_guest={library}",
        "-D",
        "warnings",
        source,
        "-o",
        target,
    )
    return target


def zig(name: str, folder: Path) -> Path:
    root, library = GUEST / "zig" / "examples" / f"{name}.zig", GUEST / "zig" / "portalis.zig"
    flags = (
        "-target",
        "wasm32-freestanding",
        "-mcpu=generic+simd128+bulk_memory",
        "-fno-entry",
        "-rdynamic",
        "-O",
        "ReleaseFast",
    )
    target = folder / f"{name}.wasm"
    run(
        *parts.zig(),
        "build-exe",
        *flags,
        "-fstrip",
        "--dep",
        "portalis",
        f"-Mroot={root}",
        f"-Mportalis={library}",
        f"-femit-bin={target}",
    )
    return target


def assemblyscript(name: str, folder: Path) -> Path:
    target = folder / f"{name}.wasm"
    transform = ("--runtime", "stub", "--transform", "./guest/assemblyscript/portalis.mjs")
    run(*parts.asc(), f"guest/assemblyscript/examples/{name}.ts", "-O3", *transform, "-o", target)
    return target


BUILDERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "histogram": ("c", lambda folder: c(GUEST / "c/examples/histogram.c", folder / "histogram.wasm")),
    "scaled_add": ("rust", lambda folder: rust("scaled_add", folder)),
    "word_lengths": ("rust", lambda folder: rust("word_lengths", folder)),
    "row_argmax": ("zig", lambda folder: zig("row_argmax", folder)),
    "shout": ("assemblyscript", lambda folder: assemblyscript("shout", folder)),
}
# the command that prints the version of a language's compiler
VERSIONS: dict[str, Callable[[], list[str]]] = {
    "c": lambda: [*parts.zig(), "version"],
    "zig": lambda: [*parts.zig(), "version"],
    "rust": lambda: [parts.rustc(), "-vV"],
    "assemblyscript": lambda: [*parts.asc(), "--version"],
}


def built(language: str, name: str, build: Callable[[Path], Path], *sources: Path) -> Path:
    """The module that `build` compiles from the guest kit and `sources`, cached. The compilers' flags are in this file."""

    def into(target: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            shutil.copyfile(build(Path(folder)), target)

    return compiled(name, VERSIONS[language](), [GUEST / language, Path(__file__), *sources], into)


def module(name: str) -> Path:
    """The compiled module of an example."""
    language, build = BUILDERS[name]
    return built(language, name, build)


@pytest.fixture
def load() -> Callable[..., Program]:
    return lambda name, **settings_: Program.load(module(name), **settings_)


def texts(*items: bytes) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


@pytest.mark.parametrize("name", BUILDERS)
def test_the_module_declares_its_interface_and_imports_nothing(name: str, load: Callable[..., Program]) -> None:
    program = load(name)
    assert program.interface.source == "section"
    assert [(i.module, i.name) for i in program.info.imports] in ([], [("env", "abort")])


def test_c_computes_histograms_and_the_fullest_bin(load: Callable[..., Program]) -> None:
    program, x = load("histogram"), np.array([[1, 1, 7], [9, 9, 9]], np.uint8)
    got = program.run({"x": x})
    assert got["counts"].shape == (2, 256) and got["counts"][0, [1, 7]].tolist() == [2, 1] and got["counts"][1, 9] == 3
    assert got["fullest"].tolist() == [[b""], [b""]]
    names = np.array([[f"bin {i}".encode() for i in range(256)]] * 2, dtype=object)
    assert program.run({"x": x, "names": names})["fullest"].tolist() == [[b"bin 1"], [b"bin 9"]]
    with pytest.raises(GuestStatus, match="x has no columns"):
        program.run({"x": x[:, :0]})


def test_rust_adds_with_an_optional_input(load: Callable[..., Program]) -> None:
    program = load("scaled_add")
    x, a = np.arange(6, dtype=F32).reshape(2, 3), np.array([[2], [-1]], F32)
    np.testing.assert_array_equal(program.run({"x": x, "a": a})["y"], a * x)
    np.testing.assert_array_equal(program.run({"x": x, "a": a, "b": x})["y"], a * x + x)
    with pytest.raises(GuestStatus, match="returned status 1: b must have the shape of x"):
        program.run({"x": x, "a": a, "b": x[:, :1]})


def test_rust_reads_and_writes_bytes_and_its_panics_are_reported(load: Callable[..., Program]) -> None:
    program = load("word_lengths")
    got = program.run({"text": texts(b"one  two\nthree", b"", b"four")})
    assert got["word"].tolist() == [b"one", b"two", b"three", b"four"] and got["length"].tolist() == [3, 3, 5, 4]
    assert program.run({"text": texts()})["word"].shape == (0,)
    with pytest.raises(Trap, match=r"(?s)the guest's message: panicked at.*the text asked for it"):
        program.run({"text": texts(b"panic")})


@settings(deadline=None, max_examples=40)
@given(
    x=hnp.arrays(F32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=20), elements={"allow_nan": False})
)
def test_zig_computes_the_maximum_of_each_row(x: np.ndarray) -> None:
    program = Program.load(module("row_argmax"))
    if not x.shape[1]:
        with pytest.raises(GuestStatus, match="x has no columns"):
            program.run({"x": x})
        return
    got = program.run({"x": x})
    np.testing.assert_array_equal(got["index"][:, 0], x.argmax(axis=1))
    np.testing.assert_array_equal(got["value"][:, 0], x.max(axis=1))


def test_assemblyscript_filters_bytes_and_its_failed_asserts_are_reported(load: Callable[..., Program]) -> None:
    program = load("shout")
    got = program.run({"text": texts(b"hello", b"hi", b"wor1d!"), "least": np.array([3], np.uint8)})
    assert got["loud"].tolist() == [b"HELLO", b"WOR1D!"] and got["kept"].tolist() == [0, 2]
    with pytest.raises(GuestStatus, match="least must be at most 200"):
        program.run({"text": texts(b"x"), "least": np.array([201], np.uint8)})
    with pytest.raises(Trap, match=r"a text is too long at .*shout\.ts:\d+"):
        program.run({"text": texts(b"x" * 100_000)})


CALLS: dict[str, dict[str, np.ndarray]] = {
    "histogram": {"x": np.ones((3, 500), np.uint8)},
    "scaled_add": {"x": np.ones((3, 500), F32), "a": np.ones((3, 1), F32)},
    "word_lengths": {"text": texts(*[b"some words here"] * 50)},
    "row_argmax": {"x": np.ones((3, 500), F32)},
    "shout": {"text": texts(*[b"some words here"] * 50)},
}


@pytest.mark.parametrize("name", BUILDERS)
def test_memory_stays_constant_over_many_calls_of_one_instance(name: str, load: Callable[..., Program]) -> None:
    program = load(name, isolation="instance")
    for _ in range(20):
        program.run(CALLS[name])
    before = program.stats.memory_high_water_bytes
    for _ in range(5000):
        program.run(CALLS[name])
    assert program.stats.instances == 1
    assert program.stats.memory_high_water_bytes == before


@pytest.mark.parametrize("language", ["c++", "c"])
def test_the_header_compiles_as_c11_and_as_cpp17(language: str, tmp_path: Path) -> None:
    source = GUEST.parent / "examples" / "echo" / "echo.c"
    unit = tmp_path / ("echo.cpp" if language == "c++" else "echo.c")
    unit.write_text(source.read_text())
    flags = ("-std=c++17",) if language == "c++" else ("-std=c11", "-Wpedantic", "-Wno-language-extension-token")
    compiler = "c++" if language == "c++" else "cc"
    echo = built(
        "c", f"echo as {language}", lambda folder: c(unit, folder / "echo.wasm", *flags, compiler=compiler), source
    )
    x = np.arange(6, dtype=F32).reshape(2, 3)
    np.testing.assert_array_equal(Program.load(echo).run({"x": x})["y"], x)


def test_the_header_works_with_a_c_library_and_its_malloc(tmp_path: Path) -> None:
    unit = tmp_path / "sorted.c"
    unit.write_text(
        """
        #include <stdio.h>
        #include <stdlib.h>
        #define PORTALIS_USE_MALLOC
        #include "portalis.h"
        PORTALIS_INTERFACE({"abi": 1, "convention": "dlpack",
          "inputs": [{"name": "x", "dtype": "FP32", "dims": [-1]}],
          "outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}]})
        static int order(const void *a, const void *b) {
          float x = *(const float *)a, y = *(const float *)b;
          return (x > y) - (x < y);
        }
        PORTALIS_INFER(in, n_in, out, n_out) {
          (void)n_in, (void)n_out;
          float *y = (float *)portalis_output(&out[0], 1, in[0].shape);
          if (!y) return portalis_fail("out of memory");
          __builtin_memcpy(y, portalis_data(&in[0]), 4 * (size_t)portalis_size(&in[0]));
          qsort(y, (size_t)portalis_size(&in[0]), 4, order);
          printf("sorted %d\\n", (int)portalis_size(&in[0]));
          fflush(stdout);
          return 0;
        }
        """
    )

    def build(folder: Path) -> Path:
        command = [*parts.zig(), "cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-O2", "-Wl,--strip-debug"]
        run(*command, "-I", GUEST / "c", unit, "-o", folder / "sorted.wasm")
        return folder / "sorted.wasm"

    lines: list[str] = []
    program = Program.load(
        built("c", "sorted", build), isolation="instance", on_output=lambda _, line: lines.append(line)
    )
    x = np.random.default_rng(0).random(1000).astype(F32)
    sizes = []
    for _ in range(300):
        np.testing.assert_array_equal(program.run({"x": x})["y"], np.sort(x))
        sizes.append(program.stats.memory_high_water_bytes)
    assert lines == ["sorted 1000"] * 300
    assert sizes[10] == sizes[-1]


TABLE = """
let table = new StaticArray<f64>(4);
for (let i = 0; i < 4; i++) table[i] = i * 10.0;
export function look(i: f64): f64 { return table[<i32>i]; }
"""
C_START = """
static double factor = 0;
__attribute__((export_name("_start"))) void start(void) { factor += 10; }
__attribute__((export_name("scale"))) double scale(double x) { return factor * x; }
"""


def test_assemblyscripts_globals_are_initialized_if_it_exports_its_start(tmp_path: Path) -> None:
    source = tmp_path / "table.ts"
    source.write_text(TABLE)

    def build(folder: Path) -> Path:
        options = ("--runtime", "stub", "-O", "--exportStart", "_start", "-o", folder / "table.wasm")
        run(*parts.asc(), source, *options)
        return folder / "table.wasm"

    with Program.load(built("assemblyscript", "table", build), interface={"entry": "look"}) as program:
        for _ in range(2):
            assert program.run({"x0": np.arange(4.0)[None]})["y"].tolist() == [[0, 10, 20, 30]]


def test_an_exported_start_initializes_a_c_program(tmp_path: Path) -> None:
    source = tmp_path / "start.c"
    source.write_text(C_START)
    path = built("c", "start", lambda folder: c(source, folder / "start.wasm"))
    with Program.load(path, interface={"entry": "scale", "convention": "elementwise"}) as program:
        for _ in range(2):
            assert program.run({"x0": np.arange(3.0)[None]})["y"].tolist() == [[0, 10, 20]]
