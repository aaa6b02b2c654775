"""The command convention: WASI commands, one instance per row."""

from __future__ import annotations

import numpy as np
import pytest

from portalis.backend import GuestError, GuestTimeout, InputError, Limits, Program, Trap
from tests.backend import guests

CAT = guests.wasm(guests.CAT)


def rows(*items: object) -> np.ndarray:
    return np.array([[item] for item in items], dtype=object)


def test_each_row_is_a_separate_run_of_the_command() -> None:
    args = np.array([[b"a", b"b"], [b"c", b"d"]], dtype=object)
    result = Program.load(CAT).run({"stdin": rows(b"one", b"\xfftwo\n\0"), "args": args})
    assert result["stdout"].tolist() == [[b"one"], [b"\xfftwo\n\0"]]
    assert result["stderr"].tolist() == [[b"!"], [b"!"]]
    assert result["exit_code"].tolist() == [[2], [2]] and result["exit_code"].dtype == np.int32


def test_arguments_are_optional_and_an_empty_batch_is_empty() -> None:
    program = Program.load(CAT)
    assert program.run({"stdin": rows(b"x")})["exit_code"].tolist() == [[0]]
    empty = program.run({"stdin": np.empty((0, 1), dtype=object)})
    assert empty["stdout"].shape == (0, 1) and empty["exit_code"].shape == (0, 1)


def test_input_larger_than_one_read_arrives_completely() -> None:
    data = bytes(range(256)) * 2000
    assert Program.load(CAT).run({"stdin": rows(data)})["stdout"][0, 0] == data


def test_text_is_encoded_as_utf8() -> None:
    assert Program.load(CAT).run({"stdin": rows("grün")})["stdout"][0, 0] == "grün".encode()


def test_rows_run_concurrently_on_threads() -> None:
    with Program.load(CAT, threads=3) as program:
        data = [str(i).encode() * 1000 for i in range(30)]
        assert [r[0] for r in program.run({"stdin": rows(*data)})["stdout"]] == data


def test_output_that_exceeds_the_limit_is_an_error_and_is_never_truncated() -> None:
    program = Program.load(CAT, limits=Limits(max_stdout_bytes=1000))
    assert len(program.run({"stdin": rows(b"x" * 1000)})["stdout"][0, 0]) == 1000
    with pytest.raises(GuestError, match=r"more than 1000 bytes to a stream \(raise Limits.max_stdout_bytes"):
        program.run({"stdin": rows(b"x" * 1001)})


def test_a_nul_in_an_argument_is_rejected() -> None:
    with pytest.raises(InputError, match="NUL"):
        Program.load(CAT).run({"stdin": rows(b""), "args": rows(b"a\0b")})


@pytest.mark.parametrize("argument", [b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80", "\ud800"])
def test_an_argument_that_is_not_utf8_is_rejected_and_never_changed(argument: object) -> None:
    program = Program.load(CAT)
    with pytest.raises(InputError, match="input 'args' has an argument that is not UTF-8"):
        program.run({"stdin": rows(b""), "args": rows(argument)})
    assert program.run({"stdin": rows(b"on"), "args": rows("café")})["stdout"].item() == b"on"


def test_arguments_arrive_unchanged() -> None:
    text = """(module (import "wasi_snapshot_preview1" "args_sizes_get" (func $s (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "args_get" (func $g (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (drop (call $s (i32.const 0) (i32.const 4))) (drop (call $g (i32.const 1024) (i32.const 4096)))
        (i32.store (i32.const 16) (i32.const 4096)) (i32.store (i32.const 20) (i32.load (i32.const 4)))
        (drop (call $w (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 32)))))"""
    args = np.array([["café", "\U0001f600".encode(), b"", "-x=\ufffd"]], dtype=object)
    given = Program.load(guests.wasm(text)).run({"stdin": rows(b""), "args": args})["stdout"].item()
    assert given.split(b"\0")[1:5] == ["café".encode(), "\U0001f600".encode(), b"", "-x=\ufffd".encode()]


def test_text_with_lone_surrogates_is_rejected_by_name() -> None:
    program = Program.load(CAT)
    with pytest.raises(InputError, match="input 'stdin' has an element with '.udcff', which UTF-8 cannot represent"):
        program.run({"stdin": rows("a\udcff")})
    assert program.run({"stdin": rows(b"\xff")})["stdout"].item() == b"\xff"


@pytest.mark.parametrize("threads", [1, 2])
def test_the_output_of_all_rows_together_is_limited(threads: int) -> None:
    with Program.load(CAT, limits=Limits(max_tensor_bytes=3000), threads=threads) as program:
        assert program.run({"stdin": rows(b"x" * 1400, b"y" * 1400)})["exit_code"].tolist() == [[0], [0]]
        with pytest.raises(
            GuestError, match=r"the rows wrote more than 3000 bytes in total \(raise Limits.max_tensor_bytes"
        ):
            program.run({"stdin": rows(b"x" * 1400, b"y" * 1400, b"z" * 1400)})


def test_the_error_contains_the_end_of_stderr() -> None:
    text = """(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 16) "out of ideas")
      (func (export "_start") (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 12))
        (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))) unreachable))"""
    with pytest.raises(Trap, match=r"(?s)unreachable.*stderr: out of ideas"):
        Program.load(guests.wasm(text)).run({"stdin": rows(b"")})


def test_every_row_has_the_full_time_limit() -> None:
    text = """(module (memory (export "memory") 1) (func (export "_start") (loop $l br $l)))"""
    program = Program.load(guests.wasm(text), limits=Limits(timeout_s=0.2))
    with pytest.raises(GuestTimeout, match=r"0\.2 s"):
        program.run({"stdin": rows(b"", b"")})


def wasi(imports: dict[str, int], body: str) -> bytes:
    declared = "".join(
        f'(import "wasi_snapshot_preview1" "{n}" (func ${n} (param {" ".join(["i32"] * k)}) (result i32)))'
        for n, k in imports.items()
    )
    text = f"""(module {declared} (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (func (export "_start") (call $exit {body})))"""
    return guests.wasm(text)


@pytest.mark.parametrize(
    ("imports", "body", "errno"),
    [
        ({"fd_write": 4}, "(call $fd_write (i32.const 5) (i32.const 0) (i32.const 1) (i32.const 8))", 8),
        ({"fd_read": 4}, "(call $fd_read (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))", 8),
        ({"fd_write": 4}, "(call $fd_write (i32.const 1) (i32.const -8) (i32.const 1) (i32.const 8))", 21),
        ({"fd_write": 4}, "(call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const -2))", 21),
        ({"fd_read": 4}, "(call $fd_read (i32.const 0) (i32.const 65532) (i32.const 9) (i32.const 8))", 21),
        ({"poll_oneoff": 4}, "(call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 0) (i32.const 8))", 28),
        ({"poll_oneoff": 4}, "(call $poll_oneoff (i32.const -9) (i32.const 64) (i32.const 1) (i32.const 8))", 21),
    ],
)
def test_bad_wasi_calls_are_errnos_of_the_guest(imports: dict[str, int], body: str, errno: int) -> None:
    assert Program.load(wasi(imports, body)).run({"stdin": rows(b"abc")})["exit_code"][0, 0] == errno


def test_an_iovec_outside_memory_is_a_fault() -> None:
    body = "(call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))"
    module = wasi({"fd_write": 4}, body).replace(b"", b"")
    text_body = f"(block (result i32) (i32.store (i32.const 4) (i32.const 70000)) {body})"
    assert Program.load(wasi({"fd_write": 4}, text_body)).run({"stdin": rows(b"")})["exit_code"][0, 0] == 21
    assert Program.load(module).run({"stdin": rows(b"")})["exit_code"][0, 0] == 0


@pytest.mark.parametrize("absolute", [False, True])
def test_sleeping_works_and_ends_with_the_deadline(absolute: bool) -> None:
    # subscription at 128: clock (tag 0), monotonic (1), timeout 20 ms or 1 hour
    def sleeper(nanoseconds: int) -> bytes:
        flags = 1 if absolute else 0
        return wasi(
            {"poll_oneoff": 4},
            f"""(block (result i32) (i32.store (i32.const 144) (i32.const 1)) (i64.store (i32.const 152) (i64.const {nanoseconds}))
            (i32.store (i32.const 168) (i32.const {flags}))
            (drop (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 8)))
            (i32.add (i32.load (i32.const 8)) (i32.load8_u offset=10 (i32.const 256))))""",
        )

    assert Program.load(sleeper(20_000_000)).run({"stdin": rows(b"")})["exit_code"][0, 0] == 1
    if absolute:
        return
    with pytest.raises(GuestTimeout):
        Program.load(
            guests.wasm(
                """(module (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 1) (func (export "_start")
                  (i32.store (i32.const 144) (i32.const 1)) (i64.store (i32.const 152) (i64.const 3600000000000))
                  (loop $l (drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 8))) (br $l))))"""
            ),
            limits=Limits(timeout_s=0.3),
        ).run({"stdin": rows(b"")})


def test_nothing_of_the_host_is_visible() -> None:
    # no preopened directory, no environment, and only the program's name as an argument
    text = """(module
      (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (drop (call $env (i32.const 0) (i32.const 4)))
        (call $exit (i32.add (i32.mul (i32.const 100) (i32.load (i32.const 0))) (call $prestat (i32.const 3) (i32.const 64))))))"""
    assert Program.load(guests.wasm(text)).run({"stdin": rows(b"")})["exit_code"][0, 0] == 8  # EBADF, no variables
