"""Names from a module reach no native demangler, and messages only cut and escaped; ordinary names stay readable."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import wasmtime

from portalis.backend import (
    CompileCache,
    GuestError,
    GuestTimeout,
    InterfaceError,
    Limits,
    ModuleError,
    Program,
    Trap,
    WasmError,
)
from portalis.backend.wasm import assembler as emit
from portalis.backend.wasm import name_section as names
from portalis.backend.wasm.binary import read_module, without_custom_sections
from portalis.backend.wasm.name_section import FunctionNames, demangled
from tests.backend import guests
from tests.backend.test_messages import is_plain
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.usefixtures("executor")

LONGEST = 90_000


RUST_BOMB = "_RINvC1a1f" + "TB9_B9_E" * 40 + "E"
FORGED = "f\x1b[2K\r\nERROR the server is down\u202e\x9b"
NAMES = [guests.cxx_bomb(), RUST_BOMB, "_" + RUST_BOMB, "n" * LONGEST, FORGED, "\0" * 500]
# f(-1) ends in four functions deep as `code` says, f(x) = x else
DEEP = """(module {more} (memory (export "memory") 1)
  (func $end {code})
  (func $c (call $end)) (func $b (call $c)) (func $a (call $b))
  (func (export "f") (param $x f32) (result f32)
    (if (f32.lt (local.get $x) (f32.const 0)) (then (call $a))) (local.get $x)))"""
EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'


def renamed(text: str, functions: Mapping[int, str], *more: bytes) -> bytes:
    """The module in `text` with a name section of `functions`, which may be anything, and `more` sections."""
    return guests.named(bytes(wasmtime.wat2wasm(text)), functions) + b"".join(more)


def run(program: Program, value: float, timeout_s: float | None = None) -> float:
    (x,) = (spec.name for spec in program.interface.inputs)
    (output,) = program.run({x: np.full(1, value, np.float32)}, timeout_s=timeout_s).values()
    return float(output[0])


def next_program_answers() -> None:
    with Program.load(bytes(wasmtime.wat2wasm(guests.ADD))) as program:
        one = np.ones(1, np.float32)
        (output,) = program.run({"a": one, "b": one}).values()
        assert output.tolist() == [2]


@pytest.mark.parametrize("name", NAMES, ids=["c++", "rust", "rust on macos", "long", "forged", "nul"])
@pytest.mark.parametrize(
    ("code", "more", "kind", "cause"),
    [
        ("unreachable", "", Trap, "`unreachable` instruction"),
        ("(loop $l (br $l))", "", GuestTimeout, "time limit of 0.1 s"),
        ("(call $end)", "", Trap, "call stack exhausted"),
        ("(drop (i32.load (i32.const -1)))", "", Trap, "out of bounds memory access"),
        ("(call $exit (i32.const 3))", EXIT, GuestError, "exited with code 3"),
    ],
    ids=["trap", "timeout", "stack overflow", "memory fault", "proc_exit"],
)
def test_no_name_of_a_function_costs_time_or_reaches_the_message_whole(
    name: str, code: str, more: str, kind: type[WasmError], cause: str
) -> None:
    wasm = renamed(DEEP.format(code=code, more=more), dict.fromkeys(range(6), name))
    with Program.load(wasm, limits=Limits(timeout_s=PATIENCE_S), trusted=True) as program:
        began = time.process_time()
        with pytest.raises(kind, match=cause) as caught:
            run(program, -1, 0.1 if kind is GuestTimeout else None)
        assert time.process_time() - began < 1
        assert run(program, 5) == 5
    assert len(str(caught.value)) <= 4096
    assert is_plain(str(caught.value))
    assert "ERROR" not in [line[:5] for line in str(caught.value).splitlines()]
    next_program_answers()


@pytest.mark.parametrize("name", NAMES[:5], ids=["c++", "rust", "rust on macos", "long", "forged"])
def test_an_entry_may_have_any_name(name: str) -> None:
    """Its loop is inlined or separate: the name must not appear in the loop's own name section."""
    for body in ("(unreachable)", "(call $own (local.get 0))"):
        text = f'(module (func $own (param f32) (result f32) (unreachable)) (func (export "f") (param f32) (result f32) {body}))'
        wasm = guests.without_names(bytes(wasmtime.wat2wasm(text)))
        section = next(s for s in read_module(wasm).sections if s.number == 7)
        exports = emit.section(7, emit.vector([emit.name(name) + b"\0\x01"]))
        named = Program.load(wasm[: section.at] + exports + wasm[section.end :], interface={"entry": name})
        with named as program, pytest.raises(Trap, match="unreachable") as caught:
            run(program, 1)
        assert len(str(caught.value)) <= 4096
        assert is_plain(str(caught.value))


@pytest.mark.parametrize("name", [*NAMES[:5], "m" * 60_000])
def test_imports_and_exports_with_such_names_are_rejected_in_a_short_message(name: str) -> None:
    wasm = emit.module(
        emit.section(1, emit.vector([emit.func_type((), ())])),
        emit.section(2, emit.vector([emit.name(name) + emit.name(name) + b"\0\0"] * 50)),
        emit.section(7, emit.vector([emit.name(f"{i}{name}") + b"\0\0" for i in range(50)])),
    )
    for interface in (None, {"entry": name, "convention": "gufunc"}):
        with pytest.raises((ModuleError, InterfaceError)) as caught:
            Program.load(wasm, interface=interface)
        assert len(str(caught.value)) <= 4096
        assert is_plain(str(caught.value))
    next_program_answers()


def test_a_name_section_that_comes_twice_or_hides_in_other_sections_changes_nothing() -> None:
    bomb = emit.name_section(guests.cxx_bomb(), dict.fromkeys(range(6), guests.cxx_bomb()))
    hidden = emit.section(0, emit.name("b" * LONGEST) + bomb)
    wasm = renamed(DEEP.format(code="unreachable", more=""), {0: "end"}, bomb, hidden, bomb)
    with Program.load(wasm) as program, pytest.raises(Trap) as caught:
        run(program, -1)
    assert len(str(caught.value)) < 1000


def test_ordinary_names_are_in_the_backtrace_with_the_offsets_of_the_file() -> None:
    text = DEEP.format(code="unreachable", more="")
    wasm = bytes(wasmtime.wat2wasm(text))
    with Program.load(wasm) as program, pytest.raises(Trap) as caught:
        run(program, -1)
    lines = str(caught.value).splitlines()
    frames = [line.split(" - ") for line in lines[lines.index("wasm backtrace:") + 1 :]]
    assert [name for _, name in frames[:4]] == ["end", "c", "b", "a"]
    offsets = [int(place.split(":")[1], 16) for place, _ in frames[:4]]
    assert wasm[offsets[0]] == 0  # unreachable
    assert wasm[offsets[1] : offsets[1] + 2] in (b"\x10\0", b"\x0b")  # the call, or what follows it


def test_a_function_without_a_name_has_its_number() -> None:
    wasm = guests.without_names(bytes(wasmtime.wat2wasm(DEEP.format(code="unreachable", more=""))))
    with Program.load(wasm) as program, pytest.raises(Trap, match=r" - function 0\n(?s:.)* - function 3\n.* - f\n"):
        run(program, -1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("_ZN4core9panicking5panic17h0123456789abcdefE", "core::panicking::panic"),
        ("_ZN3foo3barEv", "foo::bar"),
        ("_ZN3foo3barEv.llvm.1234567890", "foo::bar"),
        ("_ZN3fooE", "foo"),
        ("_ZN3foo99barEv", "_ZN3foo99barEv"),
        ("_ZN3fooES_", "_ZN3fooES_"),
        ("_ZN", "_ZN"),
        ("_ZNE", "_ZNE"),
        ("_Z1fv", "_Z1fv"),
        (guests.cxx_bomb(), guests.cxx_bomb()),
        ("_ZN" + "1a" * 500, "_ZN" + "1a" * 500),
        ("plain", "plain"),
    ],
)
def test_only_names_that_are_written_out_are_demangled(name: str, message: str) -> None:
    assert demangled(name) == message


def test_names_are_found_by_index_and_malformed_sections_have_those_before() -> None:
    good = emit.name_section("m", {0: "f", 3: "größe", 200: "h"})[7:]
    found = FunctionNames(good)
    assert [found.get(i) for i in (0, 1, 3, 199, 200, 201)] == ["f", None, "größe", None, "h", None]
    assert FunctionNames(good[:-3]).get(3) == "größe"
    assert FunctionNames(b"\x01\xff\xff\xff\xff\x0f\x05").get(0) is None
    assert FunctionNames(b"").get(0) is None


def test_two_hundred_thousand_names_are_read_once_in_bounded_time() -> None:
    entries = b"".join(emit.unsigned(i) + b"\x01a" for i in range(200_000))
    body = emit.unsigned(200_000) + entries
    began = time.process_time()
    found = FunctionNames(b"\x01" + emit.unsigned(len(body)) + body)
    assert time.process_time() - began < 2
    assert found.get(names.MAX_NAMED_FUNCTIONS - 1) == "a"
    assert found.get(names.MAX_NAMED_FUNCTIONS) is None


def test_compiling_leaves_no_custom_section_and_moves_nothing() -> None:
    wasm = renamed(DEEP.format(code="unreachable", more=""), {0: "end"})
    blank = without_custom_sections(wasm)
    assert len(blank) == len(wasm)
    assert b"end" not in blank
    assert {name for name, _ in read_module(blank).custom_sections} == {""}
    assert without_custom_sections(blank) == blank
    plain = guests.without_names(wasm)
    assert without_custom_sections(plain) is plain


def test_code_that_was_cached_with_its_names_is_not_used(tmp_path: Path) -> None:
    """The key of an entry is that of the bytes that are compiled."""
    cache, wasm = CompileCache(tmp_path), renamed(DEEP.format(code="unreachable", more=""), {0: "end"})
    Program.load(wasm, cache=cache)
    Program.load(renamed(DEEP.format(code="unreachable", more=""), {0: "dne"}), cache=cache)
    assert (cache.hits, cache.misses) == (4, 4)  # the guest, its loop, the bridge and the adapter
