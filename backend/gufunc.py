"""Runs the ``gufunc`` convention: a kernel over core dimensions, stepped over the batch by a generated loop.

Batch items stream through the guest's memory in chunks that fit the cache, so that the memory used does not grow with
the batch; a tensor without batch dimensions is copied in once.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import native
from .binary import FuncType
from .errors import GuestStatus, InputError, InterfaceError
from .gufunc_loop import Argument, Kernel
from .interface import Interface
from .parallel import Workers, spans
from .sandbox import Deadline, Sandbox, SandboxFactory

CHUNK_BYTES = 512 << 10  # about one core's L2 cache
ALIGN = 64
_WASM: dict[str, np.dtype] = {
    "i32": np.dtype("int32"),
    "i64": np.dtype("int64"),
    "f32": np.dtype("float32"),
    "f64": np.dtype("float64"),
}


@dataclass(frozen=True)
class Plan:
    """A kernel with the place of each tensor: outputs by pointer, returned outputs, and whether the kernel loops."""

    kernel: Kernel
    names: tuple[str, ...]
    returned: tuple[int, ...]
    loops_itself: bool


def plan(interface: Interface, function: FuncType) -> Plan:
    """What each parameter of the kernel is, from ``args`` or by default. Raises InterfaceError where they don't fit."""
    signature = interface.signature
    if signature is None:
        raise InterfaceError(f"entry '{interface.entry}' is a gufunc and needs a signature such as (n)->(n)")
    tensors = [spec.name for spec in (*interface.inputs, *interface.outputs)]
    in_order = [name for name in tensors if not interface.args or name in interface.args]
    if not interface.args:
        scalars = 0 if interface.returns == "status" else len(function.results)
        in_order = tensors[: len(tensors) - scalars]
    args = interface.args or (*in_order, *signature.names)
    if len(args) != len(function.params):
        raise InterfaceError(
            f"entry '{interface.entry}' has {len(function.params)} parameters, but its arguments are"
            f" {', '.join(map(str, args))}: declare wasm.args to say what each parameter is"
        )
    arguments = tuple(_argument(arg, in_order, signature.names) for arg in args)
    outputs = [spec.name for spec in interface.outputs]
    returned = tuple(i for i, name in enumerate(outputs) if name not in in_order)
    status = interface.returns == "status"
    if len(function.results) != (1 if status else len(returned)):
        raise InterfaceError(
            f"entry '{interface.entry}' returns {len(function.results)} values, but {len(returned)} outputs are not"
            f" among its arguments{' and it returns a status' if status else ''}"
        )
    kernel = Kernel(
        function, arguments, len(in_order), len(returned) if not status else 0, len(signature.names), status
    )
    return Plan(kernel, tuple(in_order), returned, "batch" in args)


def _argument(arg: str | int | float, tensors: Sequence[str], dimensions: Sequence[str]) -> Argument:
    if not isinstance(arg, str):
        return ("constant", arg)
    if arg in tensors:
        return ("pointer", tensors.index(arg))
    if arg in dimensions:
        return ("dimension", dimensions.index(arg))
    if arg == "batch":
        return ("dimension", len(dimensions))
    raise InterfaceError(f"argument '{arg}' is neither a tensor, nor a core dimension, nor 'batch'")


@dataclass
class _Region:
    """One tensor: its dtype in memory, bytes of one batch item, the array as (items, elements), whether one item serves
    the whole batch, and whether it is an input."""

    dtype: np.dtype[np.generic]
    item: int
    flat: np.ndarray
    fixed: bool
    given: bool


class Gufunc:
    """The runner of one ``gufunc`` entry."""

    def __init__(self, interface: Interface, chosen: Plan, sandboxes: SandboxFactory, workers: Workers) -> None:
        self._interface = interface
        self._plan = chosen
        self._sandboxes = sandboxes
        self._workers = workers
        assert interface.signature is not None
        self._signature = interface.signature
        self._entry = interface.entry.encode()
        constants = [
            (i, _slot(valtype, value))
            for i, ((kind, value), valtype) in enumerate(zip(chosen.kernel.arguments, chosen.kernel.type.params))
            if kind == "constant"
        ]
        self._constants = [value for _, value in constants]
        numbers = {i: n for n, (i, _) in enumerate(constants)}
        self._direct = [(k, numbers[i] if k == "constant" else v) for i, (k, v) in enumerate(chosen.kernel.arguments)]

    def run(self, arrays: Sequence[np.ndarray], deadline: Deadline) -> list[np.ndarray]:
        """Apply the kernel over the loop dimensions of `arrays` (interface order, declared dtypes).

        Returns new arrays of shape loop dimensions + core dimensions. Raises InputError when the shapes do not fit
        the signature.
        """
        loop_shape, sizes = self._signature.resolve([array.shape for array in arrays])
        outputs = [
            np.empty(loop_shape + self._core(dims, sizes), spec.dtype.numpy)
            for spec, dims in zip(self._interface.outputs, self._signature.outputs)
        ]
        count = math.prod(loop_shape)
        if any(output.size for output in outputs):
            regions = self._regions(arrays, outputs, loop_shape, sizes)
            dims = [sizes[name] for name in self._signature.names]
            chunk = max(1, CHUNK_BYTES // (sum(r.item for r in regions if not r.fixed) or 1))
            self._workers.each(
                lambda span: self._span(regions, dims, span, chunk, deadline),
                spans(count, self._workers.count, max(1, chunk // 4)),
            )
        return outputs

    def _core(self, dims: tuple[str | int, ...], sizes: dict[str, int]) -> tuple[int, ...]:
        missing = [d for d in dims if isinstance(d, str) and d not in sizes]
        if missing:
            raise InputError(f"the size of core dimension '{missing[0]}' follows from no input: give it a fixed size")
        return tuple(sizes[d] if isinstance(d, str) else d for d in dims)

    def _regions(
        self,
        arrays: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        loop_shape: tuple[int, ...],
        sizes: dict[str, int],
    ) -> list[_Region]:
        """The tensors in the order of the kernel's pointers, returned scalars last."""
        count = math.prod(loop_shape)
        regions = {}
        for spec, array, dims in zip(self._interface.inputs, arrays, self._signature.inputs):
            core = self._core(dims, sizes)
            loops = array.shape[: array.ndim - len(core)]
            fixed = math.prod(loops) == 1
            if not fixed and loops != loop_shape:
                array = np.broadcast_to(array, loop_shape + core)  # noqa: PLW2901
            flat = array.reshape((1 if fixed else count, math.prod(core)))
            regions[spec.name] = _Region(array.dtype, flat.shape[1] * array.dtype.itemsize, flat, fixed, True)
        returned: list[_Region] = []
        for i, (spec, output) in enumerate(zip(self._interface.outputs, outputs)):
            flat = output.reshape((count, output.size // count))
            dtype = output.dtype
            if i in self._plan.returned:
                dtype = _WASM[self._plan.kernel.type.results[len(returned)]]
                returned.append(_Region(dtype, dtype.itemsize, flat, False, False))
            else:
                regions[spec.name] = _Region(dtype, flat.shape[1] * dtype.itemsize, flat, False, False)
        return [*(regions[name] for name in self._plan.names), *returned]

    def _span(
        self, regions: list[_Region], dims: list[int], span: tuple[int, int], chunk: int, deadline: Deadline
    ) -> None:
        chunk = min(chunk, span[1] - span[0])
        places, size = [], 0
        for region in regions:
            places.append(size)
            size += -(-(region.item * (1 if region.fixed else chunk)) // ALIGN) * ALIGN
        with self._sandboxes.sandbox(deadline) as box:
            assert box.block is not None
            base = box.block.reserve(box, max(size, ALIGN))
            self._chunks(box, regions, [base + place for place in places], dims, span, chunk)

    def _chunks(
        self,
        box: Sandbox,
        regions: list[_Region],
        pointers: list[int],
        dims: list[int],
        span: tuple[int, int],
        chunk: int,
    ) -> None:
        memory = box.view()
        views = [self._view(memory, pointer, region, chunk) for pointer, region in zip(pointers, regions)]
        for region, view in zip(regions, views):
            if region.given and region.fixed:
                np.copyto(view, region.flat)
        raw = native.slots(max(self._plan.kernel.parameters, len(self._plan.kernel.arguments)))
        for at in range(span[0], span[1], chunk):
            count = min(chunk, span[1] - at)
            for region, view in zip(regions, views):
                if region.given and not region.fixed:
                    np.copyto(view[:count], region.flat[at : at + count])
            self._call(box, raw, pointers, regions, dims, count)
            for region, view in zip(regions, views):
                if not region.given:
                    np.copyto(region.flat[at : at + count], view[:count], casting="unsafe")

    @staticmethod
    def _view(memory: np.ndarray, where: int, region: _Region, chunk: int) -> np.ndarray:
        rows = 1 if region.fixed else chunk
        return memory[where : where + rows * region.item].view(region.dtype).reshape((rows, region.flat.shape[1]))

    def _call(
        self, box: Sandbox, raw: Any, pointers: list[int], regions: list[_Region], dims: list[int], count: int
    ) -> None:
        kernel = self._plan.kernel
        if self._plan.loops_itself:
            values = {"pointer": pointers, "dimension": [*dims, count], "constant": self._constants}
            numbers = [values[kind][int(value)] for kind, value in self._direct]
            status = _invoke(box.store, box.function(self._entry), raw, numbers)
        else:
            numbers = [count]
            for pointer, region in zip(pointers, regions):
                numbers += [pointer, 0 if region.fixed else region.item]
            assert box.loop is not None
            status = _invoke(box.store, box.loop.function(b"run"), raw, [*numbers, *dims])
        if kernel.status and status:
            raise GuestStatus(f"the guest returned status {status}")


def _invoke(store: native.Store, function: native.Extern, raw: Any, numbers: Sequence[int]) -> int:
    for i, number in enumerate(numbers):
        raw[2 * i] = number
    store.call(function, raw, max(len(numbers), 1))
    return native.i32(raw[0])


def _slot(valtype: str, value: float) -> int:
    """A constant as the integer that fills its argument slot."""
    if valtype in ("i32", "i64"):
        return int(value)
    return int.from_bytes(struct.pack("<f" if valtype == "f32" else "<d", value), "little", signed=valtype == "f64")
