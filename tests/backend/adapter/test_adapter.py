"""The adapter's contract with executors: no placement outlives its block, an instance is put back exactly or not at all,
and what a guest says of its failure is read within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portalis.backend.interface.interface import Interface
from portalis.backend.limits import Limits
from portalis.backend.plan import control
from portalis.backend.plan.elementwise_loop import CHUNK_BYTES
from portalis.backend.plan.planner import Plan
from tests.backend import guests
from tests.backend.adapter.instance import Instance
from tests.backend.guests import tensor
from tests.backend.plan.plans import MODULES, made

F32 = np.float32
PLACES = "the tensors have been moved since they were placed"


def floats(count: int, value: float = 7) -> np.ndarray:
    return np.full(count, value, F32)


# -- placements --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dlpack", "gufunc with malloc", "gufunc with pages", "gufunc with cabi_realloc"])
def test_a_placement_is_rejected_after_the_block_has_moved(name: str) -> None:
    resets = name == "dlpack"  # its `portalis_reset` frees the block before each call
    instance = Instance(made(guests.echo() if resets else MODULES[name], "instance"))
    assert instance.place(floats(4)) == control.DONE
    first = instance.header.generation
    assert instance.place(floats(4)) == control.DONE
    assert (instance.header.generation == first) != resets  # the same block, or another
    assert instance.place(floats(1000)) == control.DONE
    moved = instance.header.generation
    assert moved > first
    instance.write(floats(1000))
    assert instance.run(generation=first) == control.INTERNAL
    assert instance.message() == PLACES
    assert instance.run() == control.DONE  # the last placement is valid
    assert instance.output().tolist() == [7 if resets else 14] * 1000
    assert instance.place(floats(3)) == control.DONE
    assert (instance.header.generation == moved) != resets  # large enough


def test_repeated_inputs_can_move_the_end_of_the_loops_memory() -> None:
    instance = Instance(made(MODULES["elementwise, copied"]))
    a, b = np.ones((2, 1), F32), np.ones((1, 3), F32)
    assert instance.place(a, b) == control.DONE
    first = instance.header.generation
    a, b = np.ones((1000, 1), F32), np.ones((1, 3000), F32)
    assert instance.place(a, b) == control.DONE
    assert instance.header.generation >= first
    large = np.ones((1_000_000, 1), F32)
    assert instance.place(large, np.ones((1, 2), F32)) == control.DONE
    grown = instance.header.generation
    assert grown > first
    assert instance.run(generation=first) == control.INTERNAL


@pytest.mark.parametrize("name", ["dlpack", "gufunc with pages", "elementwise, copied"])
def test_a_pass_requires_a_placement(name: str) -> None:
    instance = Instance(made(MODULES[name]))
    for number in (0, 1, 0xFFFFFFFF):
        assert instance.run(number) == control.INTERNAL
        assert instance.message() == PLACES


def test_the_number_of_passes_is_as_announced() -> None:
    instance = Instance(made(MODULES["elementwise, copied"]))
    x = np.ones(CHUNK_BYTES // 4, F32)  # three tensors share a chunk
    assert instance.place(x, x) == control.DONE
    passes = instance.header.passes
    assert passes > 1
    assert [instance.run(number) for number in range(passes)] == [control.DONE] * passes
    assert instance.run(passes) == control.INTERNAL and instance.message() == PLACES
    for i in range(3):
        _, _, size, each, _ = instance.row(i)
        assert -(-size // each) == passes


def test_a_rejected_request_does_not_run() -> None:
    instance = Instance(made(guests.echo(dims=(3,)), "instance"))
    assert instance.place(floats(3)) == control.DONE
    assert instance.place(floats(4)) == control.INPUT
    assert instance.message() == "input 'x' has shape [4]; it must be [3]"
    assert instance.place(floats(3)) == control.DONE
    instance.write(floats(3))
    assert instance.run() == control.DONE and instance.output().tolist() == [7, 7, 7]


def test_the_rows_of_a_batch_are_reported_to_the_executor() -> None:
    instance = Instance(made(guests.echo(batch=8)))
    assert instance.place(np.ones((5, 2), F32)) == control.DONE
    assert instance.header.rows == 5
    instance = Instance(made(guests.echo()))
    assert instance.place(floats(2)) == control.DONE
    assert instance.header.rows == -1


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(0, 40_000), min_size=1, max_size=8))
def test_every_placement_is_inside_the_memory_and_no_two_tensors_share_a_byte(sizes: list[int]) -> None:
    instance = Instance(made(MODULES["gufunc with malloc"], "instance"))
    for size in sizes:
        if instance.place(floats(size)) != control.DONE:
            continue  # this allocator's memory has an end
        if not instance.header.passes:
            continue
        places = [instance.row(i)[1] for i in range(2)]
        end = instance.tensors.data_len(instance.store)
        assert all(at % 64 == 0 and at + 4 * size <= end for at in places)
        assert abs(places[0] - places[1]) >= 4 * size


# -- rewinding ----------------------------------------------------------------------------------------------------------

# y[0] counts the calls in a global, y[1] in memory behind the tensors, y[2] in memory before them
COUNTS = """(local $y i32) (local.set $y (i32.load (local.get $out)))
  (global.set $n (f32.add (global.get $n) (f32.const 1))) (f32.store (local.get $y) (global.get $n))
  (f32.store (i32.const 65532) (f32.add (f32.load (i32.const 65532)) (f32.const 1)))
  (f32.store offset=4 (local.get $y) (f32.load (i32.const 65532)))
  (f32.store (i32.const 1024) (f32.add (f32.load (i32.const 1024)) (f32.const 1)))
  (f32.store offset=8 (local.get $y) (f32.load (i32.const 1024)))"""


def counting(more: str = "", isolation: str = "batch", **limits: int) -> Plan:
    module = guests.dlpack(
        f"{COUNTS} {more} (i32.const 0)",
        inputs=[tensor("x")],
        outputs=[tensor("y", dims=(3,))],
        more="(global $n (mut f32) (f32.const 0))",
    )
    return made(module, isolation, limits=Limits(**limits))


def test_rewinding_restores_memory_and_globals() -> None:
    instance = Instance(counting())
    assert instance.place(floats(4)) == control.DONE
    for _ in range(3):
        before = instance.state()
        for calls in (1, 2):
            assert instance.answer(floats(4)).tolist() == [calls] * 3
        assert instance.call("restore") == control.DONE
        assert instance.header.grew == 0
        assert instance.place(floats(4)) == control.DONE
        # the block for tensors is cleared but for what the executor and the adapter write there
        block = {at for i in range(2) for at in range(instance.row(i)[1] - 128, instance.row(i)[1] + 64)}
        changed = {at for at, (a, b) in enumerate(zip(before, instance.state())) if a != b}
        assert changed <= block


def test_an_instance_without_a_saved_state_cannot_be_rewound() -> None:
    for plan in (counting(isolation="instance"), made(MODULES["gufunc with pages"], "instance")):
        instance = Instance(plan)
        assert instance.call("restore") == control.RENEW
        assert instance.place(floats(4)) == control.DONE
        assert instance.call("restore") == control.RENEW


def test_a_small_growth_is_cleared_and_a_large_growth_ends_the_instance() -> None:
    grow = "(drop (memory.grow (i32.trunc_f32_u (f32.load (i32.load (local.get $in))))))"
    write = "(memory.fill (i32.const 65536) (i32.const 1) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536)))"
    instance = Instance(counting(grow + write))
    instance.answer(floats(4, 2))
    assert instance.call("restore") == control.DONE
    assert instance.header.grew == 1
    assert not any(instance.state()[65536:])
    instance.answer(floats(4, 0))
    assert instance.call("restore") == control.DONE
    assert instance.header.grew == 0
    instance.answer(floats(4, 100))
    assert instance.call("restore") == control.RENEW


def test_tensors_that_do_not_fit_a_saved_instance_need_a_new_one() -> None:
    instance = Instance(counting())
    instance.answer(floats(4))
    assert instance.call("restore") == control.DONE
    assert instance.place(floats(10_000)) == control.RENEW
    assert instance.place(floats(4)) == control.DONE
    large = Instance(counting())
    large.answer(floats(1_000_000))
    assert large.call("restore") == control.DONE
    assert large.place(floats(4)) in (control.DONE, control.RENEW)  # clearing megabytes for it could take longer


@pytest.mark.parametrize("valtype", ["i32", "i64", "f32", "f64"])
def test_globals_of_every_type_are_restored(valtype: str) -> None:
    body = f"(global.set $g ({valtype}.add (global.get $g) ({valtype}.const 1))) {guests.ECHO_BODY}"
    more = f'(global $g (export "g") (mut {valtype}) ({valtype}.const 5))'
    module = guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y")], more=more)
    instance = Instance(made(module))
    instance.answer(floats(4))
    assert instance.guest["g"].value(instance.store) == 6
    assert instance.call("restore") == control.DONE
    assert instance.guest["g"].value(instance.store) == 5


# -- messages of a guest ------------------------------------------------------------------------------------------------


def saying(pointer: str, more: str = "") -> Instance:
    """A guest whose `portalis_error` returns `pointer`."""
    error = f'(func (export "portalis_error") (result i32) {pointer}) {more}'
    module = guests.dlpack("(i32.const 3)", inputs=[tensor("x")], outputs=[tensor("y")], more=error)
    return Instance(made(module, "instance"))


def test_a_status_is_an_error_with_an_optional_message_of_the_guest() -> None:
    instance = saying("(i32.const 64)", '(data (i32.const 64) "not today\\00or tomorrow")')
    assert instance.place(floats(1)) == control.DONE
    assert instance.run() == control.STATUS
    assert instance.message() == "the guest returned status 3"
    assert instance.call("explain") == control.DONE
    assert instance.message() == "not today"


@pytest.mark.parametrize("pointer", ["(i32.const 0)", "(i32.const 65536)", "(i32.const -1)", "(i32.const 0x7fffffff)"])
def test_an_invalid_message_pointer_is_ignored(pointer: str) -> None:
    instance = saying(pointer)
    assert instance.call("explain") == control.DONE
    assert instance.header.message_bytes == 0


def test_an_unterminated_message_is_truncated_at_the_end_of_memory_or_at_4_kib() -> None:
    end = saying("(i32.const 65530)", '(data (i32.const 65530) "abcdef")')
    assert end.call("explain") == control.DONE
    assert end.message() == "abcdef"
    long = saying("(i32.const 32768)", f'(data (i32.const 32768) "{"a" * 10_000}")')
    assert long.call("explain") == control.DONE
    assert long.message() == "a" * 4096


def test_a_guest_without_a_message_has_no_explanation() -> None:
    instance = Instance(made(guests.echo(), "instance"))
    assert instance.call("explain") == control.DONE
    assert instance.header.message_bytes == 0


# -- what it knows -----------------------------------------------------------------------------------------------------


def test_messages_fit_their_buffer_for_any_names() -> None:
    name = "n" * 3000
    tensors = {"inputs": [tensor(name, dims=(3,)), tensor("m" + name, dims=(3,))], "outputs": [tensor("y")]}
    body = guests.dlpack(guests.ECHO_BODY, inputs=[tensor("x")], outputs=[tensor("y")])
    plan = made(body, interface=tensors)
    assert isinstance(plan.interface, Interface)
    instance = Instance(plan)
    assert instance.place(floats(1), floats(1)) == control.INPUT
    assert instance.header.message_bytes == 4096
    assert instance.message().startswith(f"input '{name}' has shape [1]; it must be [3]; input 'mnn")


@pytest.mark.parametrize("name", [name for name in MODULES if "host" not in name])
def test_any_control_block_is_rejected_or_served(name: str) -> None:
    """An error of an executor must be reported as an error, and the next request must be served."""
    plan = made(MODULES[name], "instance")
    instance = Instance(plan)
    rng = np.random.default_rng(3)
    for _ in range(40):
        for i in range(len(plan.interface.inputs)):
            rank = int(rng.choice([-1, 0, 1, 2, 8, 9, 16, 17, 2**31 - 1, -(2**31)]))
            dims = [int(rng.choice([0, 1, 3, 2**31, 2**40, 2**62])) for _ in range(16)]
            size = int(rng.choice([0, 4, 12, 2**32, 2**63 - 1]))
            at = control.CONTROL_AT + control.HEADER.size + control.TENSOR.size * i
            instance.own.write(instance.store, control.TENSOR.pack(rank, 0, size, 0, *dims), at)
        assert instance.call("place") in range(control.INTERNAL + 1)
