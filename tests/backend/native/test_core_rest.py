"""Unused instances are freed, and free memory is returned to the operating system; then the core's threads sleep."""

from __future__ import annotations

import pytest

from portalis.backend import Program
from tests.backend import guests
from tests.backend.native.cores import Instances, answer, child, core, settings
from tests.backend.room import COUNTING
from tests.running.waiting import until


@pytest.fixture(autouse=True)
def _there_is_a_core() -> None:
    core()


def test_an_instance_that_is_unused_is_freed_and_one_that_keeps_a_state_is_not() -> None:
    made = Instances()
    with settings(period_s=0.02, rest_s=0.1):
        programs = [Program.load(guests.echo(batch=8)) for _ in range(3)]
        kept = Program.load(COUNTING, isolation="instance")
        for turn in (1, 2):
            assert [answer(program, 2) for program in programs] == [[2] * 4] * 3
            assert answer(kept)[0] == turn
            until(lambda: len(made) == 1, lambda: f"{len(made)} instances are left")
        busy = programs.pop()
        assert answer(busy) == [1] * 4
        assert [program.stats.instances for program in (*programs, busy, kept)] == [2, 2, 3, 1]
        assert answer(kept)[0] == 3
    del kept, busy, programs[:]
    made.go_down_to(0)


def test_an_instance_that_is_used_again_and_again_stays() -> None:
    with settings(period_s=0.01, rest_s=60), Program.load(guests.echo(batch=8)) as program:
        for _ in range(20):
            assert answer(program) == [1] * 4
            until(lambda: True, every_s=0.01)
        assert program.stats.instances == 1


# 48 MiB are touched in instances that are not put back
LARGE = """
import numpy as np
from tests.backend import guests
from tests.running.memory import resident_bytes
from tests.running.waiting import until
MiB = 1 << 20
WASM = guests.dlpack(
    "(drop (memory.grow (i32.const 768))) (memory.fill (i32.const 65536) (i32.const 1) (i32.const 50331648))"
    + guests.ECHO_BODY, inputs=[guests.tensor("x")], outputs=[guests.tensor("y")], batch=8)
answer(Program.load(WASM, limits=Limits(timeout_s=1)))
"""


def test_pages_of_free_slots_are_given_back_and_then_the_threads_sleep() -> None:
    message = child(
        LARGE
        + """
def switches():
    tasks = (open(f"/proc/self/task/{task}/status").read() for task in os.listdir("/proc/self/task"))
    return sum(int(text.split("voluntary_ctxt_switches:")[1].split()[0]) for text in tasks)
def sleep():
    before = switches()
    time.sleep(0.3)
    return switches() - before <= 2  # this thread's own
change(500_000_000, 20_000_000, 50_000_000, 4096)
program = Program.load(WASM, limits=Limits(timeout_s=1))
before = resident_bytes()
for _ in range(3): assert answer(program) == [1] * 4
del program
until(lambda: resident_bytes() - before < 8 * MiB, lambda: resident_bytes() - before)
until(lambda: core().instances() == 0)
until(sleep, "the threads go on")
assert answer(Program.load(WASM, limits=Limits(timeout_s=1))) == [1] * 4  # a slot that was emptied is as good as new
print("given back")
"""
    )
    assert message == "given back\n"


def test_answers_are_right_while_free_slots_are_emptied() -> None:
    message = child(
        """
from concurrent.futures import ThreadPoolExecutor
from tests.backend import guests
# y[0] is x[0] plus the number in a data segment and one in fresh memory; both are overwritten
SEGMENT = guests.dlpack('''(f32.store (i32.load (local.get $in)) (f32.add (f32.load (i32.load (local.get $in)))
      (f32.add (f32.load (i32.const 2048)) (f32.load (i32.const 65532)))))
    (f32.store (i32.const 2048) (f32.const 77)) (f32.store (i32.const 65532) (f32.const 77))''' + guests.ECHO_BODY,
    inputs=[guests.tensor("x")], outputs=[guests.tensor("y")], batch=8, more=r'(data (i32.const 2048) "\\00\\00\\a0\\40")')
change(500_000_000, 1, 1, 4096)  # as often as can be
def work(_):
    for _ in range(12):
        program, other = Program.load(SEGMENT), Program.load(COUNTING)
        assert answer(program)[0] == 6 and answer(other)[0] == 1
        assert answer(program)[0] == 6 and answer(other)[0] == 1
with ThreadPoolExecutor(3) as threads: list(threads.map(work, range(3)))
print("right")
"""
    )
    assert message == "right\n"


HUGE = """
import re
import numpy as np
from pathlib import Path
from tests.backend import guests

def huge():  # mappings of what is reserved and not yet readable, which only pools have
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.M)
    return sum(" ---p " in mapping and "hg" in mapping.split("VmFlags:")[1].split() for mapping in mappings[1:])

with Program.load(guests.echo(batch=8)) as program:
    for elements in (4, 1 << 22):
        program.run({"x": np.ones((1, elements), np.float32)})
        print(huge(), end=" ")
print(huge())
"""


def test_only_instances_for_large_tensors_use_huge_pages() -> None:
    assert child(HUGE).split() == ["0", "1", "0"]
