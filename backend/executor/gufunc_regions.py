"""The tensors of one ``gufunc`` batch, and where their chunks lie in guest memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..plan.buffers import gaps
from .sandbox import Sandbox

ALIGN = 64


@dataclass
class Region:
    """One tensor: its dtype in memory, elements of one batch item, the array as (items, elements), whether one item
    serves the whole batch, and whether it is an input. ``flat`` is None for an output that stays in guest memory."""

    dtype: np.dtype
    width: int
    flat: np.ndarray | None
    fixed: bool
    given: bool

    @property
    def item(self) -> int:
        """Bytes of one batch item."""
        return self.width * self.dtype.itemsize

    def span(self, count: int) -> int:
        """Bytes of a chunk of `count` items."""
        return self.item * (1 if self.fixed else count)


@dataclass
class Batch:
    """The tensors in the order of the kernel's pointers, the sizes of the core dimensions, and the number of items."""

    regions: list[Region]
    dims: list[int]
    count: int


def is_spread(array: np.ndarray, core: tuple[int, ...], loop_shape: tuple[int, ...]) -> bool:
    """Whether `given` copies `array`, to repeat it along some of the loop dimensions."""
    loops = array.shape[: array.ndim - len(core)]
    return loops != loop_shape and math.prod(loops) != 1


def given(array: np.ndarray, core: tuple[int, ...], loop_shape: tuple[int, ...]) -> Region:
    """The region of an input whose core dimensions are `core`, broadcast over `loop_shape`."""
    loops = array.shape[: array.ndim - len(core)]
    fixed = math.prod(loops) == 1
    if is_spread(array, core, loop_shape):
        array = np.broadcast_to(array, loop_shape + core)
    flat = array.reshape((1 if fixed else math.prod(loop_shape), math.prod(core)))
    return Region(array.dtype, flat.shape[1], flat, fixed, True)


def offsets(regions: Sequence[Region], chunk: int) -> tuple[list[int], int]:
    """Where each tensor's chunk lies in the block, and how large the block is."""
    found, size = [], 0
    for region in regions:
        found.append(size)
        size += -(-region.span(chunk) // ALIGN) * ALIGN
    return found, max(size, ALIGN)


class Placed:
    """Chunks of `regions` in the block of one sandbox: `pointers`, and `views` of guest memory as (items, width).

    `places` and `size` are the `offsets` of these regions and this chunk.
    """

    def __init__(self, box: Sandbox, regions: Sequence[Region], chunk: int, places: Sequence[int], size: int) -> None:
        base = box.reserve(size)
        memory = box.view()
        assert box.block is not None
        self._regions = regions
        self.size = size
        self.pointers = [base + place for place in places]
        self.views = [
            memory[at : at + region.span(chunk)].view(region.dtype).reshape((-1, region.width))
            if region.width
            else np.empty((1 if region.fixed else chunk, 0), region.dtype)
            for at, region in zip(self.pointers, regions)
        ]
        spans = [(at, at + region.span(chunk)) for at, region in zip(self.pointers, regions) if region.given]
        self.gaps = gaps(memory, [(base, base), *spans], base + box.block.capacity)
        if box.used and box.snapshot is not None:
            for gap in self.gaps:
                gap.fill(0)
        box.used = True

    def fill(self, at: int, count: int) -> None:
        """Copy `count` items of every input, from item `at` on, to the guest."""
        for region, view in zip(self._regions, self.views):
            if region.given and region.flat is not None and not region.fixed:
                np.copyto(view[:count], region.flat[at : at + count])

    def fill_fixed(self) -> None:
        """Copy the inputs that serve the whole batch."""
        for region, view in zip(self._regions, self.views):
            if region.given and region.flat is not None and region.fixed:
                np.copyto(view, region.flat)

    def drain(self, at: int, count: int) -> None:
        """Copy `count` items of every output to the caller's arrays, from item `at` on."""
        for region, view in zip(self._regions, self.views):
            if not region.given and region.flat is not None:
                items = region.flat[at : at + count]
                if view.dtype == np.bool_:
                    np.not_equal(view[:count].view(np.uint8), 0, out=items)  # any byte but 0 is true
                else:
                    np.copyto(items, view[:count], casting="unsafe")
