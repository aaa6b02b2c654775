"""The dlpack convention: layouts, dtypes, BYTES, unknown shapes, and guests that return invalid tensors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from portalis.backend import AbiViolation, GuestStatus, InputError, Limits, MemoryLimit, Program, Trap
from portalis.backend.interface.dtypes import DTYPES
from tests.backend import guests
from tests.backend.guests import tensor

pytestmark = pytest.mark.usefixtures("executor")

ISOLATIONS = ["request", "batch", "instance"]


@pytest.fixture(scope="module")
def echo(executor: str) -> Program:
    return Program.load(guests.echo())


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("name", list(DTYPES))
def test_every_dtype_round_trips(name: str, isolation: str) -> None:
    if name == "BYTES":
        x = np.array([b"", b"a", "ü".encode(), b"\0\xff" * 50], dtype=object)
    else:
        x = np.arange(7).astype(DTYPES[name].numpy)
    # For BYTES the logical shape travels through `strides`, which the guest copies too.
    body = (
        guests.ECHO_BODY
        if name != "BYTES"
        else "(i32.store offset=24 (local.get $out) (i32.load offset=24 (local.get $in)))" + guests.ECHO_BODY
    )
    module = guests.dlpack(body, inputs=[tensor("x", name)], outputs=[tensor("y", name)])
    with Program.load(module, isolation=isolation) as program:
        for _ in range(3):
            result = program.run({"x": x})["y"]
            assert result.dtype == x.dtype
            np.testing.assert_array_equal(result, x)


@settings(deadline=None, max_examples=60)
@given(x=hnp.arrays(np.int64, hnp.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=3)))
def test_every_shape_up_to_rank_8_round_trips(x: np.ndarray) -> None:
    program = Program.load(guests.echo("INT64", (-1,) * x.ndim))
    result = program.run({"x": x})["y"]
    assert result.shape == x.shape
    np.testing.assert_array_equal(result, x)


def test_bytes_keep_their_logical_shape(echo: Program) -> None:
    body = "(i32.store offset=24 (local.get $out) (i32.load offset=24 (local.get $in)))" + guests.ECHO_BODY
    module = guests.dlpack(body, inputs=[tensor("x", "BYTES", (-1, -1))], outputs=[tensor("y", "BYTES", (-1, -1))])
    x = np.array([[b"a", b"b", b"c"], [b"dd", b"", b"f"]], dtype=object)
    np.testing.assert_array_equal(Program.load(module).run({"x": x})["y"], x)


def test_results_survive_later_calls(echo: Program) -> None:
    arrays = [np.full(1 << 20, i, np.float32) for i in range(40)]  # 4 MiB each: views, until too many are alive
    results = [echo.run({"x": a})["y"] for a in arrays]
    for a, result in zip(arrays, results):
        np.testing.assert_array_equal(result, a)


def test_more_results_can_be_retained_than_the_pool_has_memories(echo: Program) -> None:
    a = np.ones(1 << 19, np.float32)
    results = [echo.run({"x": a})["y"] for _ in range(150)]
    assert all(r[-1] == 1 for r in results)


def test_an_output_of_known_shape_is_allocated_by_the_host() -> None:
    # writes row sums of x [batch, 3] into y [batch], never touching shape or data pointer
    body = """(local $i i32) (local $x i32) (local $y i32)
      (local.set $x (i32.load (local.get $in))) (local.set $y (i32.load (local.get $out)))
      (local.set $i (i32.wrap_i64 (i64.load (i32.load offset=20 (local.get $in)))))
      (block $done (loop $next (br_if $done (i32.eqz (local.get $i)))
        (f32.store (local.get $y) (f32.add (f32.load (local.get $x)) (f32.add (f32.load offset=4 (local.get $x)) (f32.load offset=8 (local.get $x)))))
        (local.set $x (i32.add (local.get $x) (i32.const 12))) (local.set $y (i32.add (local.get $y) (i32.const 4)))
        (local.set $i (i32.sub (local.get $i) (i32.const 1))) (br $next)))
      (i32.const 0)"""
    module = guests.dlpack(body, inputs=[tensor("x", dims=(3,))], outputs=[tensor("y", dims=())], batch=16)
    x = np.random.default_rng(0).random((5, 3), np.float32)
    program = Program.load(module)
    np.testing.assert_allclose(program.run({"x": x})["y"], x.sum(1), rtol=1e-6)
    with pytest.raises(InputError, match="17 is larger than the maximum of 16"):
        program.run({"x": np.zeros((17, 3), np.float32)})
    with pytest.raises(InputError, match=r"'x' has shape \[3\]; it must be \[3\] after the batch"):
        program.run({"x": np.zeros(3, np.float32)})


def test_an_absent_optional_input_has_no_data_and_rank_minus_one() -> None:
    body = """(i32.store (i32.load (local.get $out)) (i32.load offset=52 (local.get $in)))
      (i32.store offset=4 (i32.load (local.get $out)) (i32.load offset=40 (local.get $in))) (i32.const 0)"""
    module = guests.dlpack(body, inputs=[tensor("x"), tensor("o", optional=True)], outputs=[tensor("y", "INT32", (2,))])
    program = Program.load(module)
    assert program.run({"x": np.zeros(1, np.float32)})["y"].tolist() == [-1, 0]
    given_ = program.run({"x": np.zeros(1, np.float32), "o": np.zeros(1, np.float32)})["y"]
    assert given_[0] == 1 and given_[1] % 64 == 0 and given_[1] > 0


def test_data_is_aligned_to_64_bytes() -> None:
    body = "(i32.store (i32.load (local.get $out)) (i32.load (local.get $in))) (i32.const 0)"
    module = guests.dlpack(
        body, inputs=[tensor("x", "UINT8"), tensor("z", "UINT8")], outputs=[tensor("y", "INT32", (1,))]
    )
    for size in (1, 63, 65):
        x = np.zeros(size, np.uint8)
        assert Program.load(module).run({"x": x, "z": x})["y"][0] % 64 == 0


def test_a_status_has_the_guests_message() -> None:
    more = '(data (i32.const 512) "rank must be 2\\00") (func (export "portalis_error") (result i32) (i32.const 512))'
    program = Program.load(guests.dlpack("(i32.const 3)", inputs=[tensor("x")], outputs=[tensor("y")], more=more))
    with pytest.raises(GuestStatus, match="portalis_infer': the guest returned status 3: rank must be 2"):
        program.run({"x": np.zeros(1, np.float32)})


def test_a_status_with_a_message_outside_memory_is_still_reported() -> None:
    more = '(func (export "portalis_error") (result i32) (i32.const -16))'
    program = Program.load(guests.dlpack("(i32.const -1)", inputs=[tensor("x")], outputs=[tensor("y")], more=more))
    with pytest.raises(GuestStatus, match="returned status -1"):
        program.run({"x": np.zeros(1, np.float32)})


LIES = {
    "nothing set": ("", "was not set by the guest"),
    "data outside": ("(i32.store (local.get $out) (i32.const 0x7ffffff0))", "outside the guest's memory"),
    "offset outside": (
        "(i64.store offset=32 (local.get $out) (i64.const 0x7fffffffffffffff))",
        "outside the guest's memory",
    ),
    "shape outside": ("(i32.store offset=20 (local.get $out) (i32.const -8))", "shape at"),
    "absurd rank": ("(i32.store offset=12 (local.get $out) (i32.const 1000000))", "rank 1000000"),
    "negative rank": ("(i32.store offset=12 (local.get $out) (i32.const -5))", "was not set"),
    "wrong rank": ("(i32.store offset=12 (local.get $out) (i32.const 0))", "has shape"),
    "wrong dtype": ("(i32.store8 offset=17 (local.get $out) (i32.const 64))", "64 bits"),
    "wrong device": ("(i32.store offset=4 (local.get $out) (i32.const 2))", "device type 2"),
    "huge shape": (
        "(i32.store offset=20 (local.get $out) (i32.const 64)) (i64.store (i32.const 64) (i64.const 0x4000000000000000))",
        "outside",
    ),
    "negative size": (
        "(i32.store offset=20 (local.get $out) (i32.const 64)) (i64.store (i32.const 64) (i64.const -1))",
        "negative size",
    ),
    "strides outside": ("(i32.store offset=24 (local.get $out) (i32.const -4))", "strides at"),
    "strided": (
        "(i64.store (i32.const 64) (i64.const 2)) (i32.store offset=24 (local.get $out) (i32.const 64))",
        "row-major",
    ),
}


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("lie", LIES)
def test_an_invalid_output_is_an_error_of_its_call(lie: str, isolation: str) -> None:
    code, message = LIES[lie]
    honest = guests.ECHO_BODY.replace("(i32.const 0)", "") if lie != "nothing set" else ""
    # x[0] decides: 0 is honest
    body = f"""{guests.ECHO_BODY.replace("(i32.const 0)", "")}
      (if (f32.ne (f32.load (i32.load (local.get $in))) (f32.const 0)) (then
        {"(i32.store offset=12 (local.get $out) (i32.const -1))" if not honest else ""} {code}))
      (i32.const 0)"""
    program = Program.load(guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y")]), isolation=isolation)
    with pytest.raises(AbiViolation, match=message):
        program.run({"x": np.ones(4, np.float32)})
    np.testing.assert_array_equal(program.run({"x": np.zeros(4, np.float32)})["y"], np.zeros(4, np.float32))


def test_row_major_strides_are_accepted_with_any_stride_of_single_rows() -> None:
    body = guests.ECHO_BODY.replace(
        "(i32.const 0)",
        "(i64.store (i32.const 64) (i64.const 99)) (i64.store (i32.const 72) (i64.const 1))"
        "(i32.store offset=24 (local.get $out) (i32.const 64)) (i32.const 0)",
    )
    program = Program.load(
        guests.dlpack(body, inputs=[tensor("x", dims=(-1, -1))], outputs=[tensor("y", dims=(-1, -1))])
    )
    x = np.arange(5, dtype=np.float32).reshape(1, 5)
    np.testing.assert_array_equal(program.run({"x": x})["y"], x)


def test_a_byte_offset_and_an_unaligned_pointer_are_honoured() -> None:
    body = """(i32.store (local.get $out) (i32.const 64)) (i64.store offset=32 (local.get $out) (i64.const 1))
      (i32.store offset=12 (local.get $out) (i32.const 1)) (i32.store offset=20 (local.get $out) (i32.load offset=20 (local.get $in)))
      (f32.store (i32.const 65) (f32.const 7)) (i32.const 0)"""
    program = Program.load(guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y")]))
    assert program.run({"x": np.zeros(1, np.float32)})["y"].tolist() == [7]


BAD_BYTES = {
    "length past the end": ("(i32.store (i32.const 64) (i32.const 100))", 8, "serialized BYTES"),
    "too short for a length": ("(i32.store (i32.const 64) (i32.const 0))", 6, "serialized BYTES"),
}


@pytest.mark.parametrize("case", BAD_BYTES)
def test_invalid_bytes_are_rejected(case: str) -> None:
    code, size, message = BAD_BYTES[case]
    body = f"""{code} (i32.store (local.get $out) (i32.const 64)) (i32.store offset=12 (local.get $out) (i32.const 1))
      (i32.store offset=20 (local.get $out) (i32.const 80)) (i64.store (i32.const 80) (i64.const {size})) (i32.const 0)"""
    program = Program.load(guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y", "BYTES")]))
    with pytest.raises(AbiViolation, match=message):
        program.run({"x": np.zeros(1, np.float32)})


@pytest.mark.parametrize(("logical", "message"), [((1, 2), "has 1 elements, but its shape is"), ((9, 1), "rank 9")])
def test_an_invalid_logical_shape_is_rejected(logical: tuple[int, int], message: str) -> None:
    body = f"""(i32.store (local.get $out) (i32.const 64)) (i32.store offset=12 (local.get $out) (i32.const 1))
      (i32.store (i32.const 64) (i32.const 0)) (i32.store offset=20 (local.get $out) (i32.const 80))
      (i64.store (i32.const 80) (i64.const 4)) (i64.store (i32.const 88) (i64.const {logical[0]}))
      (i64.store (i32.const 96) (i64.const {logical[1]})) (i32.store offset=24 (local.get $out) (i32.const 88)) (i32.const 0)"""
    program = Program.load(guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y", "BYTES")]))
    with pytest.raises(AbiViolation, match=message):
        program.run({"x": np.zeros(1, np.float32)})


def test_bytes_of_rank_two_are_rejected() -> None:
    body = "(i32.store offset=12 (local.get $out) (i32.const 2)) (i32.store offset=20 (local.get $out) (i32.const 64)) (i32.const 0)"
    program = Program.load(guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y", "BYTES")]))
    with pytest.raises(AbiViolation, match="vector of bytes"):
        program.run({"x": np.zeros(1, np.float32)})


def test_the_logical_shape_of_bytes_defaults_to_the_interface() -> None:
    # two empty elements
    body = """(i32.store (local.get $out) (i32.const 64)) (i32.store offset=12 (local.get $out) (i32.const 1))
      (i32.store offset=20 (local.get $out) (i32.const 80)) (i64.store (i32.const 80) (i64.const 8)) (i32.const 0)"""
    for dims, batch, shape in (((-1,), 0, (2,)), ((1,), 4, (2, 1)), ((-1,), 4, (2, 1)), ((2,), 0, (2,))):
        program = Program.load(
            guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y", "BYTES", dims)], batch=batch)
        )
        x = np.zeros((2, 1) if batch else 1, np.float32)
        assert program.run({"x": x})["y"].shape == shape


def test_tensors_over_the_memory_limit_are_rejected_by_name(echo: Program) -> None:
    program = Program.load(guests.echo(), limits=Limits(max_memory_bytes=1 << 20))
    with pytest.raises(MemoryLimit, match=r"may grow to 1048576 \(raise Limits.max_memory_bytes"):
        program.run({"x": np.zeros(1 << 20, np.float32)})
    assert program.run({"x": np.ones(4, np.float32)})["y"].sum() == 4


def test_an_allocator_that_returns_a_pointer_outside_memory_is_caught() -> None:
    text = guests.PRELUDE.replace("(local.get $p))", "(i32.const 0x7fff0000))")
    module = guests.wasm(
        f'(module {text} (func (export "portalis_infer") (param i32 i32 i32 i32) (result i32) (i32.const 0)))',
        {
            "entry": "portalis_infer",
            "convention": "dlpack",
            "inputs": [tensor("x")],
            "outputs": [tensor("y", dims=(1,))],
        },
    )
    with pytest.raises(AbiViolation, match="portalis_alloc returned 0x7fff0000"):
        Program.load(module).run({"x": np.zeros(4, np.float32)})


def test_a_kept_instance_keeps_its_state_until_it_fails() -> None:
    body = """(if (f32.ne (f32.load (i32.load (local.get $in))) (f32.const 0)) (then unreachable))
      (global.set $n (i32.add (global.get $n) (i32.const 1)))
      (i32.store (i32.load (local.get $out)) (global.get $n)) (i32.const 0)"""
    module = guests.dlpack(
        body, inputs=[tensor("x")], outputs=[tensor("y", "INT32", (1,))], more="(global $n (mut i32) (i32.const 0))"
    )
    kept = Program.load(module, isolation="instance")
    zero, one = {"x": np.zeros(1, np.float32)}, {"x": np.ones(1, np.float32)}
    assert [kept.run(zero)["y"][0] for _ in range(3)] == [1, 2, 3]
    with pytest.raises(Trap, match="unreachable"):
        kept.run(one)
    assert kept.run(zero)["y"][0] == 1
    fresh = Program.load(module)
    assert [fresh.run(zero)["y"][0] for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("reset", [True, False])
def test_the_memory_of_a_kept_instance_stays_constant(reset: bool) -> None:
    module = guests.echo()
    if not reset:
        module = guests.dlpack(guests.ECHO_BODY, inputs=[tensor("x")], outputs=[tensor("y")]).replace(
            b"portalis_reset", b"portalis_rezet"
        )
    program = Program.load(module, isolation="instance")
    for i in range(3000):
        program.run({"x": np.full(1000 + i % 50, i, np.float32)})
    assert program.stats.instances == 1
    assert program.stats.memory_high_water_bytes <= 4 * 65536


def test_threads_split_the_batch_and_join_the_results() -> None:
    with Program.load(guests.echo(batch=64), threads=2) as program:
        x = np.random.default_rng(0).random((33, 50), np.float32)
        np.testing.assert_array_equal(program.run({"x": x})["y"], x)
        assert program.stats.calls == 1
        assert 1 <= program.stats.instances <= 2  # the second part may find the first one's instance free


def test_parts_whose_shapes_differ_cannot_be_joined() -> None:
    # the output's second size is the first element of the part
    body = """(i64.store (i32.const 64) (i64.load (i32.load offset=20 (local.get $in))))
      (i64.store (i32.const 72) (i64.trunc_f32_s (f32.load (i32.load (local.get $in)))))
      (i32.store (local.get $out) (i32.const 256)) (i32.store offset=12 (local.get $out) (i32.const 2))
      (i32.store offset=20 (local.get $out) (i32.const 64)) (i32.const 0)"""
    module = guests.dlpack(body, inputs=[tensor("x", dims=(1,))], outputs=[tensor("y", "UINT8")], batch=8)
    with Program.load(module, threads=2) as program:
        assert program.run({"x": np.array([[3], [3]], np.float32)})["y"].shape == (2, 3)
        with pytest.raises(AbiViolation, match="set wasm.threads to 1"):
            program.run({"x": np.array([[3], [4]], np.float32)})
