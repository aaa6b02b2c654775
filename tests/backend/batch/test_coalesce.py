"""Coalescing: the requests of one guest call, joining of their tensors, and splitting of the outputs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from portalis.backend.batch.coalesce import (
    BatchItem,
    Group,
    group_items,
    item_pieces,
    join_pieces,
    single_pieces,
    split_outputs,
)

F32 = np.float32


def job(index: int, *shapes: tuple[int, ...] | None, timeout_s: float = 1.0) -> BatchItem:
    return BatchItem(index, [None if s is None else np.full(s, index, F32) for s in shapes], timeout_s)


def indices(groups: list[Group]) -> list[list[int]]:
    return [[j.index for j in g] for g in groups]


def test_requests_are_grouped_by_trailing_shape_time_limit_and_optional_inputs() -> None:
    jobs = [
        job(0, (1, 3), None),
        job(1, (2, 4), None),
        job(2, (2, 3), None),
        job(3, (1, 3), (1, 3)),
        job(4, (1, 3), None, timeout_s=2.0),
        job(5, (1, 4), None),
    ]
    groups = group_items(jobs, 100, None)
    assert indices(groups) == [[0, 2], [1, 5], [3], [4]]
    assert [sum(j.rows for j in g) for g in groups] == [3, 3, 1, 1]
    assert [{j.timeout_s for j in g} for g in groups] == [{1.0}, {1.0}, {1.0}, {2.0}]


def test_a_request_without_a_batch_dimension_runs_alone() -> None:
    groups = [[job(i, (3,))] for i in range(2)]
    assert [split_outputs([j.arrays[0]], g) for g in groups for j in g] == [  # type: ignore[list-item]
        [[j.arrays[0]]] for g in groups for j in g
    ]


def test_arrays_with_different_rows_or_none_are_not_joined_and_rejected_by_the_adapter() -> None:
    jobs = [job(0, (2, 3), (2, 1)), job(1, (2, 3), (3, 1)), job(2, (), (2, 1)), job(3, (), ()), job(4, (2, 3), (2, 1))]
    assert indices(group_items(jobs, 100, None)) == [[0, 4], [1], [2], [3]]


def test_without_any_input_each_request_is_one_row() -> None:
    (only,) = group_items([job(i, None) for i in range(3)], 100, None)
    assert [j.rows for j in only] == [1, 1, 1]


def test_a_full_group_is_followed_by_a_new_one() -> None:
    jobs = [job(i, (size, 2)) for i, size in enumerate([3, 2, 1, 4, 9, 1])]
    assert indices(group_items(jobs, 5, None)) == [[0, 1], [2, 3], [4], [5]]


def test_broadcasting_inputs_are_joined_if_all_have_the_same_rows() -> None:
    jobs = [
        job(0, (2, 3), (2, 1)),
        job(1, (2, 3), (1, 1)),
        job(2, (4, 3), (4, 1)),
        job(3, (2, 3), ()),
        job(4, (), ()),
        job(5, None, None),
    ]
    assert indices(group_items(jobs, 100, (0, 0))) == [[0, 2], [1], [3], [4], [5]]
    assert [j.rows for j in jobs] == [2, 0, 4, 0, 0, 0]


def test_a_group_joins_its_requests_in_order_and_keeps_absent_inputs_absent() -> None:
    jobs = [job(1, (2, 3), None), job(2, (1, 3), None)]
    x, absent = join_pieces(item_pieces(jobs))
    assert x is not None and x.tolist() == [[1, 1, 1], [1, 1, 1], [2, 2, 2]] and absent is None
    piece = jobs[0].arrays[0]
    assert piece is not None
    assert item_pieces(jobs[:1]) == single_pieces(jobs[0].arrays) == [[piece], None]
    assert join_pieces(item_pieces(jobs[:1]))[0] is piece  # one piece is not copied


@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=8), most=st.integers(1, 8))
def test_grouping_loses_no_row_and_splitting_gives_each_request_its_own(sizes: list[int], most: int) -> None:
    jobs = [job(i, (size, 2)) for i, size in enumerate(sizes)]
    seen: dict[int, np.ndarray] = {}
    for found in group_items(jobs, most, None):
        rows = sum(j.rows for j in found)
        assert rows <= most or len([j for j in found if j.rows]) == 1
        (x,) = join_pieces(item_pieces(found))
        assert x is not None and len(x) == rows
        for j, outputs in zip(found, split_outputs([x, x[:, 0]], found)):
            assert outputs[1].shape == (sizes[j.index],)
            seen[j.index] = outputs[0]
    assert sorted(seen) == list(range(len(sizes)))
    for i, size in enumerate(sizes):
        np.testing.assert_array_equal(seen[i], np.full((size, 2), i, F32))


def test_cut_outputs_are_views() -> None:
    x = np.arange(6)
    found = split_outputs([x], [BatchItem(i, [], 1.0, rows) for i, rows in enumerate((1, 0, 5))])
    assert [p[0].tolist() for p in found] == [[0], [], [1, 2, 3, 4, 5]]
    assert found[2][0].base is x
    outputs = [x]
    assert split_outputs(outputs, [job(0, (6,))]) == [outputs]
