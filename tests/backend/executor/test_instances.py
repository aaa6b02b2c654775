"""Capacity for instances: idle ones are evicted, a full pool is not the limit, unused memory is freed, and a host out
of capacity reports it."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import wasmtime

from portalis.backend import GuestError, HostBusy, Program
from portalis.backend.constants import SPARE_BYTES
from portalis.backend.executor import instance_limit as instances
from tests.backend import guests
from tests.backend.guests import tensor
from tests.backend.native import cores
from tests.backend.room import COUNTING, MORE_THAN_THE_POOL, X, address_space_taken, answer, no_room, slots_taken
from tests.running.memory import resident_bytes
from tests.running.waiting import until

pytestmark = pytest.mark.usefixtures("executor")
F32 = np.float32
_WASI = '(import "wasi_snapshot_preview1" "{0}" (func ${0} (param i32 i32 i32 i32) (result i32)))'


def of_wasi(body: str, function: str = "fd_write", more: str = "") -> bytes:
    """A guest that imports WASI, so that it has a host state, and cannot be rewound."""
    text = f"""(module {_WASI.format(function)} {guests.PRELUDE} {more}
      (func (export "portalis_infer") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32) (result i32)
        {body} {guests.ECHO_BODY}))"""
    entry = {"entry": "portalis_infer", "convention": "dlpack", "inputs": [tensor("x")], "outputs": [tensor("y")]}
    return guests.wasm(text, {**entry, "max_batch_size": 8})


PLAIN = of_wasi("")
# sleeps for 0.3 s: a relative clock subscription at 256
SLEEPING = of_wasi(
    """(i32.store (i32.const 272) (i32.const 1)) (i64.store (i32.const 280) (i64.const 300000000))
    (drop (call $poll_oneoff (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 768)))""",
    "poll_oneoff",
)
# touches 48 MiB
LARGE = of_wasi(
    """(drop (memory.grow (i32.const 768)))
    (memory.fill (i32.const 65536) (i32.const 1) (i32.const 50331648))"""
)


# y[0] is x[0] plus the number in a data segment and one in fresh memory; both are overwritten
SEGMENT = of_wasi(
    """(f32.store (i32.load (local.get $in)) (f32.add (f32.load (i32.load (local.get $in)))
      (f32.add (f32.load (i32.const 2048)) (f32.load (i32.const 65532)))))
    (f32.store (i32.const 2048) (f32.const 77)) (f32.store (i32.const 65532) (f32.const 77))""",
    more=r'(data (i32.const 2048) "\00\00\a0\40")',  # 5
)


@pytest.fixture
def full_pool(executor: str) -> Iterator[contextlib.ExitStack]:
    """Occupies every slot of the pool; `close` frees them."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(slots_taken())
        yield stack


@pytest.mark.parametrize("wasm", [guests.echo(batch=8), COUNTING, PLAIN], ids=["echo", "counting", "wasi"])
def test_more_programs_than_the_pool_has_slots_answer_in_turn(wasm: bytes) -> None:
    programs = [Program.load(wasm) for _ in range(MORE_THAN_THE_POOL)]
    for _ in range(3):
        for program in programs:
            assert answer(program) == [1, 1, 1, 1]
    for program in programs:
        program.close()


def test_a_stateful_program_keeps_its_instance_if_the_pool_is_full() -> None:
    programs = [Program.load(COUNTING, isolation="instance") for _ in range(MORE_THAN_THE_POOL)]
    for turn in (1, 2, 3):
        for program in programs:
            assert answer(program) == [turn, 1, 1, 1]
    assert {program.stats.instances for program in programs} == {1}
    for program in programs:
        program.close()


@pytest.mark.parametrize("isolation", ["request", "batch", "instance"])
@pytest.mark.parametrize("wasm", [guests.echo(batch=8), PLAIN], ids=["echo", "wasi"])
def test_with_a_full_pool_programs_run_in_instances_outside_it(
    full_pool: contextlib.ExitStack, executor: str, isolation: str, wasm: bytes
) -> None:
    with Program.load(wasm, isolation=isolation) as program:
        for _ in range(3):
            assert answer(program) == [1, 1, 1, 1]
        if executor == "core":  # an instance outside the pool is kept only for a stateful program
            assert program.stats.instances == (1 if isolation == "instance" else 3)
        full_pool.close()
        before = program.stats.instances
        for _ in range(3):
            assert answer(program) == [1, 1, 1, 1]
        if isolation == "batch" and wasm != PLAIN:
            assert program.stats.instances <= before + 1


def test_a_command_and_an_elementwise_program_run_with_a_full_pool(full_pool: contextlib.ExitStack) -> None:
    with Program.load(bytes(wasmtime.wat2wasm(guests.CAT)), interface={"convention": "command"}) as program:
        result = program.run({"stdin": np.array([[b"some text"]], object)})
        assert result["stdout"].tolist() == [[b"some text"]]
        assert result["stderr"].tolist() == [[b"!"]]
    with Program.load(bytes(wasmtime.wat2wasm(guests.ADD)), threads=2) as program:
        x = np.ones(300_000, F32)
        (total,) = program.run({"a": x, "b": x}).values()
        assert (total == 2).all()


def test_sleeping_programs_do_not_starve_a_harmless_one() -> None:
    with ThreadPoolExecutor(72) as threads:
        sleepers = [Program.load(SLEEPING) for _ in range(12)]
        asleep = [threads.submit(answer, program) for program in sleepers for _ in range(6)]
        until(lambda: sum(p.stats.instances for p in sleepers) >= 65 or all(f.done() for f in asleep))
        with Program.load(PLAIN) as program:
            for _ in range(10):
                assert answer(program) == [1, 1, 1, 1]
        assert [f.result() for f in asleep] == [[1, 1, 1, 1]] * 72
    for program in sleepers:
        program.close()


def test_borrowed_outputs_survive_the_eviction_of_idle_instances() -> None:
    with Program.load(guests.echo(batch=8)) as program:
        for _ in range(2):
            (lent,) = program.run_batch([X], borrow=True)
        with slots_taken():
            assert lent["y"].tolist() == [[1, 1, 1, 1]]  # type: ignore[index]
            others = [Program.load(COUNTING) for _ in range(3)]
            assert [answer(other)[0] for other in others] == [1, 1, 1]
            assert lent["y"].tolist() == [[1, 1, 1, 1]]  # type: ignore[index]
            assert answer(program) == [1, 1, 1, 1]


def test_calls_of_changing_sizes_have_an_instance_each_and_more_sizes_than_are_kept_replace_the_oldest() -> None:
    width = 2 * SPARE_BYTES // 4  # of float32: one row less does not suit
    values = np.arange(8, dtype=F32)
    rows = [{"x": np.full((1, width), value, F32)} for value in values]

    def check(count: int) -> None:
        results = program.run_batch(rows[:count], borrow=True)
        assert [r["y"][0, :: width - 1].tolist() for r in results if isinstance(r, dict)] == [
            [n, n] for n in values[:count]
        ]

    with Program.load(guests.echo(batch=8)) as program:
        for count in (1, 3, 8) * 10:
            check(count)
        assert program.stats.instances == 3
        check(2)  # as large as the block that three rows need, or half
        assert program.stats.instances == 3
        for count in (*range(1, 9), *range(8, 0, -1)) * 2:
            check(count)
        made = program.stats.instances
        for count in (1, 2) * 10:
            check(count)
        assert program.stats.instances - made <= 2


def test_instances_are_evicted_while_programs_run_on_other_threads() -> None:
    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        with contextlib.ExitStack() as stack:
            programs = [stack.enter_context(Program.load(guests.echo(batch=8))) for _ in range(4)]
            for turn in range(160):
                x = rng.random((1, int(rng.integers(1, 4) * 50)), dtype=F32)
                (result,) = programs[turn % 4].run_batch([{"x": x}], borrow=True)
                np.testing.assert_array_equal(result["y"], x)  # type: ignore[index]

    with slots_taken(58), ThreadPoolExecutor(4) as threads:  # sixteen programs for the slots that are left
        for future in [threads.submit(work, i) for i in range(4)]:
            future.result()


def test_instances_are_evicted_again_and_again_while_their_programs_are_called(executor: str) -> None:
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            if executor == "python":
                instances.evict_idle()
            else:
                with Program.load(COUNTING, isolation="instance") as program:
                    answer(program)

    def work() -> None:
        with Program.load(guests.echo(batch=8)) as program, Program.load(COUNTING) as other:
            for _ in range(150):
                assert answer(program) == [1, 1, 1, 1]
                assert answer(other)[0] == 1

    with slots_taken(62), ThreadPoolExecutor(5) as threads:
        disturber = threads.submit(disturb)
        done = [threads.submit(work) for _ in range(4)]
        try:
            for future in done:
                future.result()
        finally:
            stop.set()
        disturber.result()


# -- freed memory ------------------------------------------------------------------------------------------------------


def test_a_reused_slot_behaves_like_a_new_one() -> None:
    def work() -> None:
        with Program.load(SEGMENT) as program, Program.load(COUNTING) as other:
            for _ in range(100):
                assert answer(program) == [6, 1, 1, 1]
                assert answer(other)[0] == 1

    with ThreadPoolExecutor(3) as threads:
        for future in [threads.submit(work) for _ in range(3)]:
            future.result()


def test_the_memory_of_closed_instances_is_freed() -> None:
    with Program.load(LARGE) as program:
        assert answer(program) == [1, 1, 1, 1]
        before = resident_bytes()
        with ThreadPoolExecutor(4) as threads:
            assert [f.result() for f in [threads.submit(answer, program) for _ in range(4)]] == [[1, 1, 1, 1]] * 4
        gc.collect()
        until(lambda: resident_bytes() - before < 16 << 20)
        assert answer(program) == [1, 1, 1, 1]


# -- a host out of capacity ---------------------------------------------------------------------------------------------


def test_a_host_out_of_capacity_reports_it_and_recovers() -> None:
    with Program.load(PLAIN) as program:
        assert program.run(X)["y"].tolist() == [[1, 1, 1, 1]]
        with no_room():
            results = program.run_batch([X, X, X])  # is tried once for all of them
            assert program.stats.calls == 2
        for error in results:
            assert isinstance(error, HostBusy) and not isinstance(error, GuestError)
            assert "cannot create another instance" in str(error) and len(str(error)) < 500
            assert "retry later" in str(error)
        assert program.stats.traps == 0
        assert answer(program) == [1, 1, 1, 1]


def test_a_kept_instance_serves_even_if_no_other_can_be_created() -> None:
    with Program.load(COUNTING, isolation="instance") as program:
        assert answer(program)[0] == 1
        with no_room():
            assert answer(program)[0] == 2
            with (
                Program.load(guests.wasm(guests.ADD)) as other,
                pytest.raises(HostBusy, match="cannot create another instance"),
            ):
                other.run({"a": np.ones(1, F32), "b": np.ones(1, F32)})
            assert answer(program)[0] == 3


@pytest.mark.parametrize("executor", ["python"], indirect=True, scope="module")
def test_a_command_on_a_host_out_of_capacity_reports_it(executor: str) -> None:
    """A command always runs in Python, so it needs the capacity that programs in Python have occupied."""
    with Program.load(guests.wasm(guests.CAT)) as program:
        rows = {"stdin": np.array([[b"a"]], object)}
        with no_room(), pytest.raises(HostBusy, match="cannot create another instance"):
            program.run(rows)
        assert program.run(rows)["stdout"].tolist() == [[b"a"]]


def test_a_call_waits_for_capacity() -> None:
    with Program.load(PLAIN) as program, slots_taken(), ThreadPoolExecutor(1) as threads:
        for _ in range(20):  # it waits for half a second; on a busy machine the other thread might not run in that time
            with address_space_taken():
                waiting = threads.submit(program.run, X)
                threading.Event().wait(0.1)
                early = waiting.done()
            if not early and waiting.exception() is None:
                assert waiting.result()["y"].tolist() == [[1, 1, 1, 1]]
                return
        pytest.fail("it never waited")


def test_the_number_of_instances_is_limited(
    monkeypatch: pytest.MonkeyPatch, full_pool: contextlib.ExitStack, executor: str
) -> None:
    monkeypatch.setattr(instances, "WAIT_S", 0.05)
    monkeypatch.setattr(instances, "MAX_INSTANCES", MORE_THAN_THE_POOL - 1)
    with Program.load(PLAIN) as program:
        bound = cores.settings(wait_s=0.05, instances=MORE_THAN_THE_POOL - 1)
        with bound if executor == "core" else contextlib.nullcontext():
            with pytest.raises(HostBusy, match="cannot create another instance: .* retry later"):
                program.run(X)
            full_pool.close()
            gc.collect()
            assert answer(program) == [1, 1, 1, 1]
