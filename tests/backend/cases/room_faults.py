"""Faults in allocating tensors: limits that are exceeded, allocators with invalid results, and instances that fail to
start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portalis.backend.errors import AbiViolation, GuestError, GuestTimeout, MemoryLimit, Trap, WasmError
from portalis.backend.interface.dtypes import DTYPES
from tests.backend import host_guests
from tests.backend.cases import harm
from tests.backend.cases.case import FRAMES, Failure
from tests.backend.cases.fault import Fault, Made, answer, of_entry, request
from tests.backend.cases.guest_faults import ASLEEP, LATE, SHORT, UNREACHABLE, WRITE

ALLOCATORS = {
    "portalis_alloc": '(func (export "portalis_alloc") (param $size i32) (param $align i32) (result i32) {})',
    "cabi_realloc": """(func (export "cabi_realloc") (param $old i32) (param $was i32) (param $align i32) (param $size i32)
      (result i32) {})""",
    "malloc": '(func (export "malloc") (param $size i32) (result i32) {}) (func (export "free") (param i32))',
    "__new": """(func (export "__new") (param $size i32) (param $id i32) (result i32) {})
      (func (export "__pin") (param i32) (result i32) (local.get 0)) (func (export "__unpin") (param i32))""",
}
LIMIT = 1 << 20
MANY = 300_000  # bytes and more


def faults() -> Iterator[Fault]:
    """All of them."""
    dtypes = ("BOOL", "UINT16", "FP32", "INT64")
    for name in ALLOCATORS:
        conventions: tuple[str, ...] = ("gufunc", "dlpack") if name == "portalis_alloc" else ("gufunc",)
        for lie, made in _LIES.items():
            if lie == "never ends" and name != "portalis_alloc":
                continue  # each of them waits
            yield Fault(f"{name} {lie}", _Lying(name, *made), conventions, dtypes if lie == "gives 0" else ("FP32",))
    yield Fault("tensors above the limit", _above, ("gufunc",), dtypes)
    yield Fault("tensors above the module's own maximum", _above_own, ("gufunc",), ("FP32",))
    for name, start in _STARTS.items():
        conventions = ("elementwise", "dlpack") if "grow" in start.more else ("elementwise", "gufunc", "dlpack")
        yield Fault(name, start, conventions, ("FP32", "BYTES"))


def _sizes(convention: str, dtype: str, batch: int, *, bad: bool) -> tuple[dict[str, np.ndarray], int]:
    """A request, and the bytes that its tensors need in the guest's memory."""
    item = DTYPES[dtype].itemsize
    count = MANY // item if bad else 2
    x = harm.tensor_of(dtype, (1, count) if batch else (count,), bad=False)
    if convention == "dlpack":
        return {"x": x}, _up(_up(80 + 8 * (x.ndim + 2) + 16) + x.nbytes)
    return {"x": x}, 2 * _up(x.nbytes)


def _up(size: int) -> int:
    return -(-size // 64) * 64


@dataclass(frozen=True)
class _Lying:
    """An allocator does `code` where many bytes are wanted."""

    allocator: str
    code: str
    text: str
    kind: type[WasmError]
    limits: dict[str, Any] = field(default_factory=dict)

    def __call__(self, convention: str, dtype: str, batch: int, isolation: str) -> Made:
        good = f"(if (i32.gt_u (local.get $size) (i32.const 65536)) (then {self.code})) (i32.const 8192)"
        alloc = ALLOCATORS[self.allocator].format(good)
        make = harm.dlpack if convention == "dlpack" else harm.gufunc
        more = {"alloc": alloc + '(func (export "portalis_abi_v1"))'} if convention == "dlpack" else {"more": alloc}
        module = make(dtype, "", batch=batch, **more)  # type: ignore[arg-type]
        right, _ = _sizes(convention, dtype, batch, bad=False)
        wrong, size = _sizes(convention, dtype, batch, bad=True)
        text = self.text.format(name=self.allocator, size=size, asked=size + 64)
        failure = Failure(self.kind, of_entry(convention, text))
        return Made(module, wrong, failure, right, answer(convention, right), joins=False, limits=self.limits)


_LIES: dict[str, tuple[Any, ...]] = {
    "gives 0": (
        "(return (i32.const 0))",
        (
            "the tensors need {size} bytes, which the guest could not allocate: its memory is 65536 bytes, and may grow to"
            " 268435456, so its own allocator ({name}) failed (build the module with a larger heap, or send smaller batches)"
        ),
        MemoryLimit,
    ),
    "gives 0 near the limit": (
        "(return (i32.const 0))",
        (
            "the tensors need {size} bytes, which the guest could not allocate: its memory is 65536 bytes, and may grow to"
            " 1048576 (raise wasm.max_memory_bytes, or send smaller batches)"
        ),
        MemoryLimit,
        {"max_memory_bytes": LIMIT},
    ),
    "lies outside": (
        "(return (i32.const 0x7fff0000))",
        "{name} returned 0x7fff0000 for {asked} bytes, outside the guest's memory of 65536",
        AbiViolation,
    ),
    "lies across the end": (
        "(return (i32.const 65535))",
        "{name} returned 0xffff for {asked} bytes, outside the guest's memory of 65536",
        AbiViolation,
    ),
    "lies at the end of the space": (
        "(return (i32.const -1))",
        "{name} returned 0xffffffff for {asked} bytes, outside the guest's memory of 65536",
        AbiViolation,
    ),
    "traps": ("unreachable", UNREACHABLE, Trap),
    "never ends": ("(loop $l (br $l))", LATE, GuestTimeout, SHORT),
}


def _above(convention: str, dtype: str, batch: int, isolation: str) -> Made:
    """More than the limit, in pages at the end of memory."""
    module = harm.gufunc(dtype, "", batch=batch)
    right, _ = _sizes(convention, dtype, batch, bad=False)
    wrong, size = _sizes(convention, dtype, batch, bad=True)
    memory = 131072 if isolation == "instance" else 65536
    text = (
        f"the tensors need {size} bytes, which the guest could not allocate: its memory is {memory} bytes, and may grow to"
        f" 262144 (raise wasm.max_memory_bytes, or send smaller batches)"
    )
    failure = Failure(MemoryLimit, of_entry(convention, text))
    limits = {"max_memory_bytes": 262144}
    return Made(module, wrong, failure, right, answer(convention, right), joins=False, limits=limits)


def _above_own(convention: str, dtype: str, batch: int, isolation: str) -> Made:
    made = _above(convention, dtype, batch, isolation)
    memory = 131072 if isolation == "instance" else 65536
    _, size = _sizes(convention, dtype, batch, bad=True)
    text = (
        f"the tensors need {size} bytes, which the guest could not allocate: its memory is {memory} bytes, and the module's"
        " own maximum is 196608 bytes (build it with a larger one: clang -Wl,--max-memory=, Emscripten:"
        " -sMAXIMUM_MEMORY=, asc --maximumMemory, or send smaller batches)"
    )
    module = harm.gufunc(dtype, "", batch=batch, memory='(memory (export "memory") 1 3)')
    failure = Failure(MemoryLimit, of_entry(convention, text))
    return Made(module, made.bad, failure, made.good, made.answer, joins=False)


@dataclass(frozen=True)
class _Start:
    """No instance can be made."""

    more: str
    text: str
    kind: type[WasmError]
    imports: str = ""
    limits: dict[str, Any] = field(default_factory=dict)
    lines: tuple[tuple[str, str], ...] = ()

    def __call__(self, convention: str, dtype: str, batch: int, isolation: str) -> Made:
        """The row."""
        parts: dict[str, Any] = {"batch": batch, "more": self.more, "imports": self.imports}
        make = {"dlpack": harm.dlpack, "gufunc": harm.gufunc, "elementwise": harm.elementwise}[convention]
        module = make(dtype, "", **parts)  # type: ignore[operator]
        failure = Failure(self.kind, of_entry(convention, self.text))
        bad = request(convention, dtype, batch, bad=True)
        return Made(module, bad, failure, None, None, True, self.lines, self.limits)


SAYS = harm.says(512, b"hello")
_STARTS = {
    "start function that traps": _Start("(func $s unreachable) (start $s)", UNREACHABLE, Trap),
    "start function that never ends": _Start(
        "(func $s (loop $l (br $l))) (start $s)", LATE, GuestTimeout, limits=SHORT
    ),
    "_initialize that traps": _Start('(func (export "_initialize") unreachable)', UNREACHABLE, Trap),
    "_start that traps": _Start('(func (export "_start") unreachable)', UNREACHABLE, Trap),
    "_start that exits with 3": _Start(
        '(func (export "_start") (call $proc_exit (i32.const 3)))',
        "the module's '_start', which initializes each instance: expected exit code 0, got 3",
        GuestError,
        host_guests.imports("proc_exit"),
    ),
    "_initialize that exits": _Start(
        '(func (export "_initialize") (call $proc_exit (i32.const 0)))',
        "the guest exited with code 0 instead of returning",
        GuestError,
        host_guests.imports("proc_exit"),
    ),
    "_initialize that writes and traps": _Start(
        f'{harm.text_at(512, b"hello")} (func (export "_initialize") {SAYS} unreachable)',
        UNREACHABLE,
        Trap,
        WRITE,
        lines=(("stderr", "hello"),),
    ),
    "_initialize that sleeps": _Start(
        f'(func (export "_initialize") {host_guests.sleep(60_000)})',
        ASLEEP,
        GuestTimeout,
        host_guests.imports("clock_time_get", "poll_oneoff"),
        SHORT,
    ),
    "more memory than the limit": _Start(
        "(func $s (drop (memory.grow (i32.const 100))) (i32.store (i32.const 6000000) (i32.const 1))) (start $s)",
        f"the guest trapped: out of bounds memory access{FRAMES}",
        Trap,
        limits={"max_memory_bytes": LIMIT},
    ),
}
