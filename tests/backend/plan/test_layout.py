"""The plan as a block of bytes."""

from __future__ import annotations

import struct

import pytest

from portalis.backend.constants import DATA_TYPES
from portalis.backend.limits import Limits
from portalis.backend.plan import layout
from portalis.backend.plan.planner import Plan
from portalis.backend.setting_names import KIT_NAMES, PYTHON_NAMES, TRITON_NAMES, SettingNames
from tests.backend import guests
from tests.backend.guests import tensor
from tests.backend.plan.plans import MODULES
from tests.backend.plan.plans import made as plan_of


def made() -> Plan:
    return plan_of(guests.wasm(guests.ADD), setting_names=TRITON_NAMES)


def packed(names: list[tuple[int, str]]) -> tuple[bytes, list[tuple[int, str]]]:
    """The block, and the names of functions that are in it."""
    block = layout.pack_plan(made(), [b"code"] * 4, names=names, signals=False, struct_sizes=0)
    head = layout.HEADER.unpack_from(block)
    count, at = head[9], head[-1]
    found = [struct.unpack_from("<III", block, at + 12 * i) for i in range(count)]
    return bytes(block), [(index, block[where : where + size].decode()) for index, where, size in found]


def test_a_block_contains_its_size_and_aligns_all_parts_to_eight_bytes() -> None:
    block, names = packed([(0, "add"), (7, "other")])
    head = layout.HEADER.unpack_from(block)
    assert head[:3] == (b"PORTPLAN", layout.VERSION, len(block))
    assert not any(at % 8 for at in head[-4:])
    assert names == [(0, "add"), (7, "other")]


def test_the_names_in_a_plan_are_limited_in_number_and_length() -> None:
    """A module can have a million functions, and names of several megabytes."""
    block, names = packed([(i, "x" * 1_000_000 if i == 1 else f"f{i}" * 10) for i in range(50_000)])
    assert 1_000 < len(names) < 50_000 and [index for index, _ in names] == list(range(len(names)))
    assert "(1,000,000 characters)" in names[1][1] and len(names[1][1]) < 200
    assert len(block) < layout.MAX_NAMES_BYTES * 2


# -- decoded as docs/architecture/plan.md defines ----------------------------------------------------------------------------


class Read:
    """The fields of a block, at their documented offsets."""

    def __init__(self, block: bytes | bytearray) -> None:
        self.block = bytes(block)
        self.magic = self.block[:8]
        self.version, self.bytes, self.flags, self.max_stack = struct.unpack_from("<4I", self.block, 8)
        counts = struct.unpack_from("<6I", self.block, 24)
        self.modules, self.links, self.inputs, self.outputs, self.names, self.kept = counts
        (self.max_batch,) = struct.unpack_from("<q", self.block, 48)
        self.timeout_ns, self.max_memory, self.max_output = struct.unpack_from("<3Q", self.block, 56)
        (self.struct_sizes,) = struct.unpack_from("<Q", self.block, 80)
        self.texts = [self.text(88 + 8 * i) for i in range(7)]
        self.modules_at, self.links_at, self.tensors_at, self.names_at = struct.unpack_from("<4I", self.block, 144)

    def span(self, at: int) -> tuple[int, bytes]:
        """The position of the bytes with the offset and size at `at`, and the bytes."""
        where, size = struct.unpack_from("<2I", self.block, at)
        assert where % 8 == 0 and where + size <= len(self.block)
        return where, self.block[where : where + size]

    def text(self, at: int) -> str:
        where, content = self.span(at)
        assert self.block[where + len(content)] == 0
        return content.decode()

    def all_modules(self) -> list[tuple[int, bytes, int]]:
        """The position of each module's code, the code, and its number of links."""
        rows = range(self.modules_at, self.modules_at + 16 * self.modules, 16)
        return [(*self.span(at), *struct.unpack_from("<I", self.block, at + 8)) for at in rows]

    def all_links(self) -> list[tuple[int, str]]:
        rows = range(self.links_at, self.links_at + 12 * self.links, 12)
        return [(*struct.unpack_from("<I", self.block, at), self.text(at + 4)) for at in rows]

    def all_tensors(self) -> list[tuple[str, int, int, int, int, int, tuple[int, ...]]]:
        """Each tensor's name, data type, bytes of an element, rank, whether it is optional, core dimensions, dims."""
        rows = [self.tensors_at + 96 * i for i in range(self.inputs + self.outputs)]
        numbers = [struct.unpack_from("<IIiIII8q", self.block, at + 8) for at in rows]
        return [(self.text(at), *n[:5], n[6 : 6 + n[2]]) for at, n in zip(rows, numbers)]


CODE = [b"guest" * 100, b"loop", b"bridge!", b"adapter.."]


@pytest.mark.parametrize("isolation", ["request", "batch", "instance"])
@pytest.mark.parametrize("name", MODULES)
def test_every_field_is_at_its_documented_offset(name: str, isolation: str) -> None:
    limits = Limits(timeout_s=2.5, max_memory_bytes=1 << 24, max_output_bytes=1234, max_stack_bytes=1 << 18)
    plan = plan_of(MODULES[name], isolation, limits=limits)
    code = [CODE[0], *CODE[4 - len(plan.modules) + 1 :]]
    found = Read(layout.pack_plan(plan, code, names=[(1, "one")], signals=True, struct_sizes=0x0102030405060708))
    interface = plan.interface
    assert (found.magic, found.version, found.bytes) == (b"PORTPLAN", 2, len(found.block))
    assert found.flags == (
        plan.keep
        | plan.stateful << 1
        | plan.rewinds << 2
        | plan.joins << 3
        | plan.needs_host << 4
        | plan.has_memory << 5
        | (interface.convention.value == "dlpack") << 6
        | 1 << 7
    )
    assert found.max_stack == 1 << 18
    assert (found.inputs, found.outputs) == (len(interface.inputs), len(interface.outputs))
    assert found.max_batch == interface.max_batch_size
    assert (found.timeout_ns, found.max_memory, found.max_output) == (2_500_000_000, 1 << 24, 1234)
    assert found.struct_sizes == 0x0102030405060708
    assert found.texts[:3] == [interface.entry, plan.initializer or "", ""]
    assert [content for _, content, _ in found.all_modules()] == code
    assert [count for *_, count in found.all_modules()] == [len(each.links) for each in plan.modules]
    assert found.all_links() == [(link.module, link.name) for each in plan.modules for link in each.links]
    for spec, row in zip((*interface.inputs, *interface.outputs), found.all_tensors(), strict=True):
        text, dtype, item, rank, optional, _, dims = row
        assert (text, dims, rank, optional) == (spec.name, spec.dims, len(spec.dims), spec.optional)
        assert (dtype, item) == (DATA_TYPES[spec.dtype.name].number, spec.dtype.itemsize)


def test_core_dimensions_are_never_split() -> None:
    found = Read(
        layout.pack_plan(plan_of(MODULES["gufunc of i64 sizes"]), CODE, names=[], signals=False, struct_sizes=0)
    )
    assert [row[5] for row in found.all_tensors()] == [2, 2, 0]


def test_code_is_at_the_end_so_that_an_executor_can_discard_it() -> None:
    block = layout.pack_plan(
        made(), CODE, names=[(0, "add"), (5, "more")], signals=False, struct_sizes=0, configuration="{}"
    )
    found = Read(block)
    first = min(at for at, *_ in found.all_modules())
    for at, size in (
        *((at, 16 * found.modules) for at in (found.modules_at,)),
        (found.links_at, 12 * found.links),
        (found.tensors_at, 96 * (found.inputs + found.outputs)),
        (found.names_at, 12 * found.names),
        *(struct.unpack_from("<2I", found.block, 88 + 8 * i) for i in range(7)),
        *(struct.unpack_from("<2I", found.block, found.names_at + 12 * i + 4) for i in range(found.names)),
        *(struct.unpack_from("<2I", found.block, found.links_at + 12 * i + 4) for i in range(found.links)),
        *(struct.unpack_from("<2I", found.block, found.tensors_at + 96 * i) for i in range(3)),
    ):
        assert at + size <= first
    assert found.kept == first
    assert found.texts[2] == "{}"


@pytest.mark.parametrize("setting_names", [PYTHON_NAMES, TRITON_NAMES, KIT_NAMES])
def test_the_remediation_names_settings_of_the_tool(setting_names: SettingNames) -> None:
    plan = plan_of(guests.echo(), limits=Limits(timeout_s=3), setting_names=setting_names)
    more, own, memory, output = Read(layout.pack_plan(plan, CODE[1:], names=[], signals=False, struct_sizes=0)).texts[
        3:
    ]
    assert more == setting_names.more_time_advice(3.0, 3.0)
    assert own == setting_names.more_time_advice(1.0, 3.0) and own.endswith("3 s")  # `core.h` counts on the end
    assert (memory, output) == (
        setting_names.raise_advice("max_memory_bytes"),
        setting_names.limit_name("max_output_bytes"),
    )


def test_equal_plans_are_equal_blocks() -> None:
    blocks = {
        bytes(
            layout.pack_plan(made(), CODE, names=[(0, "add")], signals=signals, struct_sizes=7, configuration='{"a":1}')
        )
        for signals in (True, True)
    }
    assert len(blocks) == 1
    assert bytes(layout.pack_plan(made(), CODE, names=[(0, "add")], signals=False, struct_sizes=7)) not in blocks


@pytest.mark.parametrize("name", ["größe", "\u202e", "a\nb", "n" * 100])
def test_names_of_tensors_and_entries_can_be_any_text(name: str) -> None:
    body = guests.dlpack(guests.ECHO_BODY, inputs=[tensor("x")], outputs=[tensor("y")])
    plan = plan_of(body, interface={"inputs": [tensor(name)], "outputs": [tensor("y")]})
    found = Read(layout.pack_plan(plan, CODE[1:], names=[], signals=False, struct_sizes=0))
    assert [row[0] for row in found.all_tensors()] == [name, "y"]
