"""The shapes of a request: those that fit reach the guest, all others are an error of the request that says what fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portalis.backend import InputError, Program
from tests.backend import guests
from tests.backend.guests import tensor

pytestmark = pytest.mark.usefixtures("executor")
F32 = np.float32
SAME = '(module (func (export "f") (param f32) (result f32) (local.get 0)))'


def echo(convention: str, dims: tuple[int, ...], batch: int) -> Program:
    """A program whose output is its input x, of an interface with these dims."""
    if convention == "dlpack":
        return Program.load(guests.echo(dims=dims, batch=batch), isolation="instance")
    entry: dict[str, Any] = {"entry": "f", "convention": convention, "inputs": [tensor("x", dims=dims)]}
    entry |= {"outputs": [tensor("y", dims=dims)], "max_batch_size": batch}
    if convention == "elementwise":
        return Program.load(guests.wasm(SAME, entry), isolation="instance")
    entry |= {"entry": "double", "signature": "(n)->(n)"}
    return Program.load(guests.wasm(guests.DOUBLE, entry), isolation="instance")


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, F32)


@pytest.mark.parametrize(
    ("convention", "dims", "batch", "shape"),
    [
        ("dlpack", (-1, 3), 0, (5, 3)),
        ("dlpack", (-1, 3), 4, (2, 5, 3)),
        ("dlpack", (), 4, (4,)),
        ("dlpack", (-1,), 4, (0, 2)),
        ("dlpack", (), 0, ()),
        ("dlpack", (-1,) * 8, 0, (1,) * 8),
        ("elementwise", (-1,), 8, ()),
        ("elementwise", (3,), 8, ()),
        ("elementwise", (3,), 8, (7, 2, 3)),
        ("elementwise", (-1, 3), 8, (7, 3)),
        ("elementwise", (-1,), 8, (1,) * 8),
        ("gufunc", (3,), 8, (9, 9)),
        ("gufunc", (-1,), 8, (1,) * 8),
    ],
)
def test_a_valid_shape_is_passed_to_the_guest_and_returned(
    convention: str, dims: tuple[int, ...], batch: int, shape: tuple[int, ...]
) -> None:
    with echo(convention, dims, batch) as program:
        assert program.run({"x": zeros(*shape)})["y"].shape == shape
        (result,) = program.run_batch([{"x": zeros(*shape)}], borrow=True)
        assert isinstance(result, dict) and result["y"].shape == shape


@pytest.mark.parametrize(
    ("convention", "dims", "batch", "shape", "good", "message"),
    [
        ("dlpack", (-1, 3), 0, (5, 4), (5, 3), "shape [5, 4]; it must be [-1, 3]"),
        ("dlpack", (-1, 3), 4, (5, 3), (1, 5, 3), "shape [5, 3]; it must be [-1, 3] after the batch dimension"),
        ("dlpack", (), 4, (), (2,), "shape []; it must be [] after the batch dimension"),
        ("dlpack", (-1, 3), 0, (5, 3, 1), (5, 3), "shape [5, 3, 1]; it must be [-1, 3]"),
        ("dlpack", (-1,), 0, (1,) * 9, (1,), "rank 9; at most 8 is allowed"),
        ("dlpack", (-1,), 0, (1,) * 30, (1,), "rank 30; at most 8 is allowed"),
        ("elementwise", (3,), 8, (3, 2), (3,), "shape [3, 2]; it must be [3]"),
        ("elementwise", (2, 3), 8, (3,), (2, 3), "shape [3]; it must be [2, 3]"),
        ("elementwise", (-1,), 8, (1,) * 9, (1,), "rank 9; at most 8 is allowed"),
        ("gufunc", (-1,), 8, (1,) * 9, (1,), "rank 9; at most 8 is allowed"),
    ],
)
def test_an_invalid_shape_is_reported_with_the_expected_shape(
    convention: str,
    dims: tuple[int, ...],
    batch: int,
    shape: tuple[int, ...],
    good: tuple[int, ...],
    message: str,
) -> None:
    with echo(convention, dims, batch) as program:
        program.run({"x": zeros(*good)})
        with pytest.raises(InputError) as caught:
            program.run({"x": zeros(*shape)})
        assert str(caught.value) == f"input 'x' has {message}"
        before, bad, after = program.run_batch([{"x": zeros(*good)}, {"x": zeros(*shape)}, {"x": zeros(*good)}])
        assert isinstance(bad, InputError) and str(bad) == f"input 'x' has {message}"
        assert isinstance(before, dict) and isinstance(after, dict)
        assert program.stats.instances == 1  # it serves on: the guest was not called


def sums(batch: int, optional: str = "") -> Program:
    """A guest whose y[0] is the number of inputs; of a, o and b those named in `optional` can be absent."""
    body = """(local $i i32)
      (loop $next
        (if (i32.ge_s (i32.load offset=12 (i32.add (local.get $in) (i32.mul (local.get $i) (i32.const 40)))) (i32.const 0))
          (then (f32.store (i32.load (local.get $out)) (f32.add (f32.load (i32.load (local.get $out))) (f32.const 1)))))
        (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $nin))))
      (i32.const 0)"""
    inputs = [tensor(name, optional=name in optional) for name in ("a", "o", "b")]
    return Program.load(guests.dlpack(body, inputs=inputs, outputs=[tensor("y", dims=(1,))], batch=batch))


def test_all_inputs_have_the_same_rows_and_no_more_than_the_maximum() -> None:
    with sums(4, "o") as program:
        for a, b, message in (
            (
                5,
                2,
                "the inputs have different batch sizes: 'a' 5, 'b' 2; the batch of 5 is larger than the maximum of 4",
            ),
            (2, 1, "the inputs have different batch sizes: 'a' 2, 'b' 1"),
            (5, 5, "the batch of 5 is larger than the maximum of 4"),
        ):
            with pytest.raises(InputError) as caught:
                program.run({"a": zeros(a, 1), "b": zeros(b, 1)})
            assert str(caught.value) == message
        with pytest.raises(InputError, match=r"^the inputs have different batch sizes: 'a' 1, 'o' 3, 'b' 1$"):
            program.run({"a": zeros(1, 1), "o": zeros(3, 7), "b": zeros(1, 2)})
        assert program.run({"a": zeros(2, 1), "b": zeros(2, 1)})["y"].shape == (2, 1)


def test_every_problem_of_the_shapes_is_reported_together() -> None:
    with sums(4) as program, pytest.raises(InputError) as caught:
        program.run({"a": zeros(2), "o": zeros(2, 1), "b": zeros(*(1,) * 9)})
    assert str(caught.value) == (
        "input 'a' has shape [2]; it must be [-1] after the batch dimension; input 'b' has rank 9; at most 8 is allowed"
    )


def test_an_absent_optional_input_is_absent_for_the_guest_and_without_any_there_is_one_row() -> None:
    with sums(4, "aob") as program:
        for inputs, count in (({}, 0), ({"a": zeros(1, 3)}, 1), ({"b": zeros(1, 3), "o": None}, 1)):
            assert program.run(inputs)["y"].tolist() == [[count]]
        assert program.run({"a": zeros(1, 3), "o": zeros(1, 1), "b": zeros(1, 2)})["y"].tolist() == [[3]]


@pytest.mark.parametrize("from_command", [False, True])
def test_a_command_checks_the_shapes_of_its_rows(from_command: bool, tmp_path: Any) -> None:
    """It has no adapter: what runs it may be another runtime."""
    module = guests.wasm(guests.CAT)
    if from_command:
        (tmp_path / "cat.wasm").write_bytes(module)
        program = Program.from_command(tmp_path / "cat.wasm", lambda stdin, args, limit_s: (stdin, b"", len(args)))
    else:
        program = Program.load(module)
    rows = np.array([[b"a"], [b"b"]], object)
    most = program.interface.max_batch_size
    bad: list[tuple[dict[str, Any], str]] = [
        (
            {"stdin": np.array([[b"a", b"b"]] * 3, object)},
            "input 'stdin' has shape [3, 2]; it must be [1] after the batch dimension",
        ),
        ({"stdin": np.array([b"a"], object)}, "input 'stdin' has shape [1]; it must be [1] after the batch dimension"),
        ({"stdin": np.array([[b"a"] * 1] * (most + 1), object)}, f"larger than the maximum of {most}"),
        (
            {"stdin": rows, "args": np.array([[b"x"]], object)},
            "the inputs have different batch sizes: 'stdin' 2, 'args' 1",
        ),
        ({"stdin": rows, "args": np.array(b"x", object)}, "input 'args' has shape []; it must be [-1] after the batch"),
        ({"stdin": rows.reshape(2, *(1,) * 8)}, "input 'stdin' has rank 9; at most 8 is allowed"),
    ]
    with program:
        for inputs, message in bad:
            with pytest.raises(InputError) as caught:
                program.run(inputs)
            assert message in str(caught.value)
        good: list[dict[str, Any]] = [{"stdin": rows, "args": np.array([[b"1"], [b"2"]], object)}, {"stdin": rows}]
        results = program.run_batch([good[0], *(inputs for inputs, _ in bad), good[1]])
        for (_, message), result in zip(bad, results[1:-1]):
            assert isinstance(result, InputError) and message in str(result)
        assert [r["exit_code"].tolist() for r in (results[0], results[-1]) if isinstance(r, dict)] == [
            [[1], [1]],
            [[0], [0]],
        ]
