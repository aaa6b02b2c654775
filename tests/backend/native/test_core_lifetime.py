"""Freeing in the core: programs that are closed while calls run, and arrays that borrow an instance's memory."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from portalis.backend import HostBusy, Program
from tests.backend import guests
from tests.backend.native.cores import F32, SHAPED, Instances, answer, child, core, settings
from tests.backend.room import COUNTING

ECHO = guests.echo(batch=8)


@pytest.fixture(autouse=True)
def _there_is_a_core() -> None:
    core()


def lend(program: Program, value: float) -> np.ndarray:
    (result,) = program.run_batch([{"x": np.full((1, 4), value, F32)}], borrow=True)
    assert isinstance(result, dict), result
    return result["y"]


def test_borrowed_outputs_stay_memory_after_their_program_is_gone() -> None:
    message = child("""
from tests.backend import guests
lent = []
for turn in range(30):
    program = Program.load(guests.echo(batch=8) if turn % 2 else COUNTING)
    (result,) = program.run_batch([{"x": np.full((1, 1 << 18), 1, F32)}], borrow=True)
    lent.append(result["y"])
    if turn % 3: program.close()
    del program, result
    answer(Program.load(COUNTING))  # takes a slot that is free
print(len(lent), {float(array.sum()) for array in lent}, core().instances() >= len(lent))
""")
    assert message.split("{")[0] == "30 " and "262144.0" in message and message.endswith("True\n")


def test_large_borrowed_outputs_outlive_their_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_PERTURB_", "165")  # freed memory contains no valid address
    printed = child("""
import gc
from tests.backend import guests
borrowed = []
for _ in range(8):
    program = Program.load(guests.echo(batch=8))
    (result,) = program.run_batch([{"x": np.ones((1, 1 << 22), F32)}], borrow=True)
    borrowed.append(result["y"])
    del program, result
    gc.collect()
sums = {float(array.sum()) for array in borrowed}
del borrowed
print(sums, core().instances())
""")
    assert printed == "{4194304.0} 0\n"


def test_an_instance_goes_with_its_program_or_with_the_last_array_that_looks_into_it() -> None:
    made = Instances()
    program = Program.load(ECHO)
    lent = lend(program, 3)
    part = lent[:, 1:]
    assert len(made) == 1
    del program
    made.go_down_to(1)
    del lent
    made.go_down_to(1)
    assert part.tolist() == [[3, 3, 3]]
    del part
    made.go_down_to(0)


def test_a_thread_that_borrowed_and_ended_keeps_nothing() -> None:
    made = Instances()
    with Program.load(ECHO) as program:
        for turn in range(8):
            thread = threading.Thread(target=lambda turn=turn: lend(program, turn))
            thread.start()
            thread.join()
        assert len(made) == 1
        assert program.stats.instances == 1
    made.go_down_to(0)


def test_borrowed_outputs_survive_when_their_instance_is_evicted() -> None:
    made = Instances()
    with Program.load(ECHO) as program, Program.load(COUNTING) as other:
        lent = lend(program, 5)
        with settings(instances=core().instances() + 1, wait_s=60):
            kept = lend(other, 7)
            again = lend(program, 6)  # the same instance: it was given to nobody
            assert lent.tolist() == again.tolist() == [[6] * 4]
        full = settings(instances=core().instances(), wait_s=0)
        with full, pytest.raises(HostBusy, match="cannot create another instance"):
            answer(Program.load(COUNTING))  # both were dropped, but for their arrays
        assert lent.tolist() == [[6] * 4]
        assert kept.tolist() == [[1, 7, 7, 7]]
        assert answer(program, 2) == [2] * 4
        del kept, lent, again
    made.go_down_to(0)


def test_a_program_that_is_closed_answers_like_any_other_and_keeps_nothing_more() -> None:
    made = Instances()
    program = Program.load(ECHO)
    assert answer(program, 1) == [1] * 4
    program.close()
    made.go_down_to(0)
    assert answer(program, 2) == [2] * 4
    program.close()
    made.go_down_to(0)
    assert program.stats.instances == 2


def test_programs_that_are_closed_under_load_answer_and_leave_nothing() -> None:
    made = Instances()
    programs = [Program.load(wasm) for wasm in (ECHO, SHAPED, COUNTING)]

    def work(number: int) -> None:
        program = programs[number % 3]
        for turn in range(1, 150):
            x = np.full((1, 4) if number % 3 != 1 else 4, 1 + turn % 4, F32)
            (y,) = program.run({"x": x}).values()
            assert y.reshape(-1)[-1] == (1 + turn % 4 if number % 3 != 2 else y.reshape(-1)[1])

    with ThreadPoolExecutor(6) as threads:
        done = [threads.submit(work, number) for number in range(6)]
        held, programs_then = programs, list(programs)
        while not all(future.done() for future in done):
            for program in programs_then:
                program.close()
        for future in done:
            future.result()
    del programs[:], held, programs_then, program
    made.go_down_to(0)


def test_a_program_whose_last_name_goes_while_calls_run_is_freed_with_the_last_of_them() -> None:
    made = Instances()
    started = threading.Barrier(5)

    def work(program: Program) -> list[list[float]]:
        started.wait()
        return [answer(program, value) for value in range(50)]

    with ThreadPoolExecutor(4) as threads:
        program = Program.load(ECHO)
        done = [threads.submit(work, program) for _ in range(4)]
        started.wait()
        program.close()
        del program
        for future in done:
            assert future.result() == [[value] * 4 for value in range(50)]
        del done, future
        assert answer(Program.load(COUNTING), 1) == [1] * 4
    made.go_down_to(0)


def test_a_program_can_be_called_by_its_output_callback() -> None:
    message: list[str] = []
    inner: list[list[float]] = []
    text = f"""(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      {guests.PRELUDE} (data (i32.const 16) "a line")
      (func (export "portalis_infer") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32) (result i32)
        (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 6))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) {guests.ECHO_BODY}))"""
    entry = {"entry": "portalis_infer", "convention": "dlpack", "max_batch_size": 8}
    entry |= {"inputs": [guests.tensor("x")], "outputs": [guests.tensor("y")]}

    def line(_stream: str, text: str) -> None:
        message.append(text)
        if len(message) == 1:
            inner.append(answer(program, 2))
        if len(message) == 3:
            raise RuntimeError("of the caller's own")

    with Program.load(guests.wasm(text, entry), on_output=line) as program:
        assert lend(program, 1).tolist() == [[1] * 4]
        assert inner == [[2] * 4]
        with pytest.raises(RuntimeError, match="of the caller's own"):
            answer(program, 3)
        assert answer(program, 4) == [4] * 4
    assert message == ["a line"] * 4
