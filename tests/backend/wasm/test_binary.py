"""The reader of module binaries agrees with wasmtime, and what is cut or changed is an error that says where."""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from portalis.backend import WasmError
from portalis.backend.errors import ModuleError
from portalis.backend.interface.discovery import MAX_SECTION_BYTES, discover
from portalis.backend.wasm import assembler as emit
from portalis.backend.wasm import name_section as names
from portalis.backend.wasm import proposals
from portalis.backend.wasm.binary import (
    MAX_METADATA_BYTES,
    MAX_NAMES_BYTES,
    MAX_SECTIONS,
    Export,
    FuncType,
    GlobalType,
    Import,
    MemoryType,
    ModuleInfo,
    read_module,
)
from portalis.backend.wasm.inline import MAX_CODE_BYTES, MAX_LOCALS, LeafBody, leaf_body
from portalis.backend.wasm.instructions import Instruction, declared_locals, walk
from portalis.backend.wasm.leb128 import MAX_NAME_BYTES, Reader, Truncated
from portalis.backend.wasm.sections import MAX_ITEMS
from tests.backend import guests

FOLDER = Path(__file__).resolve().parents[3] / "examples"
MODULES = sorted(FOLDER.glob("*/*.wasm"), key=lambda path: path.stat().st_size)
HEADER = b"\0asm\x01\0\0\0"
EMPTY_TYPE = emit.section(1, emit.vector([emit.func_type([], [])]))
ENGINE = wasmtime.Engine()


def plain_engine() -> wasmtime.Engine:
    """An engine for the types that wasmtime's reflection supports: it aborts the process for other types."""
    config = wasmtime.Config()
    for proposal in ("simd", "relaxed_simd", "exceptions", "gc", "function_references", "threads"):
        setattr(config, f"wasm_{proposal}", False)
    return wasmtime.Engine(config)


PLAIN_ENGINE = plain_engine()


def reader(data: bytes) -> Reader:
    return Reader(data, 0, len(data))


def instructions(body: bytes) -> list[Instruction]:
    """The instructions of a body, after its locals."""
    read = reader(body)
    for _ in declared_locals(read):
        pass
    return list(walk(read))


def read_text(text: str) -> ModuleInfo:
    return read_module(guests.wasm(text))


def compiled(data: bytes, engine: wasmtime.Engine = ENGINE) -> wasmtime.Module:
    return wasmtime.Module(engine, data)


def seen_by_wasmtime(kind: object) -> tuple[str, object]:
    """The kind and type of an import or export, in the reader's own terms."""
    if isinstance(kind, wasmtime.FuncType):
        return "func", FuncType(tuple(map(_name, kind.params)), tuple(map(_name, kind.results)))
    if isinstance(kind, wasmtime.MemoryType):
        return "memory", MemoryType(kind.limits.min, kind.limits.max, kind.is_shared, kind.is_64)
    if isinstance(kind, wasmtime.GlobalType):
        return "global", GlobalType(_name(kind.content), kind.mutable)
    assert isinstance(kind, wasmtime.TableType)
    return "table", None


def _name(kind: wasmtime.ValType) -> str:
    """wasmtime-py has kept the name that externref had before the specification was final."""
    return "externref" if str(kind) == "anyref" else str(kind)


def assert_agrees_with_wasmtime(data: bytes, engine: wasmtime.Engine = ENGINE) -> None:
    info, module = read_module(data), compiled(data, engine)
    assert [(e.name, e.kind, e.type) for e in info.exports] == [
        (e.name, *seen_by_wasmtime(e.type)) for e in module.exports
    ]
    assert [(i.module, i.name, i.kind, i.type) for i in info.imports] == [
        (i.module, i.name, *seen_by_wasmtime(i.type)) for i in module.imports
    ]


# -- LEB128 ------------------------------------------------------------------------------------------------------------


@given(value=st.integers(0, (1 << 64) - 1))
def test_an_unsigned_integer_is_read_as_it_was_written(value: int) -> None:
    read = reader(emit.unsigned(value) + b"\xff")
    assert read.unsigned(64) == value
    assert read.at == len(emit.unsigned(value))


@given(value=st.integers(1 << 32, (1 << 35) - 1))
def test_an_integer_above_32_bits_is_rejected(value: int) -> None:
    with pytest.raises(Truncated, match=r"^an integer is too large at offset 0x0$"):
        reader(emit.unsigned(value)).unsigned()


def test_an_integer_that_never_ends_is_rejected_where_it_began() -> None:
    read = reader(b"\0" + b"\x80" * 20)
    read.byte()
    with pytest.raises(Truncated, match=r"^an integer is too long at offset 0x1$") as caught:
        read.unsigned(64)
    assert caught.value.at == 1


@given(value=st.integers(-(1 << 63), (1 << 63) - 1))
def test_a_signed_integer_is_the_one_that_wasmtime_reads(value: int) -> None:
    encoded = emit.signed(value)
    read = reader(encoded + b"\0")
    read.skip_integer()
    assert read.at == len(encoded) <= 10
    decoded = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(encoded))
    assert decoded - (decoded >> (7 * len(encoded) - 1) << 7 * len(encoded)) == value


@pytest.mark.parametrize("value", [0, 63, 64, -64, -65, 127, 128, (1 << 31) - 1, -(1 << 31)])
def test_a_constant_is_what_the_running_code_returns(value: int) -> None:
    for valtype in ("i32", "i64", "f32", "f64"):
        body = emit.function([], emit.constant(valtype, value))
        data = emit.module(
            emit.section(1, emit.vector([emit.func_type([], [valtype])])),
            emit.section(3, emit.vector([b"\0"])),
            emit.section(7, emit.vector([emit.name("f") + b"\0\0"])),
            emit.section(10, emit.vector([body])),
        )
        store = wasmtime.Store(ENGINE)
        function = wasmtime.Instance(store, compiled(data), []).exports(store)["f"]
        assert isinstance(function, wasmtime.Func)
        expected = (
            value
            if valtype[0] == "i"
            else struct.unpack("<f" if valtype == "f32" else "<d", body[-5 if valtype == "f32" else -9 : -1])[0]
        )
        assert function(store) == expected
        assert abs(expected - value) <= abs(value) * 1e-7


def test_a_name_is_read_whole_or_rejected_where_it_began() -> None:
    assert reader(emit.name("größe")).name() == "größe"
    with pytest.raises(Truncated, match=r"^a name is not UTF-8 at offset 0x0$"):
        reader(b"\x02\xff\xfe").name()
    with pytest.raises(Truncated, match=r"^5 bytes are announced, 2 are left at offset 0x1$"):
        reader(b"\x05ab").name()


def test_a_list_of_types_longer_than_the_bytes_is_rejected_before_anything_is_made() -> None:
    huge = emit.section(1, b"\x01\x60" + emit.unsigned(0xFFFFFFFF) + b"ab")
    with pytest.raises(ModuleError, match=r": 4294967295 items are announced, 2 bytes are left at offset 0x11 "):
        read_module(HEADER + huge)


def test_reading_stops_at_the_end_of_the_part() -> None:
    read = Reader(b"abc", 1, 2)
    assert read.byte() == ord("b")
    with pytest.raises(Truncated, match=r"^the bytes end at offset 0x2$"):
        read.byte()


# -- agreement with wasmtime -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_examples_look_as_wasmtime_sees_them(path: Path) -> None:
    assert len(MODULES) == 7
    assert_agrees_with_wasmtime(path.read_bytes())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_file_reads_as_its_bytes_do(path: Path) -> None:
    mapped, held = read_module(path), read_module(path.read_bytes())
    assert (mapped.name, held.name) == (str(path), "the module")
    assert mapped.exports == held.exports and mapped.custom_sections == held.custom_sections
    assert mapped.size == held.size == path.stat().st_size
    assert list(mapped.bodies()) == list(held.bodies())
    assert mapped.custom("name") == held.custom("name")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_body_of_the_examples_is_walked_to_its_end(path: Path) -> None:
    info = read_module(path)
    for body in info.bodies():
        last = instructions(body)[-1]
        assert (last.opcode, last.end) == (0x0B, len(body))


VALTYPES = st.sampled_from(["i32", "i64", "f32", "f64"])
TYPES = st.tuples(st.lists(VALTYPES, max_size=4), st.lists(VALTYPES, max_size=3))
NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), min_size=4, max_size=8, unique=True)


def limits(minimum: int, maximum: int | None) -> bytes:
    upper = b"" if maximum is None else emit.unsigned(maximum)
    return bytes([maximum is not None]) + emit.unsigned(minimum) + upper


@settings(deadline=None, max_examples=80)
@given(
    types=st.lists(TYPES, min_size=1, max_size=4),
    names_=NAMES,
    pages=st.tuples(st.integers(0, 20), st.none() | st.integers(20, 65536)),
    global_=st.tuples(VALTYPES, st.booleans()),
    imported=st.booleans(),
)
def test_generated_modules_look_as_wasmtime_sees_them(
    types: list[tuple[list[str], list[str]]],
    names_: list[str],
    pages: tuple[int, int | None],
    global_: tuple[str, bool],
    imported: bool,
) -> None:
    valtype, mutable = global_
    bodies = [emit.function(["i64", "f32"], b"".join(emit.ZERO[r] for r in results)) for _, results in types]
    outside = [emit.name("env") + emit.name(names_[0]) + b"\0" + emit.unsigned(i) for i in range(len(types))]
    outside.append(emit.name("env") + emit.name("t") + b"\x01\x70" + limits(1, 9))
    outside.append(emit.name("env") + emit.name("g") + b"\x03" + bytes([emit.VALTYPES[valtype], mutable]))
    shift = len(types) if imported else 0
    kinds = [b"\0" + emit.unsigned(shift), b"\x01\0", b"\x02\0", b"\x03" + emit.unsigned(1 if imported else 0)]
    data = emit.module(
        emit.section(1, emit.vector([emit.func_type(*t) for t in types])),
        *([emit.section(2, emit.vector(outside))] if imported else []),
        emit.section(3, emit.vector([emit.unsigned(i) for i in range(len(types))])),
        emit.section(4, emit.vector([b"\x6f" + limits(0, None)])),
        emit.section(5, emit.vector([limits(*pages)])),
        emit.section(6, emit.vector([bytes([emit.VALTYPES[valtype], mutable]) + emit.ZERO[valtype] + b"\x0b"])),
        emit.section(7, emit.vector([emit.name(n) + kind for n, kind in zip(names_, kinds)])),
        emit.section(10, emit.vector(bodies)),
        emit.name_section("generated", {shift: "first"}),
    )
    assert_agrees_with_wasmtime(data)
    info = read_module(data)
    assert info.imported_functions == shift and len(info.tables) == 1 + imported
    assert info.memories == (MemoryType(*pages, shared=False, memory64=False),)
    assert info.functions[shift:] == tuple(FuncType(tuple(p), tuple(r)) for p, r in types)
    assert info.function_name(shift) == "first"
    assert [info.body(shift + i) for i in range(len(types))] == [body[1:] for body in bodies]
    assert info.is_stateless() is False and info.grows_memory() is False


MANY_KINDS = """(module
  (import "a" "f" (func (param i32 i64) (result f32 f64)))
  (import "a" "t" (table 1 2 funcref))
  (import "a" "m" (memory 1 3))
  (import "a" "g" (global (mut v128)))
  (import "a" "e" (tag (param i32)))
  (memory 2) (memory i64 1 4)
  (table 3 externref)
  (table 1 funcref (ref.null func))
  (global $k (export "k") (mut i64) (i64.const -5))
  (global f64 (f64.const 1.5)) (global f32 (f32.const 2)) (global v128 (v128.const i32x4 1 2 3 4))
  (global i32 (i32.add (i32.const 1) (i32.mul (i32.const 2) (i32.const 3))))
  (global (export "r") (ref func) (ref.func $s))
  (global externref (ref.null extern))
  (func $s (export "s"))
  (func (param (ref func) anyref exnref) (result externref) (unreachable))
  (start $s)
  (export "m" (memory 0)) (export "t" (table 2)) (export "e" (tag 0)))"""


def test_every_kind_of_import_memory_table_and_global_is_read() -> None:
    info = read_text(MANY_KINDS)
    memory = MemoryType(1, 3, False, False)
    assert info.imports == (
        Import("a", "f", "func", FuncType(("i32", "i64"), ("f32", "f64"))),
        Import("a", "t", "table", None),
        Import("a", "m", "memory", memory),
        Import("a", "g", "global", GlobalType("v128", True)),
        Import("a", "e", "tag", None),
    )
    assert info.memories == (memory, MemoryType(2, None, False, False), MemoryType(1, 4, False, True))
    assert len(info.tables) == 3 and info.start == 1
    assert [str(g) for g in info.globals] == ["mut v128", "mut i64", "f64", "f32", "v128", "i32", "ref", "externref"]
    assert str(info.functions[2]) == "(ref, anyref, exnref) -> (externref)"
    assert info.exports == (
        Export("k", "global", 1, GlobalType("i64", True)),
        Export("r", "global", 6, GlobalType("ref", False)),
        Export("s", "func", 1, FuncType((), ())),
        Export("m", "memory", 0, memory),
        Export("t", "table", 2, None),
        Export("e", "tag", 0, None),
    )
    assert [str(m) for m in info.memories] == ["1 to 3 pages", "2 pages", "1 to 4 pages, 64-bit"]


def test_a_shared_memory_and_one_with_its_own_page_size_are_read() -> None:
    shared = emit.module(emit.section(5, emit.vector([b"\x03\x01\x05"])))
    assert str(read_module(shared).memories[0]) == "1 to 5 pages, shared"
    paged = emit.module(emit.section(5, emit.vector([b"\x09\x01\x05\x00"])), emit.section(8, b"\x07"))
    assert str(read_module(paged).memories[0]) == "1 to 5 pages, page size 1"
    assert read_module(paged).start == 7


@pytest.mark.parametrize(
    ("more", "stateless"),
    [
        ("", True),
        ("(global i32 (i32.const 0))", True),
        ("(global (mut i32) (i32.const 0))", False),
        ("(memory 0)", False),
        ("(table 0 funcref)", False),
        ("(func $s) (start $s)", False),
    ],
)
def test_a_module_is_stateless_when_nothing_can_outlive_a_call(more: str, stateless: bool) -> None:
    assert read_text(f'(module (func (export "f")) {more})').is_stateless() is stateless
    assert read_text('(module (import "a" "b" (func)))').is_stateless() is False


@pytest.mark.parametrize(
    ("code", "grows"),
    [
        ("(drop (memory.grow (i32.const 1)))", True),
        ("(drop (memory.size))", False),
        ("(drop (i32.const 64))", False),  # 0x40, the opcode's byte, as a number
        ("(block)", False),  # 0x40 as a block type
        ("(drop (i32.const 0x2000)) (drop (f64.const 0x1p+0)) (drop (i64.load offset=64 (i32.const 0)))", False),
        ("(try_table)", True),  # unknown to the walk: the careful answer
    ],
)
def test_growing_the_memory_is_seen_in_the_instructions_alone(code: str, grows: bool) -> None:
    assert read_text(f"(module (memory 1) (func (local i32 f64) {code}))").grows_memory() is grows


def test_a_module_without_code_has_no_bodies() -> None:
    info = read_text('(module (import "a" "b" (func)))')
    assert list(info.bodies()) == [] and info.body(0) is None and info.grows_memory() is False
    assert info.section(2) is not None and info.section(10) is None
    assert info.export("b") is None


def test_a_body_belongs_to_a_defined_function_only() -> None:
    info = read_text('(module (import "a" "b" (func)) (func (drop (i32.const 7))))')
    assert [info.body(i) for i in (0, 1, 2)] == [None, bytes([0, 0x41, 7, 0x1A, 0x0B]), None]


def test_a_body_longer_than_its_section_is_rejected_by_name() -> None:
    data = EMPTY_TYPE + emit.section(3, b"\x01\0") + emit.section(10, b"\x01\x09\0\x0b")
    with pytest.raises(
        ModuleError,
        match=r"^x\.wasm has a code section that cannot be read: 9 bytes are announced, 2 are left at offset 0x16$",
    ):
        list(read_module(HEADER + data, "x.wasm").bodies())


# -- names -------------------------------------------------------------------------------------------------------------


def test_names_come_from_the_name_section_then_from_the_exports() -> None:
    info = read_text(
        '(module (func $inner (export "outer") (param $a i32) (param $b i32)) (func (export "g") (param i32 i32)) (func))'
    )
    assert [info.function_name(i) for i in range(3)] == ["inner", "g", None]
    assert info.parameter_names(0) == ("a", "b")
    assert info.parameter_names(1) is None
    assert info.parameter_names(2) == ()


def test_parameters_of_the_same_name_have_no_names() -> None:
    same = emit.unsigned(2) + b"\0" + emit.name("a") + b"\x01" + emit.name("a")
    body = emit.unsigned(1) + b"\0" + same
    section = emit.section(0, emit.name("name") + b"\x02" + emit.unsigned(len(body)) + body)
    plain = bytes(wasmtime.wat2wasm("(module (func (param i32 i32)))"))
    assert read_module(plain + section).parameter_names(0) is None


def test_names_before_a_malformed_part_are_kept() -> None:
    body = emit.vector([b"\x05" + emit.vector([b"\0" + emit.name("a"), b"\x01" + emit.name("größe")])])
    good = emit.name_section("m", {0: "f", 3: "größe"})[7:] + b"\x02" + emit.unsigned(len(body)) + body
    for bad in (b"", b"\x02\x03\x01\x00\x09", b"\x01\x04\x01\0\x01\xff", b"\x02", b"\x01\xff\xff\xff\xff\x0f\x05"):
        functions = names.FunctionNames(good + bad)
        assert {index: functions.get(index) for index in functions.indices()} == {0: "f", 3: "größe"}
        assert names.local_names(good + bad, 5) == {0: "a", 1: "größe"}


@given(payload=st.binary(max_size=60))
def test_no_name_section_is_an_error(payload: bytes) -> None:
    functions = names.FunctionNames(payload)
    assert all(isinstance(functions.get(index), str) for index in functions.indices())
    assert all(isinstance(text, str) for text in names.local_names(payload, 0).values())


def test_locals_are_skipped_by_groups() -> None:
    groups = emit.vector([b"\x02\x7f", emit.unsigned(300) + b"\x7c", b"\x01\x63\x80\x01", b"\x01\x64\x70"])
    read = reader(groups + b"\x0b")
    assert list(declared_locals(read)) == [(2, 0x7F), (300, 0x7C), (1, 0x63), (1, 0x64)]
    assert read.at == len(groups)


# -- instructions ------------------------------------------------------------------------------------------------------

EVERY_SHAPE = """(module (memory 1) (memory 1) (table 2 funcref) (elem func $f) (data "ab") (global $g (mut i32) (i32.const 0))
  (type $t (func))
  (func $f (param i32 i64 f32 f64 v128) (result i32) (local funcref)
    (block $a (loop $b (br_if $a (local.get 0)) (br_table $a $b $a (i32.const 300)) (br $b)))
    (if (result i32) (i32.const 1) (then (i32.const -1)) (else (i32.const 2))) drop nop
    (drop (select (result i32) (i32.const 1) (i32.const 2) (i32.const 3)))
    (drop (select (i32.const 1) (i32.const 2) (i32.const 3)))
    (i32.store offset=70000 (i32.const 0) (i32.load8_u offset=1 (i32.const 4)))
    (i64.store 1 offset=9 (i32.const 0) (i64.load 1 (i32.const 4)))
    (drop (memory.grow (i32.const 1))) (memory.fill (i32.const 1) (i32.const 1) (i32.const 1))
    (memory.copy 0 1 (i32.const 1) (i32.const 1) (i32.const 1)) (memory.init 0 (i32.const 1) (i32.const 1) (i32.const 1)) (data.drop 0)
    (table.init 0 (i32.const 1) (i32.const 1) (i32.const 1)) (elem.drop 0) (table.copy (i32.const 1) (i32.const 1) (i32.const 1))
    (drop (table.grow (ref.null func) (i32.const 1))) (drop (table.size)) (table.fill (i32.const 0) (ref.func $f) (i32.const 0))
    (table.set (i32.const 0) (table.get (i32.const 1))) (drop (ref.is_null (local.get 5)))
    (drop (i32.trunc_sat_f32_s (local.get 2))) (drop (i32.extend8_s (local.get 0))) (drop (f64.const 1e300)) (drop (f32.const 1))
    (drop (v128.const i64x2 1 2)) (drop (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 (local.get 4) (local.get 4)))
    (drop (i8x16.extract_lane_s 3 (local.get 4))) (drop (v128.load8_lane offset=3 2 (i32.const 0) (local.get 4)))
    (drop (v128.load32_zero (i32.const 0))) (drop (v128.load8x8_s offset=300 (i32.const 0))) (drop (i32x4.add (local.get 4) (local.get 4)))
    (global.set $g (global.get $g)) (local.set 0 (local.tee 0 (i32.const 5)))
    (call_indirect (type $t) (i32.const 0)) (call $e) (return (i32.const 1)))
  (func $e (return_call $e)) (func $h (return_call_indirect (type $t) (i32.const 0)) unreachable))"""
OPCODES = """02 03 20 0D 41 0E 0C 0B 0B 41 04 41 05 41 0B 1A 01 41 41 41 1C 1A 41 41 41 1B 1A 41 41 2D 36 41 41 29 37 41 40 1A
  41 41 41 FC000B 41 41 41 FC000A 41 41 41 FC0008 FC0009 41 41 41 FC000C FC000D 41 41 41 FC000E D0 41 FC000F 1A FC0010 1A
  41 D2 41 FC0011 41 41 25 26 20 D1 1A 20 FC0000 1A 20 C0 1A 44 1A 43 1A FD000C 1A 20 20 FD000D 1A 20 FD0015 1A
  41 20 FD0054 1A 41 FD005C 1A 41 FD0001 1A 20 20 FD00AE 1A 23 24 41 22 21 41 11 10 41 0F 0B"""


def test_the_walk_steps_over_every_shape_of_immediate() -> None:
    info = read_text(EVERY_SHAPE)
    compiled(guests.wasm(EVERY_SHAPE))
    body = info.body(0)
    assert body is not None
    steps = instructions(body)
    assert [f"{step.opcode:02X}" for step in steps] == OPCODES.split()
    assert all(one.end == other.start for one, other in itertools.pairwise(steps))
    assert [s.immediate for s in steps if s.opcode in (0x02, 0x03, 0x04)] == [0x40, 0x40, 0x7F]
    others = [[step.opcode for step in instructions(body)] for body in list(info.bodies())[1:]]
    assert others == [[0x12, 0x0B], [0x41, 0x13, 0x00, 0x0B]]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"\xff", "instruction 0xff at 0x0 is unknown"),
        (b"\x01\x06", "instruction 0x6 at 0x1 is unknown"),
        (b"\xfc\x12", "instruction 0xfc 18 at 0x0 is unknown"),
        (b"\xfd\x94\x02", "SIMD instruction 276 is unknown"),
    ],
)
def test_an_unknown_instruction_is_named_with_its_place(code: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        list(walk(reader(code)))


@pytest.mark.parametrize(
    "code", [b"\x41", b"\x41\x80", b"\x44" + bytes(7), b"\x28\x02", b"\x28\x42\0", b"\xfd\x54\0\0"]
)
def test_an_instruction_that_is_cut_is_truncated(code: bytes) -> None:
    with pytest.raises(Truncated):
        list(walk(reader(code)))


# -- leaf expressions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(18))
def test_every_miscellaneous_instruction_has_its_immediates(number: int) -> None:
    counts = dict.fromkeys((8, 10, 12, 14), 2) | dict.fromkeys((9, 11, 13, 15, 16, 17), 1)
    (step,) = walk(reader(bytes([0xFC, number]) + bytes(counts.get(number, 0))))
    assert (step.opcode, step.end) == (0xFC << 16 | number, 2 + counts.get(number, 0))


def leaf(text: str) -> LeafBody | None:
    return leaf_body(read_text(f"(module {text})"), 0)


def test_a_leaf_is_copied_with_its_locals_and_final_end() -> None:
    found = leaf("(func (param f32 i64) (result f32) (local i32 i32 f64) (local v128) (f32.neg (local.get 0)))")
    assert found == LeafBody(("i32", "i32", "f64", "v128"), bytes([0x20, 0, 0x8C, 0x0B]))


@pytest.mark.parametrize(
    "code",
    [
        "(if (result i32) (local.get 0) (then (i32.const 1)) (else (i32.const 2)))",
        "(block (result i32) (br 0 (local.get 0)))",
        "(block (br_if 0 (local.get 0))) (block (br_table 0 0 (local.get 0))) (i32.const 1)",
        "(i32.trunc_sat_f64_u (f64.const 1))",
        "(drop (i64.trunc_sat_f64_u (f64.const 1))) (select (result i32) (i32.const 1) (i32.const 2) (local.get 0))",
        "(drop (block (result i64) (i64.const 1))) (drop (block (result f32) (f32.const 1))) (i32.const 1)",
        "(drop (block (result f64) (f64.const 1))) (drop (block (result v128) (v128.const i64x2 1 2))) (i32.const 1)",
        "(i32x4.extract_lane 0 (i32x4.splat (local.get 0)))",
        "(drop (local.tee 0 (i32.const 1))) (local.set 0 (i32.const 2)) nop (select (i32.const 1) (i32.const 2) (local.get 0))",
    ],
)
def test_code_on_locals_alone_is_a_leaf(code: str) -> None:
    assert leaf(f"(func (param i32) (result i32) {code})") is not None


@pytest.mark.parametrize(
    "code",
    [
        "(loop (br 0)) (i32.const 1)",
        "(call 0 (local.get 0))",
        "(return (i32.const 1))",
        "unreachable",
        "(i32.load (i32.const 0))",
        "(memory.size)",
        "(global.get 0)",
        "(ref.is_null (ref.null func))",
        "(v128.any_true (v128.load (i32.const 0)))",
        "(v128.any_true (v128.load32_zero (i32.const 0)))",
        "(memory.copy (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 1)",
        "(block (result i32 i32) (i32.const 1) (i32.const 2)) drop",
        "(local i64 funcref) (i32.const 1)",
        f"(local {'i64 ' * (MAX_LOCALS + 1)}) (i32.const 1)",
        f"{'(drop (i32.const 1))' * (MAX_CODE_BYTES // 3)} (i32.const 1)",
    ],
)
def test_code_that_reaches_out_loops_or_is_long_is_called(code: str) -> None:
    assert leaf(f"(func (param i32) (result i32) {code}) (memory 1) (global i32 (i32.const 0))") is None


def test_the_limits_of_a_leaf_are_inclusive() -> None:
    locals_ = leaf(f"(func (result i32) (local {'i64 ' * MAX_LOCALS}) (i32.const 1))")
    assert locals_ is not None and len(locals_.locals) == MAX_LOCALS
    longest = leaf(f"(func {'nop ' * (MAX_CODE_BYTES - 1)})")
    assert longest is not None and len(longest.code) == MAX_CODE_BYTES
    assert leaf(f"(func {'nop ' * MAX_CODE_BYTES})") is None


def test_vectors_references_and_imports_are_no_leaves() -> None:
    assert leaf("(func (param v128))") is None
    assert leaf("(func (param i32) (result funcref) (ref.null func))") is None
    assert leaf('(import "a" "b" (func))') is None


@given(code=st.binary(max_size=40))
def test_no_body_makes_the_leaf_test_fail(code: bytes) -> None:
    body = emit.unsigned(len(code)) + code
    data = emit.module(EMPTY_TYPE, emit.section(3, b"\x01\0"), emit.section(10, emit.vector([body])))
    found = leaf_body(read_module(data), 0)
    assert found is None or code.endswith(found.code)


# -- files that are no modules -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the module is empty, not a WebAssembly module"),
        (
            b"\0asm\x0d\0\x01\0more",
            (
                "the module is a WebAssembly component; a core module is needed: build for wasm32-wasip1 or wasm32-unknown-unknown,"
                " without 'wasm-tools component new'"
            ),
        ),
        (b"\0asm\x02\0\0\0", "the module has WebAssembly version 02000000; version 1 is needed"),
        (
            b"\x7fELF\x02\x01",
            "the module is not a WebAssembly module: it is a native program or library (ELF), or code that wasmtime compiled",
        ),
        (b"\x1f\x8b\x08", "the module is not a WebAssembly module: it is compressed with gzip: unpack it"),
        (b"PK\x03\x04", "the module is not a WebAssembly module: it is a zip archive: unpack it"),
        (b"!<arch>\n", "the module is not a WebAssembly module: it is a static library: link it"),
        (b"BC\xc0\xde5", "the module is not a WebAssembly module: it is LLVM bitcode: link it"),
        (
            b" \n(module)",
            "the module is not a WebAssembly module: it is WebAssembly text: convert it with wat2wasm",
        ),
        (
            b";; a guest\n(module)",
            "the module is not a WebAssembly module: it is WebAssembly text: convert it with wat2wasm",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "the module is not a WebAssembly module: it is text that begins with 'version https://git-lfs.'",
        ),
        (
            b"\0\x01\x02\x03\x04\x05\x06\x07\x08",
            "the module is not a WebAssembly module: it begins with 0001020304050607",
        ),
    ],
)
def test_what_the_bytes_are_instead_is_reported(data: bytes, message: str) -> None:
    with pytest.raises(ModuleError) as caught:
        read_module(data)
    assert str(caught.value) == message


def test_a_bad_file_is_named_with_its_path(tmp_path: Path) -> None:
    empty, cut = tmp_path / "empty.wasm", tmp_path / "cut.wasm"
    empty.touch()
    cut.write_bytes(guests.wasm(guests.ADD)[:20])
    for path, message in (
        (empty, f"{empty} is empty, not a WebAssembly module"),
        (tmp_path, f"{tmp_path} is not a regular file"),
        (tmp_path / "no.wasm", f"{tmp_path / 'no.wasm'} cannot be read: No such file or directory"),
        (
            cut,
            (
                f"{cut} is not a whole WebAssembly module: section 3 has 2 bytes, but 1 are left at offset 0x11"
                " (the file has 20 bytes)"
            ),
        ),
    ):
        with pytest.raises(ModuleError) as caught:
            read_module(path)
        assert str(caught.value) == message


def test_bytearrays_and_views_are_bytes_too() -> None:
    data = guests.wasm(guests.ADD)
    for source in (bytearray(data), memoryview(data)):
        assert read_module(source).exports == read_module(data).exports  # type: ignore[arg-type]


ONE_FUNCTION = EMPTY_TYPE + emit.section(3, b"\x01\0")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (b"\x0e\0", "section 14 is unknown at offset 0x8"),
        (EMPTY_TYPE * 2, "section 1 is repeated or out of order at offset 0xe"),
        (emit.section(3, b"\0") + emit.section(1, b"\0"), "section 1 is repeated or out of order at offset 0xb"),
        (emit.section(10, b"\0") + emit.section(12, b"\0"), "section 12 is repeated or out of order at offset 0xb"),
        (b"\x01\x20\0", "section 1 has 32 bytes, but 1 are left at offset 0x8"),
        (b"\0\x03\x05ab", "5 bytes are announced, 2 are left at offset 0xb"),
        (emit.section(1, b"\x01\x60\x40"), "64 items are announced, 0 bytes are left at offset 0xd"),
        (EMPTY_TYPE + emit.section(3, b"\x01\x01"), "type 1 does not exist at offset 0x11"),
        (emit.section(2, b"\x01\x01a\x01b\x09"), "import kind 9 is unknown at offset 0xf"),
        (
            emit.section(6, b"\x01\x7f\0\xff"),
            "a constant expression cannot be read (instruction 0xff at 0xd is unknown) at offset 0xe",
        ),
        (emit.section(6, b"\x01\x7f\0\x41\0"), "the bytes end at offset 0xf"),
        (ONE_FUNCTION + emit.section(7, b"\x01\x01f\x05\0"), "export kind 5 is unknown at offset 0x17"),
        (
            ONE_FUNCTION + emit.section(7, b"\x01\x01f\0\x07"),
            "export 'f' names func 7, which does not exist at offset 0x17",
        ),
        (emit.section(7, b"\x01\x01m\x02\0"), "export 'm' names memory 0, which does not exist at offset 0xd"),
    ],
)
def test_a_malformed_section_is_reported_with_its_offset(sections: bytes, message: str) -> None:
    data = HEADER + sections
    with pytest.raises(ModuleError) as caught:
        read_module(data, "m.wasm")
    assert str(caught.value) == f"m.wasm is not a whole WebAssembly module: {message} (the file has {len(data)} bytes)"


@pytest.mark.parametrize(
    ("sections", "message", "key"),
    [
        (emit.section(1, b"\x01\x5f"), "type form 0x5f at offset 0xb", "gc"),
        (emit.section(1, b"\x01\x60\x01\x40\0"), "value type 0x40 at offset 0xd", "unknown"),
    ],
)
def test_a_proposal_that_is_not_supported_is_not_called_damage(sections: bytes, message: str, key: str) -> None:
    with pytest.raises(ModuleError) as caught:
        read_module(HEADER + sections, "m.wasm")
    proposal = proposals.PROPOSALS_BY_KEY[key]
    assert str(caught.value) == (
        f"m.wasm cannot be loaded: it uses {proposal.name}, which the sandbox disables ({message}): {proposal.remedy}"
    )


SPECIFIED_ORDER = [1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11]


def test_sections_are_accepted_in_the_specified_order_only() -> None:
    parts = {number: emit.section(number, b"\0") for number in SPECIFIED_ORDER}
    read_module(emit.module(*parts.values()))
    for early, late in itertools.pairwise(SPECIFIED_ORDER):
        with pytest.raises(ModuleError, match=f": section {early} is repeated or out of order at offset 0xb "):
            read_module(emit.module(parts[late], parts[early]))


def test_custom_sections_may_stand_anywhere_and_are_joined_in_order() -> None:
    note = [emit.section(0, emit.name("note") + text) for text in (b"one", b"two")]
    info = read_module(emit.module(note[0], EMPTY_TYPE, emit.section(0, emit.name("other")), note[1]))
    assert info.custom("note") == b"onetwo" and info.custom("absent") == b""
    assert info.custom_sections == (("note", 3), ("other", 0), ("note", 3))


# -- fuzzing -----------------------------------------------------------------------------------------------------------


def outcome(use: Callable[[], Any]) -> str | None:
    """The message of a WasmError, or None after a result; any other exception fails the test."""
    try:
        use()
    except WasmError as error:
        return str(error)
    return None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_cut_module_is_rejected_by_name_wherever_it_is_cut(path: Path) -> None:
    data = path.read_bytes()
    whole = read_module(data)
    bounds = {len(HEADER), len(data), *(section.start for section in whole.sections)}
    bounds |= {section.end for section in whole.sections}
    for cut in sorted({*range(4, min(len(data), 300)), *(b + d for b in bounds for d in (-1, 0, 1)), len(data) // 2}):
        if cut >= len(data):
            continue
        message = outcome(lambda cut=cut: discover(read_module(data[:cut], "cut.wasm"), where="cut.wasm"))  # type: ignore[misc]
        assert message is None or re.match(r"cut\.wasm[ :]", message), message


@settings(deadline=None, max_examples=300)
@given(
    path=st.sampled_from(MODULES[:4]),
    flips=st.lists(st.tuples(st.integers(0), st.integers(1, 255)), min_size=1, max_size=4),
    outside=st.booleans(),
)
def test_flipped_bytes_give_an_error_or_a_result(path: Path, flips: list[tuple[int, int]], outside: bool) -> None:
    data = bytearray(path.read_bytes())
    # most of a module is code: half of the examples change what lies before it
    size = read_module(bytes(data)).sections[-1 if outside else 5].end
    for at, mask in flips:
        data[at % size] ^= mask
    message = outcome(lambda: discover(read_module(bytes(data), "bad.wasm"), where="bad.wasm"))
    assert message is None or message.startswith("bad.wasm")


@settings(deadline=None, max_examples=100)
@given(flips=st.lists(st.tuples(st.integers(0), st.integers(1, 255)), min_size=1, max_size=3))
def test_what_wasmtime_accepts_is_read_the_same_way(flips: list[tuple[int, int]]) -> None:
    data = bytearray(guests.wasm(guests.CAT))
    for at, mask in flips:
        data[8 + at % (len(data) - 8)] ^= mask
    try:
        compiled(bytes(data), PLAIN_ENGINE)
    except wasmtime.WasmtimeError:
        return
    assert_agrees_with_wasmtime(bytes(data), PLAIN_ENGINE)


@settings(deadline=None, max_examples=200)
@given(tail=st.binary(max_size=80))
def test_random_sections_give_an_error_or_a_result(tail: bytes) -> None:
    message = outcome(lambda: read_module(HEADER + tail, "r.wasm"))
    assert message is None or re.match(
        r"r\.wasm is not a whole .* at offset 0x[0-9a-f]+ \(the file has \d+ bytes\)$", message
    )


# -- the assembler -----------------------------------------------------------------------------------------------------


def test_an_assembled_loop_runs_as_written() -> None:
    # sum(n, p) adds n f64 at p, stores the total behind them, and returns it
    body = emit.repeat(
        0,
        emit.get(2) + emit.get(1) + emit.load("f64", 16) + b"\xa0" + emit.put(2) + emit.add(1, emit.i32(8)),
    )
    body += emit.get(1) + emit.get(2) + emit.store("f64", 16) + emit.constant("f64", 0.5) + emit.tee(2) + b"\x1a"
    data = emit.module(
        emit.section(1, emit.vector([emit.func_type(["i32", "i32"], ["f64", "f64"])])),
        emit.section(3, emit.vector([b"\0"])),
        emit.section(5, emit.vector([limits(1, None)])),
        emit.section(7, emit.vector([emit.name("sum") + b"\0\0", emit.name("memory") + b"\x02\0"])),
        emit.section(
            10, emit.vector([emit.function(["f64"], body + emit.get(1) + emit.load("f64", 16) + emit.get(2))])
        ),
        emit.name_section("adder", {0: "sum"}),
    )
    store = wasmtime.Store(ENGINE)
    exports = wasmtime.Instance(store, compiled(data), []).exports(store)
    memory, function = exports["memory"], exports["sum"]
    assert isinstance(memory, wasmtime.Memory) and isinstance(function, wasmtime.Func)
    memory.write(store, struct.pack("<3d", 1.5, -2.25, 8), 32)
    assert function(store, 3, 16) == [7.25, 0.5]
    assert struct.unpack("<d", memory.read(store, 56, 64)) == (7.25,)
    assert read_module(data).function_name(0) == "sum"


def test_a_function_declares_each_local_in_a_group_of_its_own() -> None:
    assert emit.function(["i32", "f64"], b"\x01") == b"\x07\x02\x01\x7f\x01\x7c\x01\x0b"


@pytest.mark.parametrize("valtype", list(emit.LOAD))
def test_loads_stores_and_zeros_have_the_width_of_their_type(valtype: str) -> None:
    code = (
        emit.i32(0) + emit.i32(0) + emit.load(valtype, 300) + emit.store(valtype, 70000) + emit.ZERO[valtype] + b"\x1a"
    )
    steps = list(walk(reader(code + b"\x0b")))
    assert [s.opcode for s in steps[2:4]] == [emit.LOAD[valtype][0], emit.STORE[valtype][0]]
    assert 1 << emit.LOAD[valtype][1] == 1 << emit.STORE[valtype][1] == int(valtype[1:]) // 8
    data = emit.module(
        EMPTY_TYPE,
        emit.section(3, b"\x01\0"),
        emit.section(5, emit.vector([limits(1, None)])),
        emit.section(10, emit.vector([emit.function([valtype], code)])),
    )
    compiled(data)


@pytest.mark.parametrize("size", [1, 4, 7])
def test_a_file_that_ends_in_its_header_is_cut_off(size: int) -> None:
    with pytest.raises(ModuleError, match=f"^m.wasm is not a whole WebAssembly module: it ends after {size} bytes$"):
        read_module(HEADER[:size], "m.wasm")


def test_an_integer_has_at_most_the_bytes_that_its_bits_need() -> None:
    assert Reader(b"\xff\xff\xff\xff\x0f", 0, 5).unsigned() == (1 << 32) - 1
    with pytest.raises(Truncated, match="an integer is too long"):
        Reader(b"\x80\x80\x80\x80\x80\x00", 0, 6).unsigned()


def test_an_empty_code_section_is_reported() -> None:
    info = read_module(emit.module(EMPTY_TYPE, emit.section(10, b"")), "m.wasm")
    with pytest.raises(ModuleError, match=r"^m\.wasm has a code section that cannot be read: the bytes end"):
        list(info.bodies())


def test_a_path_with_a_nul_is_reported() -> None:
    with pytest.raises(ModuleError, match="cannot be read"):
        read_module("a\0b")


def test_a_view_that_cannot_be_written_to_is_read_in_place() -> None:
    data = bytearray(guests.wasm(guests.ADD))
    info = read_module(memoryview(data).toreadonly())
    with pytest.raises(BufferError):  # it is still lent out
        data.append(0)
    del info
    data.append(0)


def test_more_types_and_exports_than_any_compiler_writes_are_rejected_before_they_are_read() -> None:
    many = emit.section(3, bytes(MAX_METADATA_BYTES + 1))
    with pytest.raises(ModuleError, match=r"m\.wasm is not accepted: its types, .* take more than 16,777,216 bytes"):
        read_module(HEADER + many, "m.wasm")


@pytest.mark.bulk
def test_a_section_has_as_many_items_as_wasmtime_lets_it_have() -> None:
    fits, too_long = (
        HEADER + emit.section(1, emit.vector([emit.func_type([], [])] * n)) for n in (MAX_ITEMS, MAX_ITEMS + 1)
    )
    wasmtime.Module.validate(ENGINE, fits)
    read_module(fits)
    with pytest.raises(wasmtime.WasmtimeError, match="types count exceeds limit of 1000000"):
        wasmtime.Module.validate(ENGINE, too_long)
    with pytest.raises(
        ModuleError, match=r"m\.wasm is not accepted: a section of 1,000,001 items is too long at offset 0xd"
    ):
        read_module(too_long, "m.wasm")


def test_more_sections_than_any_compiler_writes_are_rejected() -> None:
    assert len(read_module(HEADER + b"\0\1\0" * MAX_SECTIONS).custom_sections) == MAX_SECTIONS
    with pytest.raises(ModuleError, match=r"m\.wasm is not accepted: it has more than 100,000 sections"):
        read_module(HEADER + b"\0\1\0" * (MAX_SECTIONS + 1), "m.wasm")


def test_a_name_is_as_long_as_wasmtime_lets_it_be() -> None:
    fits, too_long = (HEADER + emit.section(0, emit.name("n" * (MAX_NAME_BYTES + more))) for more in (0, 1))
    wasmtime.Module.validate(ENGINE, fits)
    assert read_module(fits).custom_sections == (("n" * MAX_NAME_BYTES, 0),)
    with pytest.raises(wasmtime.WasmtimeError, match="string size out of bounds"):
        wasmtime.Module.validate(ENGINE, too_long)
    with pytest.raises(
        ModuleError, match=r"m\.wasm is not accepted: a name of 100,001 bytes is too long at offset 0xc"
    ):
        read_module(too_long, "m.wasm")


def test_a_name_section_too_large_to_read_names_nothing() -> None:
    data = guests.wasm(guests.ADD)
    assert read_module(data).parameter_names(0) == ("a", "b")
    filler = emit.section(0, emit.name("name") + bytes(MAX_NAMES_BYTES))
    assert read_module(data + filler).parameter_names(0) is None


def test_a_portalis_section_too_large_to_read_is_an_error() -> None:
    section = emit.section(0, emit.name("portalis") + b" " * (MAX_SECTION_BYTES + 1))
    with pytest.raises(
        WasmError, match="the custom section 'portalis' has 8,388,609 bytes; at most 8,388,608 are read"
    ):
        discover(read_module(guests.wasm(guests.ADD) + section), where="m.wasm")


def test_many_entries_are_not_all_listed() -> None:
    section = emit.section(0, emit.name("portalis") + b'{"entry": "f"}' * 25)
    with pytest.raises(WasmError, match=r"has several entries \((f, ){19}f and 5 more\): choose one"):
        discover(read_module(guests.wasm(guests.ADD) + section), where="m.wasm")
