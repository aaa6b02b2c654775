"""BYTES tensors in Triton's serialization."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.backend.batch.bytes_tensor import deserialize, object_array, serialize


@given(elements=st.lists(st.binary(max_size=20), max_size=12))
def test_bytes_survive_their_serialization(elements: list[bytes]) -> None:
    data = serialize(elements)
    assert len(data) == 4 * len(elements) + sum(map(len, elements))
    assert deserialize(data) == elements
    array = object_array(elements, (1, len(elements)))
    assert array.dtype == object and array.shape == (1, len(elements)) and list(array[0]) == elements


def test_elements_are_serialized_little_endian_and_text_as_utf8() -> None:
    assert serialize([b"ab", "ü", 7, np.bytes_(b"c")]) == b"\2\0\0\0ab\2\0\0\0\xc3\xbc\1\0\0\x007\1\0\0\0c"
    assert serialize([]) == b"" and deserialize(b"") == []


def test_triton_reads_the_same_bytes() -> None:
    utils = pytest.importorskip("tritonclient.utils")
    elements = [b"", b"a\0", "ü".encode(), b"\xff" * 300]
    assert utils.serialize_byte_tensor(np.array(elements, dtype=object)).item() == serialize(elements)
    assert list(utils.deserialize_bytes_tensor(serialize(elements))) == elements


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\1\0\0", "3 bytes are left at 0, too few for a length"),
        (b"\1\0\0\0a\0", "1 bytes are left at 5, too few for a length"),
        (b"\1\0\0\0a\3\0\0\0bc", "the element at 5 has 3 bytes, but only 2 are left"),
        (b"\xff\xff\xff\xff", "the element at 0 has 4294967295 bytes, but only 0 are left"),
    ],
)
def test_truncated_bytes_are_reported_with_their_offset(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        deserialize(data)


@given(data=st.binary(max_size=60))
def test_bytes_are_read_completely_or_not_at_all(data: bytes) -> None:
    try:
        elements = deserialize(data)
    except ValueError:
        return
    assert serialize(elements) == data


@pytest.mark.parametrize("count", [0, 5, 4096, 4097, 9000])
def test_the_check_is_made_after_every_few_thousand_elements(count: int) -> None:
    elements, asked = [b"ab"] * count, []
    assert deserialize(serialize(elements), lambda: asked.append(1)) == elements
    assert len(asked) == max(count - 1, 0) // 4096
