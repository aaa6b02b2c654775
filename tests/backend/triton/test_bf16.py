"""BF16 tensors go through DLPack capsules, because NumPy has no such dtype."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from portalis.backend.triton import bf16 as capsule
from tests.running.garbage import wait_collected


@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (0,), (2, 0, 3), (1, 1, 1, 1, 1, 1, 1, 2)])
def test_bits_round_trip(shape: tuple[int, ...]) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 16, shape, np.uint16)
    got = capsule.read_bf16(capsule.make_bf16(bits))
    assert got.shape == shape
    np.testing.assert_array_equal(got, bits)


def test_an_array_that_is_not_row_major_is_copied() -> None:
    bits = np.arange(12, dtype=np.uint16).reshape(3, 4).T
    np.testing.assert_array_equal(capsule.read_bf16(capsule.make_bf16(bits)), bits)


def test_a_read_array_keeps_its_capsule_alive() -> None:
    got = capsule.read_bf16(capsule.make_bf16(np.arange(1000, dtype=np.uint16)))
    gc.collect()
    assert got.tolist() == list(range(1000))
    seen = weakref.ref(got)
    del got
    wait_collected(lambda: seen() is None, "the array is held")


def test_a_tensor_of_another_type_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"not a bfloat16 tensor in host memory \(device 1, type 2\)"):
        capsule.read_bf16(np.ones(3, np.float32).__dlpack__())
