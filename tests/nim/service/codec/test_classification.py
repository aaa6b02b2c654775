"""Classes of outputs: values, indices and labels as Triton formats them, in bounded time and memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.interface import TensorSpec
from portalis.nim.service.codec.classification import MAX_CLASSES, classified
from portalis.nim.service.codec.parsed_request import OutputRequest, ParsedRequest
from portalis.nim.service.request_errors import RequestError


def classes(
    array: np.ndarray,
    count: int,
    kind: str = "FP32",
    *,
    batches: bool = False,
    labels: tuple[bytes, ...] = (),
    max_bytes: int = 1 << 20,
) -> np.ndarray:
    request = ParsedRequest(None, {}, [OutputRequest(TensorSpec("y", DTYPES[kind], (-1,)), classes=count)])
    changed, outputs = classified(
        request, {"y": array}, batches=batches, labels={"y": labels} if labels else {}, max_bytes=max_bytes
    )
    assert changed.outputs[0].spec.dtype.name == "BYTES"
    return outputs["y"]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("FP32", [0.5, 3, 1.25], [b"3.000000:1", b"1.250000:2", b"0.500000:0"]),
        (
            "FP32",
            [1e-9, -0.0, 3.4e38],
            [b"339999995214436424907732413799364296704.000000:2", b"0.000000:0", b"-0.000000:1"],
        ),
        ("FP32", [np.nan, np.inf, -np.inf, 1], [b"inf:1", b"1.000000:3", b"-inf:2", b"nan:0"]),
        ("FP64", [-np.nan, np.nan], [b"-nan:0", b"nan:1"]),
        ("FP64", [0.1, 1e20], [b"100000000000000000000.000000:1", b"0.100000:0"]),
        ("INT8", [-128, 127, -1], [b"127:1", b"-1:2", b"-128:0"]),
        ("UINT8", [0, 255, 128], [b"255:1", b"128:2", b"0:0"]),
        ("INT64", [-(2**63), 2**63 - 1, 0], [b"9223372036854775807:1", b"0:2", b"-9223372036854775808:0"]),
        ("UINT64", [0, 2**64 - 1, 2**63], [b"18446744073709551615:1", b"9223372036854775808:2", b"0:0"]),
        ("UINT16", [7, 7, 8, 7], [b"8:2", b"7:0", b"7:1", b"7:3"]),
    ],
)
def test_values_are_formatted_by_data_type_in_descending_order(
    kind: str, values: list[Any], expected: list[bytes]
) -> None:
    array = np.array(values, DTYPES[kind].numpy)
    assert classes(array, len(values), kind).tolist() == expected
    assert classes(array, 2, kind).tolist() == expected[:2]


@pytest.mark.parametrize("count", [5, 2**31, 2**32, 2**63, 2**64 - 1])
def test_more_classes_than_elements_are_all_elements(count: int) -> None:
    assert classes(np.arange(4, dtype=np.float32), count).shape == (4,)


def test_each_row_of_a_batch_has_its_own_classes() -> None:
    array = np.array([[[1, 2], [4, 3]], [[8, 7], [6, 5]]], np.int32)
    assert classes(array, 2, "INT32", batches=True).tolist() == [[b"4:2", b"3:3"], [b"8:0", b"7:1"]]
    assert classes(array, 2, "INT32").tolist() == [b"8:4", b"7:5"]


@pytest.mark.parametrize(
    ("shape", "batches", "expected"),
    [((), True, (1,)), ((0, 3), True, (0,)), ((3, 0), True, (3, 0)), ((0,), False, (0,))],
)
def test_scalars_and_empty_outputs_have_classes(
    shape: tuple[int, ...], batches: bool, expected: tuple[int, ...]
) -> None:
    assert classes(np.zeros(shape, np.float32), 3, batches=batches).shape == expected


def test_labels_follow_the_index_if_the_class_has_one() -> None:
    found = classes(np.array([1, 2, 3, 4], np.uint8), 4, "UINT8", labels=(b"a:b\r", b"", b"\xff\n"))
    assert found.tolist() == [b"4:3", b"3:2:\xff\n", b"2:1", b"1:0:a:b\r"]


@pytest.mark.parametrize("kind", ["BOOL", "FP16", "BF16", "BYTES"])
def test_other_data_types_have_no_classes(kind: str) -> None:
    array = np.zeros(3, DTYPES[kind].numpy)
    with pytest.raises(RequestError, match=f"class result not available for output due to unsupported type '{kind}'"):
        classes(array, 1, kind)


def test_the_number_and_the_size_of_classes_are_limited() -> None:
    many = np.zeros((MAX_CLASSES // 4, 5), np.uint8)
    with pytest.raises(RequestError, match=f"1310720 classes are requested, and at most {MAX_CLASSES}") as caught:
        classes(many, 5, "UINT8", batches=True)
    assert caught.value.status == 400
    with pytest.raises(RequestError, match="max_response_bytes") as caught:
        classes(np.zeros((1000, 1), np.uint8), 1, "UINT8", batches=True, labels=(b"x" * 5000,))
    assert caught.value.status == 500


def test_a_row_is_sorted_in_parts_of_bounded_size() -> None:
    row = np.zeros(2_500_000, np.int8)
    row[[5, 1_500_000, 2_400_000]] = 3, 4, 3
    assert classes(row, 5, "INT8").tolist() == [b"4:1500000", b"3:5", b"3:2400000", b"0:0", b"0:1"]
