"""A process that was forked off one that used the core: it answers, deadlines hold in it, and it never hangs."""

from __future__ import annotations

import pytest

from tests.backend.native.cores import child, core


@pytest.fixture
def _there_is_a_core() -> None:
    core()


# Runs `work` in a child of this process, which an alarm ends if it hangs; prints how it ended.
FORK = """
import signal, numpy as np
from tests.backend import guests
def fork(work):
    pid = os.fork()
    if pid: return pid
    signal.alarm(20)
    try: work()
    except BaseException as error:
        os.write(1, f"{type(error).__name__}: {error}\\n".encode())
        os._exit(1)
    os._exit(0)
def ended(pid): return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def is_late(program):
    try: answer(program)
    except GuestTimeout as error: return "time limit of 0.1 s" in str(error)
echo, endless = Program.load(guests.echo(batch=8), cache=None), Program.load(ENDLESS, limits=Limits(timeout_s=0.1))
kept, other = Program.load(COUNTING, isolation="instance"), Program.load(guests.echo(batch=8), limits=Limits(max_stack_bytes=1 << 19))
"""


@pytest.mark.usefixtures("_there_is_a_core")
def test_a_child_answers_and_keeps_deadlines_with_programs_of_before_and_new_ones() -> None:
    message = child(
        FORK
        + """
(result,) = echo.run_batch([X], borrow=True)
lent = result["y"]
assert is_late(endless) and answer(kept)[0] == 1 and answer(kept)[0] == 2
def work():
    assert lent.tolist() == X["x"].tolist()
    assert core().instances() == 0
    for _ in range(3): assert answer(echo, 3) == [3] * 4
    assert answer(kept)[0] == 1  # in its first state
    assert is_late(endless) and is_late(endless)
    new = Program.load(guests.echo(batch=8), cache=None)
    assert answer(new, 4) == [4] * 4
    assert is_late(Program.load(ENDLESS, limits=Limits(timeout_s=0.1)))
    echo.close(); new.close()
    assert ended(fork(lambda: answer(echo, 5))) == 0  # and a child of the child
    assert echo.stats.calls == 4, echo.stats
for _ in range(3): assert ended(fork(work)) == 0
assert answer(echo, 6) == [6] * 4 and answer(kept)[0] == 3 and is_late(endless)
print("served")
"""
    )
    assert message == "served\n"


@pytest.mark.usefixtures("_there_is_a_core")
def test_a_child_that_is_forked_while_other_threads_work_does_not_hang() -> None:
    message = child(
        FORK
        + """
stop = threading.Event()
def calls():
    while not stop.is_set(): answer(echo, 2); answer(other, 2)
def loads():
    while not stop.is_set(): answer(Program.load(guests.echo(batch=8)), 2)
threads = [threading.Thread(target=each, daemon=True) for each in (calls, calls, loads)]
for thread in threads: thread.start()
def work():
    for _ in range(3): assert answer(echo, 3) == [3] * 4 and answer(other, 3) == [3] * 4
    assert is_late(endless)
    echo.close()
for _ in range(5): assert ended(fork(work)) == 0
stop.set()
for thread in threads: thread.join()
assert answer(echo, 2) == [2] * 4
print("served")
"""
    )
    assert message == "served\n"


@pytest.mark.usefixtures("executor")
def test_a_deadline_holds_in_a_child_for_programs_of_before_in_all_executors() -> None:
    message = child(
        FORK
        + """
assert answer(echo) == [1] * 4 and is_late(endless)
def work(): assert answer(echo, 3) == [3] * 4 and is_late(endless)
assert ended(fork(work)) == 0
print("served")
"""
    )
    assert message == "served\n"
