"""Room for instances: idle ones give way, a full pool is no end, what is not used is given back, a full host says so."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import wasmtime

from portalis.backend import HostBusy, Limits, Program
from portalis.backend.executor import native
from portalis.backend.compile.engine import default_settings, engine_for, pooled_engines
from portalis.backend.executor import instances, pool
from portalis.backend.executor.faults import PoolFull
from tests.backend import guests, stores
from tests.backend.guests import tensor
from tests.running.memory import resident_bytes
from tests.running.waiting import PATIENCE_S, until

F32 = np.float32
MORE_THAN_THE_POOL = native.POOL_MEMORIES + 6
X = {"x": np.ones((1, 4), F32)}
# y[0] is how many calls this instance has had
COUNTING = guests.dlpack(
    """(global.set $calls (f32.add (global.get $calls) (f32.const 1)))
    (f32.store (i32.load (local.get $in)) (global.get $calls))"""
    + guests.ECHO_BODY,
    inputs=[tensor("x")],
    outputs=[tensor("y")],
    batch=8,
    more="(global $calls (mut f32) (f32.const 0))",
)
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


def answer(program: Program) -> list[float]:
    (result,) = program.run_batch([X], borrow=True)
    assert not isinstance(result, Exception), result
    return [float(value) for value in result["y"][0]]


def fill_pool() -> list[native.Store]:
    """Instances that take every slot of the pool, none of which is idle; other tests' arrays may hold some slots. The
    thread that empties free slots takes them for a moment: then it is tried again."""
    enough = native.POOL_MEMORIES - 8
    taken: list[native.Store] = until(
        lambda: taken if len(taken := _fill_pool()) >= enough else [], "slots of the pool"
    )
    return taken


def _fill_pool() -> list[native.Store]:
    while instances.give_way():
        pass
    gc.collect()
    engine = engine_for(default_settings(1 << 20))
    pre = wasmtime.Linker(engine).instantiate_pre(wasmtime.Module(engine, "(module (memory 1))"))
    taken: list[native.Store] = []
    with contextlib.suppress(PoolFull):
        while True:
            taken.append(native.Store(engine, memory_bytes=1 << 20))
            taken[-1].instantiate(pre)
    taken.pop()
    return taken


@pytest.fixture
def full_pool() -> list[native.Store]:
    return fill_pool()


@pytest.mark.parametrize("wasm", [guests.echo(batch=8), COUNTING, PLAIN], ids=["echo", "counting", "wasi"])
def test_more_programs_than_the_pool_has_slots_answer_in_turn(wasm: bytes) -> None:
    programs = [Program.load(wasm) for _ in range(MORE_THAN_THE_POOL)]
    for _ in range(3):
        for program in programs:
            assert answer(program) == [1, 1, 1, 1]
    for program in programs:
        program.close()


def test_a_program_that_counts_on_its_instance_keeps_it_when_the_pool_is_full() -> None:
    programs = [Program.load(COUNTING, isolation="instance") for _ in range(MORE_THAN_THE_POOL)]
    for turn in (1, 2, 3):
        for program in programs:
            assert answer(program) == [turn, 1, 1, 1]
    assert {program.stats.instances for program in programs} == {1}
    for program in programs:
        program.close()


@pytest.mark.parametrize("isolation", ["request", "batch", "instance"])
@pytest.mark.parametrize("wasm", [guests.echo(batch=8), PLAIN], ids=["echo", "wasi"])
def test_a_full_pool_is_no_error_and_no_reason_to_keep_memory(
    full_pool: list[native.Store], isolation: str, wasm: bytes
) -> None:
    new = stores.New()
    with Program.load(wasm, isolation=isolation) as program:
        for _ in range(3):
            assert answer(program) == [1, 1, 1, 1]
        new.go_down_to(1 + (isolation == "instance") + 4)
        full_pool.clear()
        assert answer(program) == [1, 1, 1, 1]


def test_instances_serve_again_where_there_is_no_pool_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "can_pool", lambda: False)
    with Program.load(guests.echo(batch=8)) as program:
        for _ in range(3):
            assert answer(program) == [1, 1, 1, 1]
        assert program.stats.instances == 1


def test_a_command_and_an_elementwise_program_run_beside_a_full_pool(full_pool: list[native.Store]) -> None:
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
        until(lambda: native.live_stores() > native.POOL_MEMORIES or all(f.done() for f in asleep))
        with Program.load(PLAIN) as program:
            for _ in range(10):
                assert answer(program) == [1, 1, 1, 1]
        assert [f.result() for f in asleep] == [[1, 1, 1, 1]] * 72
    for program in sleepers:
        program.close()


def test_outputs_that_were_lent_survive_when_their_instance_gives_way() -> None:
    with Program.load(guests.echo(batch=8)) as program:
        for _ in range(2):
            (lent,) = program.run_batch([X], borrow=True)
        while instances.give_way():
            pass
        others = [Program.load(COUNTING) for _ in range(3)]
        assert [answer(other)[0] for other in others] == [1, 1, 1]
        assert lent["y"].tolist() == [[1, 1, 1, 1]]  # type: ignore[index]
        assert answer(program) == [1, 1, 1, 1]


def test_instances_give_way_while_programs_run_on_other_threads() -> None:
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            instances.give_way()

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        with Program.load(guests.echo(batch=8)) as program:
            for _ in range(150):
                x = rng.random((1, int(rng.integers(1, 4) * 50)), dtype=F32)
                (result,) = program.run_batch([{"x": x}], borrow=True)
                np.testing.assert_array_equal(result["y"], x)  # type: ignore[index]

    with ThreadPoolExecutor(5) as threads:
        disturber = threads.submit(disturb)
        done = [threads.submit(work, i) for i in range(4)]
        try:
            for future in done:
                future.result()
        finally:
            stop.set()
        disturber.result()


# -- what is given back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [False, True], ids=["success", "timeout"])
def test_a_thread_keeps_no_store_of_a_guest_with_a_host(bad: bool) -> None:
    endless = "(loop $l (br_if $l (f32.gt (f32.load (i32.load (local.get $in))) (f32.const 8))))"
    program = Program.load(of_wasi(endless), limits=Limits(timeout_s=0.1 if bad else PATIENCE_S))
    new = stores.New()
    found: list[object] = []

    def work() -> None:
        found.extend(program.run_batch([{"x": np.full((1, 4), 9 if bad else 1, F32)}]))
        found.append(native.current.store)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(work).result()
        assert isinstance(found[0], Exception) == bad
        assert found.pop() is None
        found.clear()
        new.go_down_to(0)


def test_pages_of_free_slots_are_given_back() -> None:
    engine = engine_for(default_settings(1 << 20))
    pool.empty_free_slots(engine)
    before = resident_bytes()
    with Program.load(LARGE) as program:
        assert answer(program) == [1, 1, 1, 1]
        gc.collect()
        until(lambda: pool.empty_free_slots(engine) > 0)  # a janitor may have them at the moment
        assert resident_bytes() - before < 16 << 20
        assert answer(program) == [1, 1, 1, 1]  # a slot that was emptied is as good as new
    with Program.load(guests.echo(batch=8)) as program:
        assert answer(program) == [1, 1, 1, 1]


# y[0] is x[0] plus the number in a data segment and one in fresh memory; both are overwritten
SEGMENT = of_wasi(
    """(f32.store (i32.load (local.get $in)) (f32.add (f32.load (i32.load (local.get $in)))
      (f32.add (f32.load (i32.const 2048)) (f32.load (i32.const 65532)))))
    (f32.store (i32.const 2048) (f32.const 77)) (f32.store (i32.const 65532) (f32.const 77))""",
    more=r'(data (i32.const 2048) "\00\00\a0\40")',  # 5
)


def test_answers_are_right_while_free_slots_are_emptied() -> None:
    engine = engine_for(default_settings(1 << 20))
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            pool.empty_free_slots(engine)

    def work() -> None:
        with Program.load(SEGMENT) as program, Program.load(COUNTING) as other:
            for _ in range(100):
                assert answer(program) == [6, 1, 1, 1]
                assert answer(other)[0] == 1

    with ThreadPoolExecutor(4) as threads:
        disturber = threads.submit(disturb)
        done = [threads.submit(work) for _ in range(3)]
        try:
            for future in done:
                future.result()
        finally:
            stop.set()
        disturber.result()


def test_the_janitor_comes_by_itself_and_then_sleeps() -> None:
    engine_for(default_settings(1 << 20))
    engines = len(pooled_engines())
    assert engines > 0
    visits: list[object] = []
    janitor = pool.Janitor(visits.append, period_s=0.05)
    busy = [True, True, False]
    janitor.note(lambda: busy.pop(0))
    until(lambda: not busy)
    assert len(visits) == 3 * engines
    time.sleep(0.2)
    assert len(visits) == 3 * engines
    janitor.note(lambda: False)
    until(lambda: len(visits) == 4 * engines)


# -- a host without room -----------------------------------------------------------------------------------------------

FULL_HOST = """
import resource, time
from portalis.backend import GuestError, Program
from tests.backend import test_instances as t
program = Program.load(t.PLAIN)
print(t.answer(program))
stores = t.fill_pool()
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), resource.RLIM_INFINITY))
began = time.process_time()
for result in program.run_batch([t.X, t.X, t.X]):
    print(type(result).__name__, isinstance(result, GuestError), "this host has no room" in str(result), len(str(result)) < 500)
print(program.stats.traps, time.process_time() - began < 1)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
print(t.answer(program))
"""


def test_a_host_without_room_names_itself_and_recovers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_HOST], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr[-1000:]
    answers = "[1.0, 1.0, 1.0, 1.0]"
    assert done.stdout.splitlines() == [answers, *["HostBusy False True True"] * 3, "0 True", answers]


def test_the_number_of_instances_has_a_bound(monkeypatch: pytest.MonkeyPatch, full_pool: list[native.Store]) -> None:
    monkeypatch.setattr(instances, "WAIT_S", 0.05)
    monkeypatch.setattr(instances, "MAX_INSTANCES", len(full_pool))
    with Program.load(PLAIN) as program:
        with pytest.raises(HostBusy, match="no room for another instance .* send the request again later"):
            program.run(X)
        full_pool.clear()
        assert answer(program) == [1, 1, 1, 1]


def test_a_call_waits_for_room_that_comes_in_time(
    monkeypatch: pytest.MonkeyPatch, full_pool: list[native.Store]
) -> None:
    monkeypatch.setattr(instances, "WAIT_S", PATIENCE_S)
    monkeypatch.setattr(instances, "MAX_INSTANCES", len(full_pool))
    with Program.load(PLAIN) as program, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(program.run, X)
        time.sleep(0.1)
        assert not waiting.done()
        full_pool.clear()
        assert waiting.result()["y"].tolist() == [[1, 1, 1, 1]]
