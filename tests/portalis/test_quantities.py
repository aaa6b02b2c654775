from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.quantities import cpu_millis, file_size, memory_bytes


def test_amounts_are_converted_as_by_kubernetes() -> None:
    assert [memory_bytes(each) for each in ("512", "1k", "2G", "2Gi", "1Mi")] == [512, 1000, 2 * 10**9, 2**31, 2**20]
    assert [cpu_millis(each) for each in ("500m", "2", "0.5", "1.0001", "0.0")] == [500, 2000, 500, 1001, 1]


@given(st.decimals(min_value="0.001", max_value=512, places=3))
def test_a_cpu_limit_keeps_its_thousandths(amount: object) -> None:
    assert cpu_millis(f"{amount}" if "." in f"{amount}" else f"{amount}.0") == int(float(f"{amount}") * 1000 + 0.5)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536 << 10, "1.5 MiB"),
        (5 << 30, "5.0 GiB"),
        (1 << 60, "1048576.0 TiB"),
    ],
)
def test_a_file_size_has_the_largest_unit_that_keeps_it_above_one(count: int, text: str) -> None:
    assert file_size(count) == text
