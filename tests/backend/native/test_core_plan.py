"""Plans that are of another version, cut short or damaged: the core refuses them with a message, or runs what it can."""

from __future__ import annotations

import ctypes
import functools
import struct
import time

import pytest
import wasmtime

from portalis.backend.compile.engine import EngineSettings
from portalis.backend.compile.loading import ModuleCompiler
from portalis.backend.executor.core_library import CoreCall, CorePiece, CoreTensor, OutputCallback, struct_sizes
from portalis.backend.interface.discovery import discover
from portalis.backend.limits import Limits
from portalis.backend.plan import layout
from portalis.backend.plan.planner import Isolation, plan_entry
from portalis.backend.setting_names import PYTHON_NAMES
from portalis.backend.wasm.binary import read_module
from tests.backend import guests
from tests.backend.native.cores import child, core

REFUSED = "the plan is damaged, or has a different version"
TEXTS_AT, TABLES_AT = 88, 144


@pytest.fixture(scope="module", autouse=True)
def _there_is_a_core() -> None:
    core()


@functools.cache
def a_plan() -> bytes:
    """The plan of a module that returns its input."""
    wasm, limits = guests.echo(), Limits()
    info = read_module(wasm, "echo")
    made = plan_entry(wasm, info, discover(info, None, where="echo"), Isolation.BATCH, limits, PYTHON_NAMES)
    compiling = ModuleCompiler(limits, None, True, "echo", PYTHON_NAMES)
    code = [compiling.compile(module.wasm, EngineSettings(), builtin=module.builtin).code for module in made.modules]
    return bytes(layout.pack_plan(made, code, names=info.named_functions(), signals=True, struct_sizes=struct_sizes()))


def attempt(block: bytes) -> str:
    """Load the plan `block` and run one call: the error message, or the result code of the call."""
    library, why = core(), ctypes.create_string_buffer(256)
    held = ctypes.create_string_buffer(len(block) + 16)  # a plan begins at a multiple of 8
    at = ctypes.addressof(held) + -ctypes.addressof(held) % 8
    ctypes.memmove(at, bytes(block), len(block))
    program = library.load(at, len(block), OutputCallback(), None, why, len(why))
    if not program:
        assert why.value, "no message"
        return why.value.decode()
    call, tensors, pieces = CoreCall(), (CoreTensor * 256)(), (CorePiece * 256)()
    data = ctypes.create_string_buffer(64)
    for tensor, piece in zip(tensors, pieces):
        piece.data, piece.bytes = ctypes.addressof(data), 16
        tensor.piece, tensor.pieces, tensor.rank, tensor.bytes, tensor.dims[0] = ctypes.pointer(piece), 1, 1, 16, 4
    call.pool = pool = library.pool_new(program)
    call.timeout_ns = 50_000_000
    call.inputs = ctypes.cast(tensors, ctypes.POINTER(CoreTensor))
    call.outputs = ctypes.cast(ctypes.byref(tensors, 128 * ctypes.sizeof(CoreTensor)), ctypes.POINTER(CoreTensor))
    kind = library.run(ctypes.addressof(call), 1 << 62)
    if kind == -1:
        library.end(ctypes.addressof(call))
    library.pool_free(pool)
    library.unload(program)
    return str(kind)


def changed(block: bytes, at: int, form: str, value: int) -> bytes:
    copy = bytearray(block)
    struct.pack_into(form, copy, at, value)
    return bytes(copy)


def test_the_plan_of_these_tests_runs() -> None:
    assert attempt(a_plan()) == "0"


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [
        (0, "<Q", 0),
        (8, "<I", layout.VERSION + 1),
        (8, "<I", 0),
        (20, "<I", 0),
        (20, "<I", (4 << 20) + 1),
        (20, "<I", 0xFFFFFFFF),
        (24, "<I", 2),
        (24, "<I", 5),
        (28, "<I", 1025),
        (32, "<I", 0),
        (32, "<I", 128),
        (36, "<I", 0),
        (40, "<I", 1 << 31),
        (44, "<I", 0),
        (44, "<I", 0xFFFFFFFF),
        (48, "<q", -1),
        (64, "<Q", 1 << 63),
        (64, "<Q", (4 << 30) + 1),
    ],
)
def test_a_number_out_of_its_range_is_rejected(at: int, form: str, value: int) -> None:
    assert attempt(changed(a_plan(), at, form, value)) == REFUSED


def test_other_structs_of_wasmtime_are_rejected_by_name() -> None:
    message = attempt(changed(a_plan(), 80, "<Q", struct_sizes() + 1))
    assert message == "the structs of this wasmtime differ from those that the executor was built for"


@pytest.mark.parametrize("at", range(TEXTS_AT, TABLES_AT, 8))
def test_a_text_that_is_after_the_machine_code_is_rejected_since_that_is_not_kept(at: int) -> None:
    block = bytearray(a_plan())
    end = len(block)
    block += b"a text\0\0"
    struct.pack_into("<I", block, 12, len(block))
    struct.pack_into("<II", block, at, end, 6)
    assert attempt(bytes(block)) == REFUSED


@pytest.mark.parametrize("at", range(TEXTS_AT, TABLES_AT, 8))
def test_a_text_with_no_nul_after_it_is_rejected(at: int) -> None:
    block = a_plan()
    size = struct.unpack_from("<I", block, at + 4)[0]
    assert attempt(changed(block, at + 4, "<I", (size - 1) & 0xFFFFFFFF)) == REFUSED


@pytest.mark.parametrize("at", range(TABLES_AT, TABLES_AT + 16, 4))
def test_a_table_that_is_elsewhere_is_rejected(at: int) -> None:
    block = a_plan()
    place = struct.unpack_from("<I", block, at)[0]
    for other in (place + 4, len(block), len(block) - 8, 0xFFFFFFF8, 1 << 31):
        assert attempt(changed(block, at, "<I", other)) == REFUSED


def test_a_plan_that_is_cut_at_any_field_is_rejected() -> None:
    block = a_plan()
    kept = struct.unpack_from("<I", block, struct.unpack_from("<I", block, TABLES_AT)[0])[0]
    for size in (*range(0, kept, 4), *range(kept, len(block), 4096), len(block) - 1):
        cut = block[:size]
        assert attempt(cut) == REFUSED
        if size >= 16:
            assert attempt(changed(cut, 12, "<I", size)) == REFUSED


def test_no_flipped_number_before_the_machine_code_ends_the_process() -> None:
    message = child("""
import struct
from tests.backend.native import test_core_plan as t
block = t.a_plan()
kept = struct.unpack_from("<I", block, struct.unpack_from("<I", block, t.TABLES_AT)[0])[0]
refused = 0
for at in range(8, kept, 4):
    (value,) = struct.unpack_from("<I", block, at)
    for flipped in (value ^ 0xFFFFFFFF, value ^ 0x80000000, value + 8, 0):
        message = t.attempt(t.changed(block, at, "<I", flipped & 0xFFFFFFFF))
        refused += message == t.REFUSED
assert t.attempt(block) == "0"
print(refused > 100, core().instances())
""")
    assert message == "True 0\n"


def test_the_names_of_many_exports_are_found_in_no_time() -> None:
    functions = "".join(f'(func (export "{n}"))' for n in range(15_000))
    info = read_module(bytes(wasmtime.wat2wasm(f"(module {functions})")), "m")
    began = time.process_time()
    found = list(layout.backtrace_names(info.named_functions()))
    assert found[:2] == [(0, "0"), (1, "1")]
    assert len(found) > 10_000
    assert time.process_time() - began < 1
