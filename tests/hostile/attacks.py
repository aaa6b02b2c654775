"""The table of attacks: guests that are harmful if a row of their input is 1, and harmless otherwise.

Every host that runs guests is tested with this table. An attack must end as an error of its own request, within its
limits, and its process must serve the next request.
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

TIMEOUT_S = 0.4  # for guests that never end; `tests.backend.limits.in_time` extends it if a good request needs more
PATIENT_S = 30.0  # for guests that end on their own
MAX_MEMORY_BYTES = 64 << 20
# gRPC sends the message in a header of at most 16 KiB, in which one byte can take three
MAX_MESSAGE_BYTES = 4 << 10
GOOD, BAD = np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)

WASI = "wasi_snapshot_preview1"
SHAPE = 1024  # address of the shape of the output


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """A guest with the input x, FP32 [rows, 1].

    `errors`: the errors with which a hostile request may end. `echoes`: the output y of a good request equals x.
    """

    name: str
    module: bytes
    errors: tuple[type[WasmError], ...]
    limits: Mapping[str, Any] = field(default_factory=dict)
    echoes: bool = True

    def check_error(self, message: str) -> None:
        """Check that an error message is short and contains no control characters, except line feeds."""
        assert 0 < len(message.encode()) <= MAX_MESSAGE_BYTES, (self.name, len(message))
        controls = {c for c in message if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}
        assert not controls, (self.name, controls)

    def check_good(self, number: float, output: list[Any]) -> None:
        """Check the output of a good request with the input `number`."""
        assert not self.echoes or output == [number], (self.name, number, output)

    @property
    def timeout_s(self) -> float:
        """Time limit of a call of the attack, in seconds."""
        return TIMEOUT_S if GuestTimeout in self.errors else PATIENT_S

    @property
    def all_limits(self) -> dict[str, Any]:
        """The limits of the attack's program, by their names in `Limits`."""
        return {"timeout_s": self.timeout_s, "max_memory_bytes": MAX_MEMORY_BYTES, **self.limits}

    @property
    def patient_limits(self) -> dict[str, Any]:
        """`all_limits` with a long time limit, for requests that set a shorter one."""
        return {**self.all_limits, "timeout_s": PATIENCE_S}


ROWS = "(i64.extend_i32_u (local.get $rows))"


def returning(*sizes: int | str, data: str = "(local.get $p)") -> str:
    """Code that returns a tensor of these sizes. Each size is a number or WebAssembly code."""
    stores = "".join(
        f"(i64.store (i32.const {SHAPE + 8 * i}) {size if isinstance(size, str) else f'(i64.const {size})'})"
        for i, size in enumerate(sizes)
    )
    return f"""{stores} (i32.store (local.get $out) {data}) (i32.store offset=12 (local.get $out) (i32.const {len(sizes)}))
      (i32.store offset=20 (local.get $out) (i32.const {SHAPE})) (return (i32.const 0))"""


def imported(name: str, parameters: str, result: str = "(result i32)") -> str:
    """The import of a WASI function."""
    return f'(import "{WASI}" "{name}" (func ${name} (param {parameters}) {result}))'


# mangled C++ names that expand to 200 × 2 ** 21 and to 20 × 2 ** 12 types
GIGABYTES = guests.cxx_bomb(21) + "SL_" * 200
LONG = guests.cxx_bomb(12) + "SC_" * 20
SLEEP = """(i32.store8 (i32.const 24) (i32.const 0)) (i32.store (i32.const 32) (i32.const 1))
  (i64.store (i32.const 40) (i64.const 3600000000000)) (i32.store16 (i32.const 56) (i32.const 0))
  (drop (call $poll_oneoff (i32.const 16) (i32.const 256) (i32.const 1) (i32.const 512)))"""
POLL = imported("poll_oneoff", "i32 i32 i32 i32")
WRITE = imported("fd_write", "i32 i32 i32 i32")
STATUS = "(return (i32.const 7))"


def text_at(address: str, *more: str) -> str:
    """A function `portalis_error` that returns `address`, followed by `more`."""
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
    violations = (AbiViolation,)

    def any_size(code: str) -> bytes:
        return guests.when_asked(
            code, output=wide, good=returning(ROWS, 1, 1, data="(i32.load (local.get $in))") + " unreachable"
        )

    def texts(code: str) -> bytes:
        """A guest whose output for a good row is an empty string: a length of 0."""
        good = returning(f"(i64.mul (i64.const 4) {ROWS})", data="(i32.const 3072)") + " unreachable"
        return guests.when_asked(code, output=tensor("y", "BYTES", (-1,)), good=good)

    zeros = "(drop (memory.grow (i32.const 900)))"
    return [
        Attack(
            name="nothing_times_huge", module=any_size(returning(ROWS, 0, 1 << 62)), errors=violations, echoes=False
        ),
        Attack(
            name="huge_times_nothing", module=any_size(returning(ROWS, 1 << 62, 0)), errors=violations, echoes=False
        ),
        Attack(
            name="product_that_overflows",
            module=any_size(returning(ROWS, 1 << 33, 1 << 33)),
            errors=violations,
            echoes=False,
        ),
        Attack(name="negative_size", module=any_size(returning(ROWS, -1, -1)), errors=violations, echoes=False),
        Attack(
            name="rank_99",
            module=guests.when_asked("(i32.store offset=12 (local.get $out) (i32.const 99)) (return (i32.const 0))"),
            errors=violations,
        ),
        Attack(
            name="pointer_outside",
            module=any_size(returning(ROWS, 1, 1, data="(i32.const -4)")),
            errors=violations,
            echoes=False,
        ),
        Attack(
            name="millions_of_empty_texts",
            # 14 million elements with the length 0: no work for the guest
            module=texts(f"{zeros} {returning(56_000_000, data='(i32.const 65536)')}"),
            errors=(GuestError,),
            echoes=False,
        ),
        Attack(
            name="text_that_is_longer_than_memory",
            module=texts(f"(i32.store (i32.const 2048) (i32.const -1)) {returning(4, data='(i32.const 2048)')}"),
            errors=violations,
            echoes=False,
        ),
    ]


def all_attacks() -> list[Attack]:
    """Every attack."""
    make: tuple[Callable[[], list[Attack]], ...] = (_loops, _names, _memory, _outputs)
    return [attack for each in make for attack in each()]


ATTACKS = all_attacks()
