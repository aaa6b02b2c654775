"""The plan as a block of bytes."""

from __future__ import annotations

import struct

from portalis.backend.interface.discovery import discover
from portalis.backend.limits import Limits
from portalis.backend.plan import layout
from portalis.backend.plan.planner import Isolation, Plan, plan
from portalis.backend.terms import TRITON
from portalis.backend.wasm.binary import read_module
from tests.backend import guests


def made() -> Plan:
    wasm = guests.wasm(guests.ADD)
    info = read_module(wasm)
    return plan(wasm, info, discover(info, None, where="m"), Isolation.BATCH, Limits(), TRITON)


def packed(names: list[tuple[int, str]]) -> tuple[bytes, list[tuple[int, str]]]:
    """The block, and the names of functions that are in it."""
    block = layout.pack(made(), [b"code"] * 4, names=names, signals=False, layouts=0)
    head = layout.HEADER.unpack_from(block)
    count, at = head[9], head[-1]
    found = [struct.unpack_from("<III", block, at + 12 * i) for i in range(count)]
    return bytes(block), [(index, block[where : where + size].decode()) for index, where, size in found]


def test_a_block_says_how_long_it_is_and_begins_everything_at_a_multiple_of_eight() -> None:
    block, names = packed([(0, "add"), (7, "other")])
    head = layout.HEADER.unpack_from(block)
    assert head[:3] == (b"PORTPLAN", layout.VERSION, len(block))
    assert not any(at % 8 for at in head[-4:])
    assert names == [(0, "add"), (7, "other")]


def test_a_plan_has_as_many_names_as_there_is_room_for_and_none_is_long() -> None:
    """A module may have a million functions, with names of megabytes."""
    block, names = packed([(i, "x" * 1_000_000 if i == 1 else f"f{i}" * 10) for i in range(50_000)])
    assert 1_000 < len(names) < 50_000 and [index for index, _ in names] == list(range(len(names)))
    assert "(1,000,000 characters)" in names[1][1] and len(names[1][1]) < 200
    assert len(block) < layout.MAX_NAMES_BYTES * 2
