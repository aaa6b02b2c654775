"""What happens to requests before a guest sees them: checks, groups, threads, and the forms of their elements."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from portalis.backend import InputError, Interface, InterfaceError
from portalis.backend.batch.bytes_tensor import deserialize, object_array, serialize
from portalis.backend.batch.coalesce import Group, Job, alone, cut, group, joined, split
from portalis.backend.batch.validation import Checker
from portalis.backend.executor.parallel import Workers, spans
from portalis.backend.interface.dtypes import BF16, BYTES, DTYPES, bf16_to_f32, f32_to_bf16, parse_dtype
from tests.backend.guests import tensor
from tests.running.waiting import PATIENCE_S

F32 = np.float32


def checker(convention: str, *inputs: dict[str, object], batch: int = 0) -> Checker:
    declared = {"entry": "f", "convention": convention, "signature": "(n)->(n)", "max_batch_size": batch}
    return Checker(
        Interface.from_json({**declared, "inputs": list(inputs), "outputs": [tensor("y")]}, where="the test")
    )


def refused(rules: Checker, inputs: dict[str, object]) -> str:
    with pytest.raises(InputError) as caught:
        rules.check(inputs)
    return str(caught.value)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, F32)


# -- the checks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("convention", "dims", "batch", "shape", "rows"),
    [
        ("dlpack", (-1, 3), 0, (5, 3), None),
        ("dlpack", (-1, 3), 4, (2, 5, 3), 2),
        ("dlpack", (), 4, (4,), 4),
        ("dlpack", (-1,), 4, (0, 2), 0),
        ("dlpack", (), 0, (), None),
        ("command", (1,), 8, (3, 1), 3),
        ("elementwise", (-1,), 8, (), None),
        ("elementwise", (3,), 8, (), None),
        ("elementwise", (3,), 8, (7, 2, 3), None),
        ("elementwise", (-1, 3), 8, (7, 3), None),
        ("gufunc", (3,), 8, (9, 9), None),
    ],
)
def test_a_shape_that_fits_passes_with_its_rows(
    convention: str, dims: tuple[int, ...], batch: int, shape: tuple[int, ...], rows: int | None
) -> None:
    x = zeros(*shape)
    arrays, counted = checker(convention, tensor("x", dims=dims), batch=batch).check({"x": x})
    assert arrays[0] is x and counted == rows


@pytest.mark.parametrize(
    ("convention", "dims", "batch", "shape", "told"),
    [
        ("dlpack", (-1, 3), 0, (5, 4), "shape [5, 4]; it must be [-1, 3]"),
        ("dlpack", (-1, 3), 4, (5, 3), "shape [5, 3]; it must be [-1, 3] after the batch dimension"),
        ("dlpack", (), 4, (), "shape []; it must be [] after the batch dimension"),
        ("command", (1,), 8, (3, 2), "shape [3, 2]; it must be [1] after the batch dimension"),
        ("elementwise", (3,), 8, (3, 2), "shape [3, 2]; it must be [3]"),
        ("elementwise", (2, 3), 8, (3,), "shape [3]; it must be [2, 3]"),
        ("gufunc", (-1,), 8, (1,) * 9, "rank 9; at most 8 is allowed"),
        ("dlpack", (-1,), 0, (1,) * 9, "rank 9; at most 8 is allowed"),
    ],
)
def test_a_shape_that_does_not_fit_is_told_with_the_right_one(
    convention: str, dims: tuple[int, ...], batch: int, shape: tuple[int, ...], told: str
) -> None:
    rules = checker(convention, tensor("x", dims=dims), batch=batch)
    assert refused(rules, {"x": zeros(*shape)}) == f"input 'x' has {told}"


def test_numbers_and_lists_become_arrays_of_the_declared_dtype() -> None:
    arrays, _ = checker("elementwise", tensor("a", "INT8"), tensor("b", "FP16")).check({"a": [1, 2], "b": 0.5})
    assert [(a.dtype, a.tolist()) for a in arrays if a is not None] == [(np.int8, [1, 2]), (np.float16, 0.5)]


def test_the_core_dimensions_of_a_gufunc_are_left_to_its_signature() -> None:
    arrays, rows = checker("gufunc", tensor("x", dims=(3,)), batch=2).check({"x": [[1, 2], [3, 4]]})
    assert [a.tolist() for a in arrays if a is not None] == [[[1, 2], [3, 4]]] and rows is None


def test_bytes_may_come_as_objects_or_as_text_of_fixed_width() -> None:
    rules = checker("dlpack", tensor("x", "BYTES"))
    for x in (np.array([b"a", b"bc"]), np.array(["a", "ü"]), np.array([b"a", "b"], dtype=object)):
        assert rules.check({"x": x})[0][0] is x
    assert refused(rules, {"x": np.zeros(2, np.int64)}) == "input 'x' has dtype int64, not object (BYTES)"


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("FP32", np.zeros(2), "has dtype float64, not float32 (FP32)"),
        ("BF16", zeros(2), "has dtype float32, not uint16 (BF16) (BF16 tensors are raw bits in a uint16 array)"),
        ("BOOL", np.zeros(2, np.uint8), "has dtype uint8, not bool (BOOL)"),
        ("FP32", "1,5", "cannot be read as FP32: could not convert string to float: '1,5'"),
        ("FP64", [None, {}], "cannot be read as FP64: float() argument must be a string or a real number, not 'dict'"),
        ("INT64", 1 << 64, "cannot be read as INT64: Python int too large to convert to C long"),
    ],
)
def test_a_value_of_another_type_is_told_with_the_right_one(kind: str, value: object, told: str) -> None:
    assert refused(checker("dlpack", tensor("x", kind)), {"x": value}) == f"input 'x' {told}"


def test_missing_and_unknown_inputs_are_told_with_the_known_ones() -> None:
    rules = checker("dlpack", tensor("b"), tensor("a"), tensor("o", optional=True))
    assert refused(rules, {"z": 1.0, "a": None, "c": None}) == (
        "input 'b' is missing; input 'a' is missing; there is no input 'c' (the inputs are 'a', 'b', 'o');"
        " there is no input 'z' (the inputs are 'a', 'b', 'o')"
    )


def test_one_input_too_many_is_told() -> None:
    assert refused(checker("dlpack", tensor("x")), {"x": zeros(1), "z": 1.0}) == (
        "there is no input 'z' (the inputs are 'x')"
    )


def test_an_absent_optional_input_is_none_in_its_place() -> None:
    rules = checker("dlpack", tensor("o", optional=True), tensor("x"), batch=4)
    x = zeros(2, 1)
    for inputs in ({"x": x}, {"x": x, "o": None}):
        assert rules.check(inputs) == ([None, x], 2)
    assert checker("dlpack", tensor("o", optional=True), batch=4).check({}) == ([None], 1)


def test_all_inputs_have_the_same_rows_and_no_more_than_the_maximum() -> None:
    rules = checker("dlpack", tensor("a"), tensor("o", optional=True), tensor("b"), batch=4)
    assert refused(rules, {"a": zeros(5, 1), "b": zeros(2, 1)}) == (
        "the inputs have different batch sizes: 'a' 5, 'b' 2; the batch of 5 is larger than the maximum of 4"
    )
    assert refused(rules, {"a": zeros(5, 1), "b": zeros(5, 1)}) == "the batch of 5 is larger than the maximum of 4"


# -- groups ------------------------------------------------------------------------------------------------------------


def job(index: int, *shapes: tuple[int, ...] | None, timeout_s: float = 1.0, rows: int | None = None) -> Job:
    arrays = [None if s is None else np.full(s, index, F32) for s in shapes]
    return Job(index, arrays, rows, timeout_s)


def indices(groups: list[Group]) -> list[list[int]]:
    return [[j.index for j in g.jobs] for g in groups]


def test_requests_are_grouped_by_trailing_shape_time_limit_and_optional_inputs() -> None:
    jobs = [
        job(0, (1, 3), None, rows=1),
        job(1, (2, 4), None, rows=2),
        job(2, (2, 3), None, rows=2),
        job(3, (1, 3), (1, 3), rows=1),
        job(4, (1, 3), None, rows=1, timeout_s=2.0),
        job(5, (1, 4), None, rows=1),
    ]
    groups = group(jobs, 100, None)
    assert indices(groups) == [[0, 2], [1, 5], [3], [4]]
    assert [g.rows for g in groups] == [3, 3, 1, 1]
    assert [g.timeout_s for g in groups] == [1.0, 1.0, 1.0, 2.0]


def test_a_request_without_a_batch_dimension_runs_alone() -> None:
    groups = group([job(0, (3,)), job(1, (3,))], 100, None)
    assert indices(groups) == [[0], [1]] and [g.rows for g in groups] == [None, None]


def test_a_group_that_is_full_is_followed_by_another() -> None:
    jobs = [job(i, (size, 2), rows=size) for i, size in enumerate([3, 2, 1, 4, 9, 1])]
    assert indices(group(jobs, 5, None)) == [[0, 1], [2, 3], [4], [5]]


def test_broadcasting_inputs_are_joined_where_all_have_the_same_rows() -> None:
    jobs = [
        job(0, (2, 3), (2, 1)),
        job(1, (2, 3), (1, 1)),
        job(2, (4, 3), (4, 1)),
        job(3, (2, 3), ()),
        job(4, (), ()),
        job(5, None, None),
    ]
    assert indices(group(jobs, 100, (0, 0))) == [[0, 2], [1], [3], [4], [5]]
    assert [j.rows for j in jobs] == [2, None, 4, None, None, None]


def test_a_group_joins_its_pieces_in_order_and_keeps_absent_inputs_absent() -> None:
    jobs = [job(1, (2, 3), None), job(2, (1, 3), None)]
    both = Group(1.0, jobs, 3)
    x, absent = both.joined()
    assert x is not None and x.tolist() == [[1, 1, 1], [1, 1, 1], [2, 2, 2]] and absent is None
    only = alone(jobs[0])
    assert only.joined() is jobs[0].arrays and only.rows is None and only.jobs == [jobs[0]]
    assert Group.of_one(jobs[0].arrays) == [[jobs[0].arrays[0]], None]
    piece = jobs[0].arrays[0]
    assert piece is not None and joined([[piece], None]) == [piece, None]


@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=8), most=st.integers(1, 8))
def test_grouping_loses_no_row_and_splitting_gives_each_request_its_own(sizes: list[int], most: int) -> None:
    jobs = [job(i, (size, 2), rows=size) for i, size in enumerate(sizes)]
    seen: dict[int, np.ndarray] = {}
    for found in group(jobs, most, None):
        assert found.rows == sum(j.rows or 0 for j in found.jobs)
        assert found.rows <= most or len([j for j in found.jobs if j.rows]) == 1
        (x,) = found.joined()
        assert x is not None and len(x) == found.rows
        for j, outputs in zip(found.jobs, split([x, x[:, 0]], found.jobs)):
            assert outputs[1].shape == (sizes[j.index],)
            seen[j.index] = outputs[0]
    assert sorted(seen) == list(range(len(sizes)))
    for i, size in enumerate(sizes):
        np.testing.assert_array_equal(seen[i], np.full((size, 2), i, F32))


def test_cut_outputs_are_views() -> None:
    x = np.arange(6)
    pieces = cut([x], [1, 0, 5])
    assert [p[0].tolist() for p in pieces] == [[0], [], [1, 2, 3, 4, 5]]
    assert pieces[2][0].base is x
    outputs = [x]
    assert split(outputs, [job(0, (6,))]) == [outputs]


# -- threads -----------------------------------------------------------------------------------------------------------


@given(size=st.integers(0, 10_000), parts=st.integers(0, 70), least=st.integers(0, 500))
def test_spans_cover_everything_once_in_nearly_equal_parts(size: int, parts: int, least: int) -> None:
    found = spans(size, parts, least)
    assert [i for start, end in found for i in (start, end)][1:-1:2] == [start for start, _ in found][1:]
    assert (found[0][0], found[-1][1]) == (0, size) and 1 <= len(found) <= max(parts, 1)
    lengths = [end - start for start, end in found]
    assert max(lengths) - min(lengths) <= 1
    assert len(found) == 1 or min(lengths) >= max(least, 1)


def test_spans_use_as_many_parts_as_there_is_work_for() -> None:
    assert spans(10, 4) == [(0, 2), (2, 5), (5, 7), (7, 10)]
    assert spans(10, 4, 4) == [(0, 5), (5, 10)]
    assert spans(3, 4, 4) == [(0, 3)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_workers_keep_the_order_of_their_items(count: int) -> None:
    workers = Workers(count)
    assert workers.count == count
    assert workers.each(lambda x: x * x, list(range(20))) == [x * x for x in range(20)]
    assert workers.each(str, [7]) == ["7"]
    workers.close()


def test_the_items_run_side_by_side_and_the_caller_takes_the_first() -> None:
    workers, barrier = Workers(3), threading.Barrier(3)

    def meet(_: int) -> str:
        barrier.wait(PATIENCE_S)
        return threading.current_thread().name

    names = workers.each(meet, [0, 1, 2])
    workers.close()
    assert names[0] == threading.current_thread().name
    assert len(set(names)) == 3 and all(name.startswith("wasm") for name in names[1:])


@pytest.mark.parametrize("failing", [0, 1])
def test_the_first_error_is_raised_after_every_item_has_ended(failing: int) -> None:
    workers, ended, failed = Workers(2), threading.Event(), threading.Event()

    def work(item: int) -> None:
        if item == failing:
            failed.set()
            raise KeyError(item)
        assert failed.wait(PATIENCE_S)
        ended.set()

    with pytest.raises(KeyError, match=str(failing)):
        workers.each(work, [0, 1])
    assert ended.is_set()
    workers.close()


def test_closing_ends_the_threads() -> None:
    workers, threads = Workers(3), []

    def note(_: int) -> None:
        threads.append(threading.current_thread())

    workers.each(note, [0, 1, 2])
    workers.close()
    workers.close()
    assert not any(thread.is_alive() for thread in threads if thread is not threading.current_thread())


# -- BYTES -------------------------------------------------------------------------------------------------------------


@given(elements=st.lists(st.binary(max_size=20), max_size=12))
def test_bytes_survive_their_serialisation(elements: list[bytes]) -> None:
    data = serialize(elements)
    assert len(data) == 4 * len(elements) + sum(map(len, elements))
    assert deserialize(data) == elements
    array = object_array(elements, (1, len(elements)))
    assert array.dtype == object and array.shape == (1, len(elements)) and list(array[0]) == elements


def test_elements_are_serialised_little_endian_and_text_as_utf8() -> None:
    assert serialize([b"ab", "ü", 7, np.bytes_(b"c")]) == b"\2\0\0\0ab\2\0\0\0\xc3\xbc\1\0\0\x007\1\0\0\0c"
    assert serialize([]) == b"" and deserialize(b"") == []


def test_triton_reads_the_same_bytes() -> None:
    utils = pytest.importorskip("tritonclient.utils")
    elements = [b"", b"a\0", "ü".encode(), b"\xff" * 300]
    assert utils.serialize_byte_tensor(np.array(elements, dtype=object)).item() == serialize(elements)
    assert list(utils.deserialize_bytes_tensor(serialize(elements))) == elements


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\1\0\0", "3 bytes are left at 0, too few for a length"),
        (b"\1\0\0\0a\0", "1 bytes are left at 5, too few for a length"),
        (b"\1\0\0\0a\3\0\0\0bc", "the element at 5 has 3 bytes, but only 2 are left"),
        (b"\xff\xff\xff\xff", "the element at 0 has 4294967295 bytes, but only 0 are left"),
    ],
)
def test_serialised_bytes_that_are_cut_are_told_with_the_place(data: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}$"):
        deserialize(data)


@given(data=st.binary(max_size=60))
def test_what_is_read_at_all_is_read_whole(data: bytes) -> None:
    try:
        elements = deserialize(data)
    except ValueError:
        return
    assert serialize(elements) == data


# -- data types --------------------------------------------------------------------------------------------------------


def test_the_table_agrees_with_numpy_and_dlpack() -> None:
    codes = {"b": 6, "u": 1, "i": 0, "f": 2}
    carriers = {("f", 8): "f64", ("i", 8): "i64", ("u", 8): "i64"}
    for name, dtype in DTYPES.items():
        assert (dtype.name, str(dtype), dtype.bits) == (name, name, dtype.itemsize * 8)
        if dtype in (BF16, BYTES):
            continue
        kind = dtype.numpy.kind
        assert dtype.code == codes[kind] and dtype.itemsize == dtype.numpy.itemsize
        assert dtype.wasm == carriers.get((kind, dtype.itemsize), "f32" if kind == "f" else "i32")
        assert name.rstrip("0123456789") == {"b": "BOOL", "u": "UINT", "i": "INT", "f": "FP"}[kind]
        assert kind == "b" or name.endswith(str(dtype.bits))
    assert (BF16.numpy, BF16.code, BF16.bits, BF16.wasm) == (np.dtype("uint16"), 4, 16, "f32")
    assert (BYTES.numpy, BYTES.code, BYTES.itemsize, BYTES.wasm) == (np.dtype(object), 1, 1, "")


@pytest.mark.parametrize("name", list(DTYPES))
def test_a_dtype_is_found_by_any_of_its_names(name: str) -> None:
    dtype = DTYPES[name]
    assert dtype.triton == ("TYPE_STRING" if name == "BYTES" else f"TYPE_{name}")
    for text in (name, name.lower(), dtype.triton, f"type_{name}"):
        assert parse_dtype(text) is dtype


@pytest.mark.parametrize("text", ["float32", "", "TYPE_", "TYPE_TYPE_FP32", "FP8"])
def test_an_unknown_dtype_is_told_with_the_choices(text: str) -> None:
    with pytest.raises(InterfaceError) as caught:
        parse_dtype(text)
    assert str(caught.value) == f"unknown data type {text!r}: use one of {', '.join(DTYPES)}"


@settings(deadline=None)
@given(values=hnp.arrays(F32, hnp.array_shapes(max_dims=3, min_side=0), elements=st.floats(width=32)))
def test_bfloat16_agrees_with_the_reference_implementation(values: np.ndarray) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    bits = f32_to_bf16(values)
    assert bits.dtype == np.uint16 and bits.shape == values.shape
    known = ~np.isnan(values)
    np.testing.assert_array_equal(bits[known], values.astype(ml_dtypes.bfloat16).view(np.uint16)[known])
    widened = bf16_to_f32(bits)
    assert widened.dtype == F32 and widened.shape == values.shape
    np.testing.assert_array_equal(np.isnan(widened), np.isnan(values))


@given(bits=hnp.arrays(np.uint16, 8))
def test_every_bfloat16_that_is_a_number_comes_back_exactly(bits: np.ndarray) -> None:
    numbers = bits[~np.isnan(bf16_to_f32(bits))]
    np.testing.assert_array_equal(f32_to_bf16(bf16_to_f32(numbers)), numbers)


def test_a_single_float_becomes_a_single_bfloat16() -> None:
    bits = f32_to_bf16(np.array(1.0, F32))
    assert bits.shape == () and bits == 0x3F80


@pytest.mark.parametrize(
    ("bits", "rounded"),
    [
        (0x3F808000, 0x3F80),  # halfway: to even
        (0x3F818000, 0x3F82),
        (0x3F808001, 0x3F81),
        (0x7F7FFFFF, 0x7F80),  # the largest float becomes infinity
        (0x7F800001, 0x7FC0),  # a NaN whose bits lie in the lost half stays one
        (0xFFFFFFFF, 0xFFFF),
        (0x80000000, 0x8000),
    ],
)
def test_rounding_to_bfloat16_is_to_nearest_even(bits: int, rounded: int) -> None:
    array = np.array([bits], np.uint32).view(F32)
    assert f32_to_bf16(array)[0] == rounded
    assert f32_to_bf16(np.asfortranarray(np.stack([array] * 6).reshape(2, 3))).tolist() == [[rounded] * 3] * 2


def test_a_bfloat16_scalar_keeps_its_rank() -> None:
    from portalis.backend.interface.dtypes import bf16_to_f32, f32_to_bf16

    one = bf16_to_f32(np.array(0x3F80, np.uint16))
    assert (one.shape, one.dtype, float(one)) == ((), np.float32, 1.0)
    assert f32_to_bf16(one).tolist() == 0x3F80
