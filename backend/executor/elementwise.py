"""Runs the ``elementwise`` convention: numbers in, numbers out, broadcast over arrays like a NumPy ufunc.

The arrays stream through the loop module's memory in chunks that fit the cache, so the memory used does not grow with
the arrays. NumPy converts between the tensors' dtypes and WebAssembly's four number types while it copies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..interface.dtypes import BF16, WASM, DType, bf16_to_f32, f32_to_bf16
from ..interface.interface import Interface
from ..plan import elementwise_loop
from ..plan.elementwise_loop import ElementwiseLoop
from ..shapes import check_outputs, too_large
from ..wasm.binary import FuncType
from .parallel import Workers, spans
from .sandbox import Deadline, Sandbox, SandboxFactory

CHUNK_BYTES = 512 << 10  # about one core's L2 cache
_UNSIGNED: dict[str, np.dtype] = {"UINT32": np.dtype("uint32"), "UINT64": np.dtype("uint64")}


def memory_dtype(dtype: DType, valtype: str) -> np.dtype:
    """How an element of `dtype` lies in the loop's memory, where it has the width of `valtype`."""
    return _UNSIGNED.get(dtype.name) or WASM[valtype]


class LoopMemory(NamedTuple):
    """Views of one loop's memory: the header, and a region of a chunk's size for each input and output."""

    header: np.ndarray
    pointers: tuple[int, ...]
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]


class Elementwise:
    """The runner of one ``elementwise`` entry."""

    def __init__(
        self,
        interface: Interface,
        function: FuncType,
        loop: ElementwiseLoop,
        sandboxes: SandboxFactory,
        workers: Workers,
    ) -> None:
        self._loop = loop
        self._sandboxes = sandboxes
        self._workers = workers
        self._names = [spec.name for spec in interface.inputs]
        self._limit = sandboxes.recipe.limits.max_tensor_bytes
        self._out_names = [spec.name for spec in interface.outputs]
        inputs = [spec.dtype for spec in interface.inputs]
        outputs = [spec.dtype for spec in interface.outputs]
        self._in_bf16 = [dtype is BF16 for dtype in inputs]
        self._out_bf16 = [dtype is BF16 for dtype in outputs]
        self._out_dtypes = [dtype.numpy for dtype in outputs]
        self._row_bytes = sum(dtype.itemsize for dtype in self._out_dtypes)
        self._in_memory = [memory_dtype(d, t) for d, t in zip(inputs, function.params)]
        self._out_memory = [memory_dtype(d, t) for d, t in zip(outputs, function.results)]

    def run(self, arrays: Sequence[np.ndarray], deadline: Deadline) -> list[np.ndarray]:
        """Apply the guest to broadcast `arrays` (interface order, declared dtypes, any shapes that broadcast).

        Returns new arrays of the broadcast shape. Raises InputError when the shapes do not broadcast.
        """
        shape = arrays[0].shape
        for array in arrays:
            if array.shape != shape:
                shape = self._broadcast(arrays)
                break
        size = math.prod(shape)
        if size * self._row_bytes > self._limit:
            raise too_large(size * self._row_bytes, self._limit, self._sandboxes.recipe.terms)
        outputs = [np.empty(shape, dtype) for dtype in self._out_dtypes]
        if not size:
            return outputs
        flat_in = [a.reshape(-1) if a.shape == shape or a.size == 1 else self._spread(a, shape) for a in arrays]
        flat_out = [output.reshape(-1) for output in outputs]
        if size <= self._loop.capacity or self._workers.count == 1:
            self._span(flat_in, flat_out, (0, size), deadline)
        else:
            self._workers.each(
                lambda span: self._span(flat_in, flat_out, span, deadline),
                spans(size, self._workers.count, self._loop.capacity // 4),
            )
        return outputs

    def _broadcast(self, arrays: Sequence[np.ndarray]) -> tuple[int, ...]:
        """The shape of the outputs, which NumPy can have, as it can the copies that `_spread` makes."""
        try:
            shape = np.broadcast_shapes(*(array.shape for array in arrays))
            check_outputs((name, shape) for name in self._out_names)
            spread = sum(array.itemsize for array in arrays if array.shape != shape and array.size != 1)
            total = math.prod(shape) * (self._row_bytes + spread)
            if total > self._limit:
                raise too_large(total, self._limit, self._sandboxes.recipe.terms)
            return shape
        except ValueError:
            shapes = ", ".join(f"'{name}' {list(array.shape)}" for name, array in zip(self._names, arrays))
            raise InputError(f"the inputs' shapes do not broadcast together: {shapes}") from None

    @staticmethod
    def _spread(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        # Only for shapes that differ in more than size 1: a full copy, at NumPy's speed.
        return np.broadcast_to(array, shape).reshape(-1)

    def _span(
        self, arrays: list[np.ndarray], outputs: list[np.ndarray], span: tuple[int, int], deadline: Deadline
    ) -> None:
        box = self._sandboxes.acquire(deadline)
        try:
            assert box.loop is not None
            self._chunks(box.loop, arrays, outputs, span)
        except BaseException:
            self._sandboxes.discard(box)
            raise
        self._sandboxes.release(box)

    def _map(self, loop: Sandbox) -> LoopMemory:
        """The loop's memory as arrays; made once and kept with the sandbox."""
        memory, capacity = loop.view(), self._loop.capacity
        header = memory[: elementwise_loop.HEADER_BYTES].view(np.uint32)
        header[1 + 2 * len(self._in_memory) :][: len(self._loop.outputs)] = self._loop.outputs
        header[1 : 1 + 2 * len(self._in_memory) : 2] = self._loop.inputs
        regions = [
            memory[where : where + capacity * dtype.itemsize].view(dtype)
            for where, dtype in zip(
                (*self._loop.inputs, *self._loop.outputs), (*self._in_memory, *self._out_memory), strict=True
            )
        ]
        count = len(self._in_memory)
        mapped = LoopMemory(header, self._loop.inputs, tuple(regions[:count]), tuple(regions[count:]))
        loop.mapped = mapped
        return mapped

    def _chunks(
        self, loop: Sandbox, arrays: list[np.ndarray], outputs: list[np.ndarray], span: tuple[int, int]
    ) -> None:
        mapped: LoopMemory = loop.mapped or self._map(loop)
        header = mapped.header
        start, stop = span
        capacity = self._loop.capacity
        for i, array in enumerate(arrays):
            single = array.size == 1
            header[1 + 2 * i] = mapped.pointers[i]
            header[2 + 2 * i] = 0 if single else mapped.inputs[i].itemsize
            if single:
                mapped.inputs[i][:1] = bf16_to_f32(array) if self._in_bf16[i] else array
        while start < stop:
            count = min(capacity, stop - start)
            for i, array in enumerate(arrays):
                if array.size != 1:
                    piece = array[start : start + count]
                    mapped.inputs[i][:count] = bf16_to_f32(piece) if self._in_bf16[i] else piece
            header[0] = count
            loop.call_u32(b"run")
            for i, output in enumerate(outputs):
                piece = mapped.outputs[i][:count]
                output[start : start + count] = f32_to_bf16(piece) if self._out_bf16[i] else piece
            start += count
