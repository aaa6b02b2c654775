"""Lifetimes of instances: programs that are closed or garbage collected, threads that end, and arrays that borrow guest
memory."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from portalis.backend import Limits, Program, Trap
from tests.backend import guests, host_guests, stores
from tests.backend.guests import tensor
from tests.backend.host_guests import moody
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.usefixtures("executor")
F32 = np.float32
X = {"x": np.full((1, 4), 7, F32)}
MANY = 150  # more instances than any pool can hold
ENDLESS = guests.dlpack("(loop $l (br $l)) (i32.const 0)", inputs=[tensor("x")], outputs=[tensor("y")], batch=8)


def lent(program: Program) -> np.ndarray:
    (result,) = program.run_batch([X], borrow=True)
    assert isinstance(result, dict)
    return result["y"]


def there_is_room() -> None:
    """Checks that an instance can be created in the pool, which is kept and rewound for each call."""
    with Program.load(guests.echo(batch=8)) as program:
        for _ in range(3):
            assert lent(program).tolist() == [[7] * 4]
        assert program.stats.instances == 1


@pytest.mark.parametrize("isolation", ["batch", "instance"])
@pytest.mark.parametrize("closed", [True, False])
def test_closed_and_garbage_collected_programs_leave_no_instance(closed: bool, isolation: str) -> None:
    for _ in range(MANY):
        program = Program.load(guests.echo(batch=8), isolation=isolation)
        assert lent(program).tolist() == [[7] * 4]
        if closed:
            program.close()
    del program
    gc.collect()
    there_is_room()


def test_threads_that_end_leave_no_instance() -> None:
    with Program.load(guests.echo(batch=8), isolation="instance") as program:
        for _ in range(MANY):
            with ThreadPoolExecutor(1) as threads:
                assert threads.submit(lambda: lent(program).tolist()).result() == [[7] * 4]
        there_is_room()


@pytest.mark.parametrize("bad", [False, True], ids=["success", "failure"])
def test_a_running_thread_keeps_no_instance_of_a_guest_with_a_host(bad: bool, executor: str) -> None:
    new = stores.new(executor)
    with ThreadPoolExecutor(1) as threads:
        for _ in range(MANY):
            program = Program.load(moody())
            (result,) = threads.submit(program.run_batch, [{"x": np.full((1, 1), -1 if bad else 1, F32)}]).result()
            assert isinstance(result, Trap) == bad
            del program, result
        gc.collect()
        new.go_down_to(0)
        there_is_room()


def test_a_closed_program_still_serves_and_can_be_closed_again() -> None:
    program = Program.load(guests.echo(batch=8))
    for instances in (1, 2, 3):
        assert program.run(X)["y"].tolist() == [[7] * 4]
        assert lent(program).tolist() == [[7] * 4]
        assert program.stats.instances == instances
        program.close()
        program.close()
    assert program.stats.calls == 6


@pytest.mark.parametrize("how", ["closed", "forgotten", "thread"])
def test_a_borrowed_array_can_be_read_after_its_program_or_thread_has_ended(how: str) -> None:
    programs = [Program.load(guests.echo(batch=8)) for _ in range(3)]
    if how == "thread":
        with ThreadPoolExecutor(1) as threads:
            arrays = [threads.submit(lent, program).result() for program in programs]
    else:
        arrays = [lent(program) for program in programs]
    if how == "closed":
        for program in programs:
            program.close()
    programs.clear()
    gc.collect()
    others = [Program.load(guests.echo(batch=8)) for _ in range(3)]
    for other in others:
        other.run({"x": np.full((1, 4), 9, F32)})
    assert [array.tolist() for array in arrays] == [[[7] * 4]] * 3
    arrays.clear()
    gc.collect()
    there_is_room()


def test_closing_a_program_whose_guest_runs_lets_the_call_end() -> None:
    program = Program.load(ENDLESS, limits=Limits(timeout_s=0.3))
    began = threading.Event()

    def run() -> str:
        began.set()
        return type(program.run_batch([X])[0]).__name__

    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(run) for _ in range(3)]
        assert began.wait(PATIENCE_S)
        program.close()
        assert [call.result() for call in calls] == ["GuestTimeout"] * 3
    there_is_room()


def test_a_program_collected_while_a_guest_fails_leaves_no_instance() -> None:
    program = Program.load(moody())
    with pytest.raises(Trap):
        program.run({"x": np.full((1, 1), -1, F32)})
    del program
    gc.collect()
    there_is_room()


def test_an_instance_is_not_lost_where_the_host_has_no_memory_for_the_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(*_: Any, **__: Any) -> np.ndarray:
        raise MemoryError

    with Program.load(guests.wasm(guests.ADD), isolation="instance") as program:
        x = np.ones(300_000, F32)  # several passes
        monkeypatch.setattr(np, "empty", scarce)
        for _ in range(MANY):
            with pytest.raises(MemoryError):
                program.run({"a": x, "b": x})
        monkeypatch.undo()
        assert (program.run({"a": x, "b": x})["y"] == 2).all()
    there_is_room()


@pytest.mark.parametrize("text", ["one\n", "one\ntwo\n"])
def test_the_output_of_a_guest_is_forwarded_after_its_program_was_closed(text: str) -> None:
    words = "".join(f"(i32.store8 (i32.const {64 + i}) (i32.const {ord(c)}))" for i, c in enumerate(text))
    body = f"""{words} (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {len(text)}))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) {guests.ECHO_BODY}"""
    seen: list[tuple[str, str]] = []
    program = Program.load(host_guests.model(body, "fd_write"), on_output=lambda *line: seen.append(line))
    for _ in range(2):
        program.run({"x": np.ones(1, F32)})
        program.close()
    assert seen == [("stdout", line) for line in text.splitlines()] * 2
