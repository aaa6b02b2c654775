"""Faults of a guest while it runs: traps, endless loops, statuses, what it says and writes."""

from __future__ import annotations

from collections.abc import Iterator

from portalis.backend.errors import GuestError, GuestStatus, GuestTimeout, Trap
from tests.backend import host_guests
from tests.backend.cases import harm
from tests.backend.cases.case import FRAMES
from tests.backend.cases.fault import EVERY, Fault, Harm

UNREACHABLE = f"the guest trapped: wasm `unreachable` instruction executed{FRAMES}"
ALONE = "the guest trapped: wasm `unreachable` instruction executed"
ASLEEP = "the guest ran longer than its time limit of 0.15 s and was stopped (raise wasm.timeout_ms if it needs longer)"
LATE = ASLEEP + FRAMES
SHORT = {"timeout_s": 0.15}
TABLE = """(table 2 funcref) (type $none (func)) (elem (i32.const 0) $other) (func $other (param i32))"""
TRAPS = {
    "unreachable": ("unreachable", "wasm `unreachable` instruction executed", ""),
    "load outside": ("(drop (i32.load (i32.const -4)))", "out of bounds memory access", ""),
    "copy outside": (
        "(memory.copy (i32.const 0) (i32.const -1) (i32.const 9))",
        "out of bounds memory access",
        "",
    ),
    "division by zero": ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "integer divide by zero", ""),
    "integer overflow": ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", "integer overflow", ""),
    "NaN as an integer": ("(drop (i32.trunc_f32_s (f32.const nan)))", "invalid conversion to integer", ""),
    "infinity as an integer": ("(drop (i32.trunc_f32_s (f32.const inf)))", "integer overflow", ""),
    "recursion": ("(call $down)", "call stack exhausted", "(func $down (call $down) (call $down))"),
    "call of nothing": ("(call_indirect (type $none) (i32.const 1))", "uninitialized element", TABLE),
    "call of another type": ("(call_indirect (type $none) (i32.const 0))", "indirect call type mismatch", TABLE),
    "call outside the table": (
        "(call_indirect (type $none) (i32.const 9))",
        "undefined element: out of bounds table access",
        TABLE,
    ),
}
STATUS = ("gufunc", "dlpack")
GROWING = ("elementwise", "dlpack", "command")
WRITE = host_guests.imports("fd_write")
ABORT = '(import "env" "abort" (func $abort (param i32 i32 i32 i32)))'


def faults() -> Iterator[Fault]:
    """All of them."""
    for name, (code, text, more) in TRAPS.items():
        dtypes = EVERY if name == "unreachable" else ("FP32", "BYTES")
        yield Fault(name, Harm(code, f"the guest trapped: {text}{FRAMES}", more=more), dtypes=dtypes)
    yield Fault("endless loop", Harm("(loop $l (br $l))", LATE, GuestTimeout, limits=SHORT), dtypes=("FP32", "BYTES"))
    yield Fault(
        "sleep",
        Harm(
            host_guests.sleep(60_000),
            ASLEEP,
            GuestTimeout,
            imports=host_guests.imports("clock_time_get", "poll_oneoff"),
            limits=SHORT,
        ),
        dtypes=("FP32", "BYTES"),
    )
    yield Fault("memory that does not grow", Harm(GROW, UNREACHABLE, limits={"max_memory_bytes": 1 << 20}), GROWING)
    yield from _statuses()
    yield from _written()


GROW = "(if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))"


def _statuses() -> Iterator[Fault]:
    text = "the guest returned status 7"
    yield Fault("status", Harm("(return (i32.const 7))", text, GuestStatus, status=True), STATUS)
    least = Harm("(return (i32.const 0x80000000))", "the guest returned status -2147483648", GuestStatus, status=True)
    yield Fault("least status", least, STATUS, ("FP32",))
    output = {
        "said": ("it is 7 ä", harm.text_at(2048, "it is 7 ä\0not this".encode()), "(i32.const 2048)"),
        "said with controls": (
            r"\x1b[2J" + "\n" + r"\r\u202e\xff\xfe",
            harm.text_at(2048, b"\x1b[2J\n\r\xe2\x80\xae\xff\xfe\0"),
            "(i32.const 2048)",
        ),
        "said at the end of memory": ("aaaa", harm.text_at(65532, b"aaaa"), "(i32.const 65532)"),
        "said nothing": ("", "", "(i32.const 0)"),
        "said outside": ("", "", "(i32.const -1)"),
        "said nothing at once": ("", "", "(i32.const 2048)"),
        "said and trapped": ("(portalis_error failed: " + ALONE + ")", "", "unreachable"),
    }
    for name, (words, data, code) in output.items():
        more = f'{data} (func (export "portalis_error") (result i32) {code})'
        answer = f"{text}: {words}" if words else text
        yield Fault(f"status, {name}", Harm("(return (i32.const 7))", answer, GuestStatus, more=more), ("dlpack",))
        trap = f"{UNREACHABLE}\nthe guest's message: {words}" if words else UNREACHABLE
        yield Fault(f"trap, {name}", Harm("unreachable", trap, more=more), ("dlpack",), ("FP32",))


def _written() -> Iterator[Fault]:
    data = harm.text_at(512, "one\ntwo ä\n\tthree".encode())
    lines = (("stderr", "one"), ("stderr", "two ä"), ("stderr", r"\tthree"))
    write = harm.says(512, "one\ntwo ä\n\tthree".encode())
    reported = "\nstderr: one\ntwo ä\n\\tthree"
    yield Fault(
        "written and trapped",
        Harm(f"{write} unreachable", UNREACHABLE, more=data, imports=WRITE, lines=lines, stderr=reported),
    )
    cut = (
        ("stderr", "one"),
        ("stderr", "two \\xc3"),
        ("stderr", "... 8 more bytes were dropped (wasm.max_output_bytes is 9)"),
    )
    yield Fault(
        "written too much",
        Harm(f"{write} unreachable", UNREACHABLE, more=data, imports=WRITE, lines=cut, limits={"max_output_bytes": 9}),
        ("elementwise", "gufunc", "dlpack"),
    )
    for code in (0, 3):
        text = f"the guest exited with code {code} instead of returning"
        yield Fault(
            f"exit code {code}",
            Harm(f"(call $proc_exit (i32.const {code}))", text, GuestError, imports=host_guests.imports("proc_exit")),
            ("elementwise", "gufunc", "dlpack"),
        )
    call = "(call $abort (i32.const {}) (i32.const {}) (i32.const 12) (i32.const 3)) unreachable"
    texts = {
        "abort": ("it is bad ä𝄞 at file.ts:12:3", 544, 640, "it is bad ä𝄞"),
        "abort without a text": (" at file.ts:12:3", 0, 640, ""),
        "abort outside": ("abort", -1, 640, ""),
    }
    halves = "\ud83da\ude00😀\ud83d"
    texts["abort with halves of characters"] = ("\ufffda\ufffd😀\ufffd at file.ts:12:3", 4224, 640, halves)
    texts["abort with a long text"] = ("é" * 1024 + " at file.ts:12:3", 4224, 640, "é" * 1500)
    for name, (shown, message, file, written) in texts.items():
        data = harm.abort_text(message if message > 640 else 544, written) + harm.abort_text(640, "file.ts")
        trap = f"the guest trapped: {shown}: wasm `unreachable` instruction executed{FRAMES}"
        code_ = call.format(message, file)
        yield Fault(name, Harm(code_, trap, Trap, more=data, imports=ABORT), dtypes=("FP32", "BYTES"))
