"""Instances that are rewound between batches behave like new ones: no data of an earlier batch is visible."""

from __future__ import annotations

import numpy as np
import pytest
import wasmtime

from portalis.backend import Program
from portalis.backend.plan import rewind
from portalis.backend.wasm.binary import read_module
from tests.backend import guests
from tests.backend.guests import tensor

pytestmark = pytest.mark.usefixtures("executor")

F32, I32 = np.float32, np.int32
ONE = np.ones((1, 1), F32)


def reporter(body: str, more: str = "", dims: int = 1) -> bytes:
    """A dlpack guest x -> y INT32[dims] whose `body` gets the address of y's data in $y."""
    text = f"(local $y i32) (local.set $y (i32.load (local.get $out))) {body} (i32.const 0)"
    outputs = [tensor("y", "INT32", (dims,))]
    return guests.dlpack(text, inputs=[tensor("x")], outputs=outputs, batch=8, more=more)


def calls(module: bytes, times: int = 6, isolation: str = "batch") -> list[list[int]]:
    """The results of a guest in calls of one program: run individually, then as in Triton."""
    with Program.load(module, isolation=isolation) as program:
        first = program.run({"x": ONE})["y"].reshape(-1).tolist()
        reported = [first]
        for _ in range(times):
            (result,) = program.run_batch([{"x": ONE}], borrow=True)
            assert not isinstance(result, Exception)
            reported.append(result["y"].reshape(-1).tolist())
        assert program.stats.calls == times + 1
        return reported


COUNT = """(i32.store (local.get $y) (global.get $n))
  (global.set $n (i32.add (global.get $n) (i32.const 1)))"""
REMEMBER = """(i32.store (local.get $y) (i32.load (i32.const {at})))
  (i32.store (i32.const {at}) (i32.add (i32.load (i32.const {at})) (i32.const 1)))"""


def test_a_mutable_global_is_reset() -> None:
    module = reporter(COUNT, "(global $n (mut i32) (i32.const 7))")
    assert calls(module) == [[7]] * 7
    assert calls(module, isolation="request") == [[7]] * 7
    assert calls(module, isolation="instance") == [[7 + i] for i in range(7)]


@pytest.mark.parametrize("at", [16, 3000, 65532])
def test_memory_before_and_after_the_tensors_is_reset(at: int) -> None:
    module = reporter(REMEMBER.format(at=at))
    assert calls(module) == [[0]] * 7
    assert calls(module, isolation="instance") == [[i] for i in range(7)]


@pytest.mark.parametrize(
    ("valtype", "initial", "opcode"),
    [
        ("i64", "(i64.const 5)", "i64.store"),
        ("f32", "(f32.const 1.5)", "f32.store"),
        ("f64", "(f64.const -2)", "f64.store"),
    ],
)
def test_globals_of_every_number_type_are_reset(valtype: str, initial: str, opcode: str) -> None:
    body = (
        f"({opcode} (local.get $y) (global.get $n)) (global.set $n ({valtype}.add (global.get $n) ({valtype}.const 1)))"
    )
    results = calls(reporter(body, f"(global $n (mut {valtype}) {initial})", dims=2))
    assert len({tuple(r) for r in results}) == 1


def test_a_vector_global_is_reset() -> None:
    body = """(v128.store (local.get $y) (global.get $n))
      (global.set $n (i32x4.add (global.get $n) (i32x4.splat (i32.const 1))))"""
    assert calls(reporter(body, "(global $n (mut v128) (v128.const i32x4 1 2 3 4))", dims=4)) == [[1, 2, 3, 4]] * 7


def test_the_memory_of_outputs_is_cleared_between_batches() -> None:
    # reports the content of its output before it writes it
    body = """(i32.store offset=4 (local.get $y) (i32.load (local.get $y))) (i32.store (local.get $y) (i32.const 99))"""
    assert calls(reporter(body, dims=2)) == [[99, 0]] * 7


def test_a_smaller_batch_cannot_see_data_of_a_larger_one() -> None:
    # the sum of the 64 words that follow its own input
    body = """(local $i i32) (local $s i32) (local $x i32)
      (local.set $x (i32.add (i32.load (local.get $in)) (i32.const 64)))
      (loop $l
        (local.set $s (i32.or (local.get $s) (i32.load (i32.add (local.get $x) (i32.shl (local.get $i) (i32.const 2))))))
        (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 64))))
      (i32.store (i32.load (local.get $out)) (local.get $s)) (i32.const 0)"""
    module = guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y", "INT32", (1,))], batch=8)
    with Program.load(module) as program:
        for _ in range(3):
            program.run({"x": np.full((1, 500), 3, F32)})
            assert program.run({"x": np.full((1, 4), 3, F32)})["y"].tolist() == [[0]]


def test_memory_that_a_guest_has_grown_is_cleared() -> None:
    # grows by a page whenever its memory is smaller than four, and counts in the last word of the fourth
    body = """(local $last i32)
      (if (i32.lt_u (memory.size) (i32.const 4)) (then (drop (memory.grow (i32.const 3)))))
      (local.set $last (i32.const 262140))
      (i32.store (i32.load (local.get $out)) (i32.load (local.get $last)))
      (i32.store (local.get $last) (i32.add (i32.load (local.get $last)) (i32.const 1))) (i32.const 0)"""
    module = guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y", "INT32", (1,))], batch=8)
    assert calls(module, times=20) == [[0]] * 21
    with Program.load(module) as program:
        for _ in range(20):
            program.run({"x": ONE})
        assert program.stats.instances == 1


def test_a_guest_that_grows_in_every_call_eventually_gets_new_instances() -> None:
    body = """(drop (memory.grow (i32.const 1))) (i32.store (i32.load (local.get $out)) (memory.size)) (i32.const 0)"""
    module = guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y", "INT32", (1,))], batch=8)
    with Program.load(module) as program:
        sizes = [int(program.run({"x": ONE})["y"][0, 0]) for _ in range(60)]
        assert sizes[-10:] == [2] * 10
        assert max(sizes) <= 12
        assert program.stats.instances > 40


def test_a_trap_ends_the_instance_and_the_next_call_has_a_new_one() -> None:
    body = "(if (f32.eq (f32.load (i32.load (local.get $in))) (f32.const 13)) (then unreachable))" + COUNT
    with Program.load(reporter(body, "(global $n (mut i32) (i32.const 0))")) as program:
        for _ in range(3):
            good, bad = {"x": ONE}, {"x": np.full((1, 1), 13, F32)}
            assert program.run_batch([good], borrow=True)[0]["y"].tolist() == [[0]]  # type: ignore[index]
            assert "unreachable" in str(program.run_batch([bad], borrow=True)[0])
        assert program.stats.instances == 3


STATE = '(memory (export "memory") 1) (global $a (mut i32) (i32.const 0)) (global $b i32 (i32.const 0))'


def names(text: str) -> tuple[str, ...] | None:
    return rewind.exposed_global_names(read_module(bytes(wasmtime.wat2wasm(f"(module {text})"))))


def test_only_mutable_globals_are_exported() -> None:
    assert names(STATE + "(global (mut f64) (f64.const 0))") == ("portalis.global.0", "portalis.global.2")
    assert names('(memory (export "memory") 1)') == ()


@pytest.mark.parametrize(
    "text",
    [
        '(import "env" "f" (func))' + STATE,
        STATE.replace('(export "memory") 1', '(export "memory") 9'),
        STATE.replace(' (export "memory")', ""),
        STATE + "(memory 1)",
        STATE + "(global (mut funcref) (ref.null func))",
        STATE + '(global (export "portalis.global.0") i32 (i32.const 0))',
        STATE + "".join("(global (mut i32) (i32.const 0))" for _ in range(16)),
        STATE + "(table 1 funcref) (func $f (table.set (i32.const 0) (ref.null func)))",
        STATE + "(table 1 funcref) (func $f (drop (table.grow (ref.null func) (i32.const 1))))",
        STATE + "(table 1 funcref) (func $f (table.fill (i32.const 0) (ref.null func) (i32.const 1)))",
        STATE + "(table 2 funcref) (func $f (table.copy (i32.const 0) (i32.const 1) (i32.const 1)))",
        STATE + "(table 1 funcref) (elem $e func) (func (elem.drop $e))",
        STATE + "(table 1 funcref) (elem $e func) (func (table.init $e (i32.const 0) (i32.const 0) (i32.const 0)))",
        STATE + '(data $d "x") (func (data.drop $d))',
    ],
)
def test_a_module_whose_state_cannot_be_restored_is_not_rewound(text: str) -> None:
    assert names(text) is None


@pytest.mark.parametrize(
    "text",
    [
        STATE + "(table 1 funcref) (elem (i32.const 0) $f) (func $f (call_indirect (i32.const 0)))",
        STATE + '(data $d "x") (func (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)))',
        STATE + "(func (drop (memory.grow (i32.const 1))))",
    ],
)
def test_a_module_that_only_reads_its_tables_and_segments_is_rewound(text: str) -> None:
    assert names(text) == ("portalis.global.0",)


def test_the_instructions_of_a_large_module_with_a_table_are_not_scanned() -> None:
    table = STATE + "(table 1 funcref)"
    assert names(table) == ("portalis.global.0",)
    assert names(table + f'(data (i32.const 0) "{"x" * 65536}")') is None


def test_exposing_only_adds_exports() -> None:
    wasm = bytes(wasmtime.wat2wasm(f'(module {STATE} (func (export "f")) (func $g))'))
    before = read_module(wasm)
    exposed = rewind.expose_globals(wasm, before, ("portalis.global.0",))
    after = read_module(exposed)
    assert [e.name for e in after.exports] == ["memory", "f", "portalis.global.0"]
    assert (after.functions, after.globals, after.imports) == (before.functions, before.globals, before.imports)
    wasmtime.Module(wasmtime.Engine(), exposed)
    assert rewind.expose_globals(wasm, before, ()) is wasm


def test_a_small_request_after_a_large_one_does_not_clear_the_large_ones_memory() -> None:
    with Program.load(guests.echo(batch=8)) as program:
        instances = []
        for width in (10, 10, 500_000, 500_000, 10, 10, 20, 10):
            x = np.full((1, width), width, F32)
            (result,) = program.run_batch([{"x": x}], borrow=True)
            np.testing.assert_array_equal(result["y"], x)  # type: ignore[index]
            instances.append(program.stats.instances)
        assert instances == [1, 1, 2, 2, 2, 2, 3, 3]  # the first serves small requests again; it was not made for 20


def test_a_large_growth_is_not_cleared_for_small_requests() -> None:
    # grows by the number of pages in its input, and reports its size
    body = """(drop (memory.grow (i32.trunc_f32_u (f32.load (i32.load (local.get $in))))))
      (i32.store (i32.load (local.get $out)) (memory.size)) (i32.const 0)"""
    module = guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y", "INT32", (1,))], batch=8)
    with Program.load(module) as program:
        sizes = [int(program.run({"x": np.full((1, 1), pages, F32)})["y"][0, 0]) for pages in (0, 2, 0, 40, 0, 0)]
    assert sizes == [1, 3, 3, 43, 1, 1]


def test_an_instance_with_large_tensors_serves_again() -> None:
    """Clearing it takes less time than creating a new one."""
    # grows by 8 MiB in the first call, like a guest that allocates its output, and reports the last word
    body = """(local $last i32)
      (if (i32.eqz (global.get $grown)) (then (global.set $grown (i32.const 1))
        (if (i32.lt_u (memory.size) (i32.const 256)) (then (drop (memory.grow (i32.const 128)))))))
      (local.set $last (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4)))
      (i32.store (i32.load (local.get $out)) (i32.load (local.get $last)))
      (i32.store (local.get $last) (i32.const 7)) (i32.const 0)"""
    module = guests.dlpack(
        body,
        inputs=[tensor("x")],
        outputs=[tensor("y", "INT32", (1,))],
        batch=8,
        more="(global $grown (mut i32) (i32.const 0))",
    )
    x = np.ones((1, 2 << 20), F32)  # 8 MiB
    with Program.load(module) as program:
        assert [program.run({"x": x})["y"].tolist() for _ in range(5)] == [[[0]]] * 5
        assert program.stats.instances == 1
