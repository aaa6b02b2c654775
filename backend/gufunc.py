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
from .dlpack_call import gaps
from .errors import GuestStatus, InputError, InterfaceError, Trap
from .gufunc_loop import Argument, Kernel
from .hot import HotCall, HotCalls
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


class Gufunc:
    """The runner of one ``gufunc`` entry."""

    def __init__(
        self, interface: Interface, chosen: Plan, sandboxes: SandboxFactory, workers: Workers, *, joins: bool
    ) -> None:
        self._interface = interface
        self._plan = chosen
        self._sandboxes = sandboxes
        self._workers = workers
        assert interface.signature is not None
        self._signature = interface.signature
        self.entry = interface.entry.encode()
        self.hot = HotCalls([spec.name for spec in interface.inputs], joins=joins)
        self._output_names = [spec.name for spec in interface.outputs]
        constants = [
            (i, _slot(valtype, value))
            for i, ((kind, value), valtype) in enumerate(zip(chosen.kernel.arguments, chosen.kernel.type.params))
            if kind == "constant"
        ]
        self._constants = [value for _, value in constants]
        numbers = {i: n for n, (i, _) in enumerate(constants)}
        self._direct = [(k, numbers[i] if k == "constant" else v) for i, (k, v) in enumerate(chosen.kernel.arguments)]

    def run(self, arrays: Sequence[np.ndarray], deadline: Deadline, *, borrow: bool = False) -> list[np.ndarray]:
        """Apply the kernel over the loop dimensions of `arrays` (interface order, declared dtypes).

        Returns arrays of shape loop dimensions + core dimensions; with `borrow` they may be views of guest memory that
        are valid until the next call. Raises InputError when the shapes do not fit the signature.
        """
        loop_shape, sizes = self._signature.resolve([array.shape for array in arrays])
        shapes = [loop_shape + self._core(dims, sizes) for dims in self._signature.outputs]
        count = math.prod(loop_shape)
        if not any(math.prod(shape) for shape in shapes):
            return self._empty(shapes)
        inputs = self._inputs(arrays, loop_shape, sizes)
        widths = [math.prod(shape) // count for shape in shapes]
        dims = [sizes[name] for name in self._signature.names]
        itemsizes = [spec.dtype.numpy.itemsize for spec in self._interface.outputs]
        per_item = sum(r.item for r in inputs if not r.fixed) + sum(w * size for w, size in zip(widths, itemsizes))
        chunk = max(1, CHUNK_BYTES // (per_item or 1))
        if borrow and count <= 2 * chunk and self._workers.count == 1 and not self._plan.returned:
            regions = self._ordered(inputs, widths, [None] * len(shapes))
            return self._borrowed(regions, dims, count, shapes, deadline, arrays)
        outputs = self._empty(shapes)
        flat = [output.reshape((count, width)) for output, width in zip(outputs, widths)]
        regions = self._ordered(inputs, widths, flat)
        self._workers.each(
            lambda span: self._span(regions, dims, span, chunk, deadline),
            spans(count, self._workers.count, max(1, chunk // 4)),
        )
        return outputs

    def _empty(self, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        return [np.empty(shape, spec.dtype.numpy) for shape, spec in zip(shapes, self._interface.outputs)]

    def _core(self, dims: tuple[str | int, ...], sizes: dict[str, int]) -> tuple[int, ...]:
        missing = [d for d in dims if isinstance(d, str) and d not in sizes]
        if missing:
            raise InputError(f"the size of core dimension '{missing[0]}' follows from no input: give it a fixed size")
        return tuple(sizes[d] if isinstance(d, str) else d for d in dims)

    def _inputs(
        self, arrays: Sequence[np.ndarray], loop_shape: tuple[int, ...], sizes: dict[str, int]
    ) -> list[_Region]:
        count = math.prod(loop_shape)
        regions = []
        for given, dims in zip(arrays, self._signature.inputs):
            core = self._core(dims, sizes)
            loops = given.shape[: given.ndim - len(core)]
            fixed = math.prod(loops) == 1
            array = given if fixed or loops == loop_shape else np.broadcast_to(given, loop_shape + core)
            flat = array.reshape((1 if fixed else count, math.prod(core)))
            regions.append(_Region(array.dtype, flat.shape[1], flat, fixed, True))
        return regions

    def _ordered(
        self, inputs: list[_Region], widths: Sequence[int], flat: Sequence[np.ndarray | None]
    ) -> list[_Region]:
        """All tensors in the order of the kernel's pointers, returned scalars last."""
        regions = {spec.name: region for spec, region in zip(self._interface.inputs, inputs)}
        returned: list[_Region] = []
        for i, (spec, width, output) in enumerate(zip(self._interface.outputs, widths, flat)):
            if i in self._plan.returned:
                dtype = _WASM[self._plan.kernel.type.results[len(returned)]]
                returned.append(_Region(dtype, 1, output, False, False))
            else:
                regions[spec.name] = _Region(spec.dtype.numpy, width, output, False, False)
        return [*(regions[name] for name in self._plan.names), *returned]

    def _borrowed(
        self,
        regions: list[_Region],
        dims: list[int],
        count: int,
        shapes: Sequence[tuple[int, ...]],
        deadline: Deadline,
        given: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        """One call for the whole batch, whose outputs stay where the guest has written them."""
        offsets, size = self._offsets(regions, count)
        with self._sandboxes.sandbox(deadline, size) as box:
            pointers, views = self._place(box, regions, count, offsets, size)
            self._fill(regions, views, 0, count)
            self._call(box, self._slots(), pointers, regions, dims, count)
            by_name = dict(zip(self._plan.names, views))
            outputs = [by_name[name].reshape(shape) for name, shape in zip(self._output_names, shapes)]
        self._remember(box, regions, pointers, by_name, dims, count, given, outputs)
        return outputs

    def _remember(
        self,
        box: Sandbox,
        regions: list[_Region],
        pointers: list[int],
        views: dict[str, np.ndarray],
        dims: list[int],
        count: int,
        given: Sequence[np.ndarray],
        outputs: list[np.ndarray],
    ) -> None:
        """Prepare the short way for another request like this one."""
        names = [spec.name for spec in self._interface.inputs]
        wholes = [views[name].size == array.size for name, array in zip(names, given)]
        if not self._sandboxes.waits(box) or not all(wholes):
            return
        assert box.block is not None
        spans = [(p, p + r.item * (1 if r.fixed else count)) for p, r in zip(pointers, regions) if r.given]
        cleared = gaps(box.view(), [(pointers[0], pointers[0]), *spans], box.block.pointer + box.block.capacity)
        function, numbers = self._target(box, pointers, regions, dims, count)
        targets = [views[name].reshape(array.shape) for name, array in zip(names, given)]

        def finish(status: int) -> list[np.ndarray]:
            if self._plan.kernel.status and status:
                raise GuestStatus(f"the guest returned status {status}")
            return list(outputs)

        key = tuple((array.shape, array.dtype) for array in given)
        call = HotCall(self, self._sandboxes, box, function, targets, cleared, None, numbers, finish)
        self.hot.keep(key, call)

    def explained(self, box: Sandbox, trap: Trap) -> Trap:
        """`trap` as it is; `box` is discarded."""
        self._sandboxes.discard(box)
        return trap

    def _span(
        self, regions: list[_Region], dims: list[int], span: tuple[int, int], chunk: int, deadline: Deadline
    ) -> None:
        chunk = min(chunk, span[1] - span[0])
        raw = self._slots()
        offsets, size = self._offsets(regions, chunk)
        with self._sandboxes.sandbox(deadline, size) as box:
            pointers, views = self._place(box, regions, chunk, offsets, size)
            for at in range(span[0], span[1], chunk):
                count = min(chunk, span[1] - at)
                self._fill(regions, views, at, count, again=at > span[0])
                self._call(box, raw, pointers, regions, dims, count)
                for region, view in zip(regions, views):
                    if not region.given and region.flat is not None:
                        np.copyto(region.flat[at : at + count], view[:count], casting="unsafe")

    @staticmethod
    def _offsets(regions: list[_Region], chunk: int) -> tuple[list[int], int]:
        """Where each tensor's chunk lies in the block, and how large the block is."""
        offsets, size = [], 0
        for region in regions:
            offsets.append(size)
            size += -(-region.item * (1 if region.fixed else chunk) // ALIGN) * ALIGN
        return offsets, max(size, ALIGN)

    def _place(
        self, box: Sandbox, regions: list[_Region], chunk: int, offsets: list[int], size: int
    ) -> tuple[list[int], list[np.ndarray]]:
        """The addresses of the tensors' chunks in guest memory, and views of them."""
        base = box.reserve(size)
        memory = box.view()
        pointers = [base + offset for offset in offsets]
        if box.used and box.snapshot is not None:
            assert box.block is not None
            spans = [(p, p + r.item * (1 if r.fixed else chunk)) for p, r in zip(pointers, regions) if r.given]
            for gap in gaps(memory, [(base, base), *spans], base + box.block.capacity):
                gap.fill(0)
        box.used = True
        return pointers, [self._view(memory, pointer, region, chunk) for pointer, region in zip(pointers, regions)]

    @staticmethod
    def _fill(regions: list[_Region], views: list[np.ndarray], at: int, count: int, *, again: bool = False) -> None:
        for region, view in zip(regions, views):
            if region.flat is None or not region.given or (region.fixed and again):
                continue
            np.copyto(
                view[: 1 if region.fixed else count], region.flat if region.fixed else region.flat[at : at + count]
            )

    def _slots(self) -> Any:
        return native.slots(max(self._plan.kernel.parameters, len(self._plan.kernel.arguments)))

    @staticmethod
    def _view(memory: np.ndarray, where: int, region: _Region, chunk: int) -> np.ndarray:
        rows = 1 if region.fixed else chunk
        return memory[where : where + rows * region.item].view(region.dtype).reshape((rows, region.width))

    def _call(
        self, box: Sandbox, raw: Any, pointers: list[int], regions: list[_Region], dims: list[int], count: int
    ) -> None:
        function, numbers = self._target(box, pointers, regions, dims, count)
        for i, number in enumerate(numbers):
            raw[2 * i] = number
        box.store.call(function, raw, max(len(numbers), 1))
        status = native.i32(raw[0])
        if self._plan.kernel.status and status:
            raise GuestStatus(f"the guest returned status {status}")

    def _target(
        self, box: Sandbox, pointers: list[int], regions: list[_Region], dims: list[int], count: int
    ) -> tuple[native.Extern, list[int]]:
        """What is called with what: the kernel itself where it loops, else the loop beside it."""
        if self._plan.loops_itself:
            values = {"pointer": pointers, "dimension": [*dims, count], "constant": self._constants}
            return box.function(self.entry), [values[kind][int(value)] for kind, value in self._direct]
        numbers = [count]
        for pointer, region in zip(pointers, regions):
            numbers += [pointer, 0 if region.fixed else region.item]
        assert box.loop is not None
        return box.loop.function(b"run"), [*numbers, *dims]


def _slot(valtype: str, value: float) -> int:
    """A constant as the integer that fills its argument slot."""
    if valtype in ("i32", "i64"):
        return int(value)
    return int.from_bytes(struct.pack("<f" if valtype == "f32" else "<d", value), "little", signed=valtype == "f64")
