"""The attacks: guests that do harm when a row of their input is 1, and are good otherwise.

Every place that runs guests takes the same table. An attack is an error of its own request, within bounds, and the
process that it ran in answers the next request.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portalis.backend import AbiViolation, GuestError, GuestStatus, GuestTimeout, Trap, WasmError
from tests.backend import guests
from tests.backend.guests import tensor
from tests.running.waiting import PATIENCE_S

TIMEOUT_S = 0.4  # of guests that never end; where a good request needs more, `tests.backend.limits.in_time` gives it
PATIENT_S = 30.0  # of guests that end by themselves
MAX_MEMORY_BYTES = 64 << 20
MAX_MESSAGE_BYTES = (
    4 << 10
)  # gRPC carries a message in a header of at most 16 KiB, where a character may take three bytes for one
GOOD, BAD = np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)

WASI = "wasi_snapshot_preview1"
SHAPE = 1024  # where guests keep the shape of what they return


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """`module` has the input x, FP32 [rows, 1]. `errors` are what the attack may end in; none where it is harmless to
    everybody but its own request, which then is answered. `echoes` says that y is x for a good request."""

    name: str
    module: bytes
    errors: tuple[type[WasmError], ...]
    limits: Mapping[str, Any] = field(default_factory=dict)
    echoes: bool = True

    def check_error(self, message: str) -> None:
        """An error is short, and has nothing that a terminal or a log would obey."""
        assert 0 < len(message.encode()) <= MAX_MESSAGE_BYTES, (self.name, len(message))
        controls = {c for c in message if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}
        assert not controls, (self.name, controls)

    def check_good(self, given: float, answer: list[Any]) -> None:
        """The answer to a good request with this one number."""
        assert not self.echoes or answer == [given], (self.name, given, answer)

    @property
    def timeout_s(self) -> float:
        """How long a call of the attack may take."""
        return TIMEOUT_S if GuestTimeout in self.errors else PATIENT_S

    @property
    def all_limits(self) -> dict[str, Any]:
        """The limits that the attack runs under, by the names of the runtime's."""
        return {"timeout_s": self.timeout_s, "max_memory_bytes": MAX_MEMORY_BYTES, **self.limits}

    @property
    def patient_limits(self) -> dict[str, Any]:
        """The same, but each request has to bring a time limit of its own."""
        return {**self.all_limits, "timeout_s": PATIENCE_S}


ROWS = "(i64.extend_i32_u (local.get $rows))"


def returning(*sizes: int | str, data: str = "(local.get $p)") -> str:
    """Code that returns a tensor of these sizes, each a number or code."""
    stores = "".join(
        f"(i64.store (i32.const {SHAPE + 8 * i}) {size if isinstance(size, str) else f'(i64.const {size})'})"
        for i, size in enumerate(sizes)
    )
    return f"""{stores} (i32.store (local.get $out) {data}) (i32.store offset=12 (local.get $out) (i32.const {len(sizes)}))
      (i32.store offset=20 (local.get $out) (i32.const {SHAPE})) (return (i32.const 0))"""


def imported(name: str, parameters: str, result: str = "(result i32)") -> str:
    """The import of a WASI function."""
    return f'(import "{WASI}" "{name}" (func ${name} (param {parameters}) {result}))'


# C++ names that stand for 2 ** 21 types 200 times, and for 2 ** 12 types 20 times
GIGABYTES = guests.cxx_bomb(21) + "SL_" * 200
LONG = guests.cxx_bomb(12) + "SC_" * 20
SLEEP = """(i32.store8 (i32.const 24) (i32.const 0)) (i32.store (i32.const 32) (i32.const 1))
  (i64.store (i32.const 40) (i64.const 3600000000000)) (i32.store16 (i32.const 56) (i32.const 0))
  (drop (call $poll_oneoff (i32.const 16) (i32.const 256) (i32.const 1) (i32.const 512)))"""
POLL = imported("poll_oneoff", "i32 i32 i32 i32")
WRITE = imported("fd_write", "i32 i32 i32 i32")
STATUS = "(return (i32.const 7))"


def text_at(address: str, *more: str) -> str:
    """An error text at `address`."""
    return f'(func (export "portalis_error") (result i32) {address}) {" ".join(more)}'


def _loops() -> list[Attack]:
    ends = (GuestTimeout,)
    looping = '(func $error (export "portalis_error") (result i32) (loop $l (br $l)) (i32.const 0))'
    return [
        Attack(name="endless_loop", module=guests.when_asked("(loop $l (br $l))"), errors=ends),
        Attack(
            name="endless_after_status",
            module=guests.when_asked(STATUS, more=looping),
            errors=(GuestTimeout, GuestStatus),
        ),
        Attack(
            name="endless_after_trap",
            module=guests.when_asked("unreachable", more=looping),
            errors=(GuestTimeout, Trap),
        ),
        Attack(name="sleeping", module=guests.when_asked(SLEEP, imports=POLL), errors=ends),
        Attack(
            name="endless_host_calls",
            module=guests.when_asked(
                "(loop $l (drop (call $sched_yield)) (br $l))", imports=imported("sched_yield", "")
            ),
            errors=ends,
        ),
        Attack(
            name="endless_randomness",
            module=guests.when_asked(
                "(drop (memory.grow (i32.const 900)))"
                " (loop $l (drop (call $random_get (i32.const 65536) (i32.const 58982400))) (br $l))",
                imports=imported("random_get", "i32 i32"),
            ),
            errors=ends,
        ),
    ]


def _names() -> list[Attack]:
    def trapping(name: str) -> bytes:
        return guests.when_asked(f"(call ${name})", more=f"(func ${name} unreachable)")

    return [
        Attack(name="name_of_gigabytes", module=trapping(GIGABYTES), errors=(Trap,)),
        Attack(name="long_name", module=trapping("n" * 90_000), errors=(Trap,)),
        Attack(
            name="name_with_controls",
            module=trapping(r'"\1b[2J\0d\0a{\22level\22:\22forged\22}\e2\80\ae"'),
            errors=(Trap,),
        ),
        Attack(
            name="endless_recursion_of_long_names",
            module=guests.when_asked(f"(call ${LONG})", more=f"(func ${LONG} (call ${LONG}))"),
            errors=(Trap,),
        ),
        Attack(
            name="error_text_with_controls",
            module=guests.when_asked(
                STATUS, more=text_at("(i32.const 2048)", r'(data (i32.const 2048) "\1b[2J\0d\0a\ff\fe\e2\80\ae")')
            ),
            errors=(GuestStatus,),
        ),
        Attack(
            name="error_text_without_end",
            module=guests.when_asked(
                "(drop (memory.grow (i32.const 900)))"
                " (memory.fill (i32.const 65536) (i32.const 65) (i32.const 58982400)) (return (i32.const 7))",
                more=text_at("(i32.const 65536)"),
            ),
            errors=(GuestStatus,),
        ),
        Attack(
            name="error_text_outside",
            module=guests.when_asked(STATUS, more=text_at("(i32.const -1)")),
            errors=(GuestStatus,),
        ),
    ]


def _memory() -> list[Attack]:
    grow = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable"
    wide = " ".join("(local i64)" for _ in range(200))
    return [
        Attack(name="growing", module=guests.when_asked(grow), errors=(Trap,)),
        Attack(
            name="recursion_of_wide_frames",
            module=guests.when_asked(
                "(call $down)", more=f"(func $down {wide} (call $down) (i64.store (i32.const 0) (local.get 7)))"
            ),
            errors=(Trap,),
        ),
        Attack(
            name="leaving",
            module=guests.when_asked("(call $proc_exit (i32.const 0))", imports=imported("proc_exit", "i32", "")),
            errors=(GuestError,),
        ),
        Attack(
            name="flooding_the_log",
            module=guests.when_asked(
                "(drop (memory.grow (i32.const 100))) (memory.fill (i32.const 65536) (i32.const 10) (i32.const 6000000))"
                " (i32.store (i32.const 16) (i32.const 65536)) (i32.store (i32.const 20) (i32.const 6000000))"
                " (loop $l (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24))) (br $l))",
                imports=WRITE,
            ),
            errors=(GuestTimeout,),
        ),
    ]


def _outputs() -> list[Attack]:
    wide = tensor("y", dims=(-1, -1))
    lies = (AbiViolation,)

    def any_size(code: str) -> bytes:
        return guests.when_asked(
            code, output=wide, good=returning(ROWS, 1, 1, data="(i32.load (local.get $in))") + " unreachable"
        )

    def texts(code: str) -> bytes:
        """A row's good answer is an empty text: a length of 0."""
        good = returning(f"(i64.mul (i64.const 4) {ROWS})", data="(i32.const 3072)") + " unreachable"
        return guests.when_asked(code, output=tensor("y", "BYTES", (-1,)), good=good)

    zeros = "(drop (memory.grow (i32.const 900)))"
    return [
        Attack(name="nothing_times_huge", module=any_size(returning(ROWS, 0, 1 << 62)), errors=lies, echoes=False),
        Attack(name="huge_times_nothing", module=any_size(returning(ROWS, 1 << 62, 0)), errors=lies, echoes=False),
        Attack(
            name="product_that_overflows", module=any_size(returning(ROWS, 1 << 33, 1 << 33)), errors=lies, echoes=False
        ),
        Attack(name="negative_size", module=any_size(returning(ROWS, -1, -1)), errors=lies, echoes=False),
        Attack(
            name="rank_99",
            module=guests.when_asked("(i32.store offset=12 (local.get $out) (i32.const 99)) (return (i32.const 0))"),
            errors=lies,
        ),
        Attack(
            name="pointer_outside",
            module=any_size(returning(ROWS, 1, 1, data="(i32.const -4)")),
            errors=lies,
            echoes=False,
        ),
        Attack(
            name="millions_of_empty_texts",
            # each of 14 million elements is a length of 0: no work for the guest
            module=texts(f"{zeros} {returning(56_000_000, data='(i32.const 65536)')}"),
            errors=(GuestError,),
            echoes=False,
        ),
        Attack(
            name="text_that_is_longer_than_memory",
            module=texts(f"(i32.store (i32.const 2048) (i32.const -1)) {returning(4, data='(i32.const 2048)')}"),
            errors=lies,
            echoes=False,
        ),
    ]


def all_attacks() -> list[Attack]:
    """The table."""
    make: tuple[Callable[[], list[Attack]], ...] = (_loops, _names, _memory, _outputs)
    return [attack for each in make for attack in each()]


ATTACKS = all_attacks()
