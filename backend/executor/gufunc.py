"""Runs the ``gufunc`` convention: a kernel over one item's core dimensions, which the host steps over the batch."""

from __future__ import annotations

import itertools
import math
import operator
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import GuestStatus, InputError, Trap
from ..interface.dtypes import WASM, true_or_false
from ..interface.interface import Interface, core_ranks
from ..plan import gufunc_plan
from ..plan.gufunc_plan import Plan
from ..shapes import check_outputs, too_large
from . import gufunc_regions, native
from .gufunc_regions import Batch, Placed, Region
from .hot import HotCall, HotCalls
from .parallel import Workers, spans
from .sandbox import Deadline, Sandbox, SandboxFactory

CHUNK_BYTES = 2 << 20  # within the caches, and long enough that threads seldom wait for each other's GIL
LENT_BYTES = 1 << 20  # larger batches go through one chunk after the other, and are copied out


class Gufunc:
    """The runner of one ``gufunc`` entry."""

    def __init__(
        self, interface: Interface, plan: Plan, sandboxes: SandboxFactory, workers: Workers, *, joins: bool
    ) -> None:
        self._plan = plan
        self._sandboxes = sandboxes
        self._workers = workers
        assert interface.signature is not None
        self._signature = interface.signature
        self.entry = interface.entry.encode()
        self._inputs = [spec.name for spec in interface.inputs]
        self._outputs = [spec.name for spec in interface.outputs]
        self._itemsizes = [spec.dtype.itemsize for spec in interface.outputs]
        self._limit = sandboxes.recipe.limits.max_tensor_bytes
        self._dtypes = [spec.dtype.numpy for spec in interface.outputs]
        self._has_bool = any(dtype == np.bool_ for dtype in self._dtypes)
        self._constants = gufunc_plan.constants(plan.kernel)
        self.hot = HotCalls(self._inputs, joins=joins, cores=core_ranks(interface))
        sandboxes.on_give_way = weakref.WeakMethod(self.hot.clear)

    def run(self, arrays: Sequence[np.ndarray], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """Apply the kernel over the loop dimensions of `arrays` (interface order, declared dtypes).

        Returns arrays of shape loop dimensions + core dimensions; with `borrow` they may be views of guest memory that
        are valid until the next call. Raises InputError when the shapes do not fit the signature.
        """
        loop_shape, sizes = self._signature.resolve([array.shape for array in arrays])
        shapes = [loop_shape + _core(dims, sizes) for dims in self._signature.outputs]
        counts = [math.prod(shape) for shape in shapes]
        if 0 in counts:
            check_outputs(zip(self._outputs, shapes))
            if not any(counts):
                return self._empty(shapes)
        count = math.prod(loop_shape)
        cores = [_core(dims, sizes) for dims in self._signature.inputs]
        self._check_total(arrays, cores, loop_shape, sum(map(operator.mul, counts, self._itemsizes)))
        inputs = [gufunc_regions.given(array, core, loop_shape) for array, core in zip(arrays, cores)]
        outputs = self._output_regions([each // count for each in counts])
        regions = dict(zip((*self._inputs, *self._outputs), (*inputs, *outputs)))
        returned = [outputs[i] for i in self._plan.returned]
        batch = Batch(
            [*(regions[name] for name in self._plan.names), *returned],
            [sizes[name] for name in self._signature.names],
            count,
        )
        item = sum(r.item for r in batch.regions if not r.fixed) or 1
        chunk = max(1, CHUNK_BYTES // item)
        if borrow and count * item <= LENT_BYTES and self._workers.count == 1 and not returned:
            return self._borrowed(batch, shapes, deadline, arrays)
        results = self._empty(shapes)
        for region, result in zip(outputs, results):
            region.flat = result.reshape((count, region.width))
        self._workers.each(
            lambda span: self._span(batch, span, chunk, deadline),
            spans(count, self._workers.count, max(1, chunk // 4)),
        )
        return results

    def _check_total(
        self, arrays: Sequence[np.ndarray], cores: list[tuple[int, ...]], loop_shape: tuple[int, ...], outputs: int
    ) -> None:
        """Raises InputError where the outputs, of `outputs` bytes, and the copies of repeated inputs are too large."""
        count = math.prod(loop_shape)
        repeated = [count * math.prod(core) * array.itemsize for array, core in zip(arrays, cores)]
        if outputs + sum(repeated) > self._limit:
            copies = [gufunc_regions.is_spread(array, core, loop_shape) for array, core in zip(arrays, cores)]
            total = outputs + sum(itertools.compress(repeated, copies))
            if total > self._limit:
                raise too_large(total, self._limit, self._sandboxes.recipe.terms)

    def _readable(self, outputs: list[np.ndarray]) -> list[np.ndarray]:
        """`outputs` with 0 and 1 for what the kernel wrote as BOOL."""
        if not self._has_bool:
            return list(outputs)
        return [true_or_false(output) if output.dtype == np.bool_ else output for output in outputs]

    def _empty(self, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        return [np.empty(shape, dtype) for shape, dtype in zip(shapes, self._dtypes)]

    def _output_regions(self, widths: Sequence[int]) -> list[Region]:
        regions = [Region(dtype, width, None, False, False) for dtype, width in zip(self._dtypes, widths)]
        for i, valtype in zip(self._plan.returned, self._plan.kernel.type.results):
            regions[i] = Region(WASM[valtype], 1, None, False, False)
        return regions

    def _span(self, batch: Batch, span: tuple[int, int], chunk: int, deadline: Deadline) -> None:
        """A part of the batch, in chunks that fit the cache."""
        chunk = min(chunk, span[1] - span[0])
        raw = self._slots()
        places, size = gufunc_regions.offsets(batch.regions, chunk)
        with self._sandboxes.sandbox(deadline, size) as box:
            placed = Placed(box, batch.regions, chunk, places, size)
            placed.fill_fixed()
            for at in range(span[0], span[1], chunk):
                count = min(chunk, span[1] - at)
                placed.fill(at, count)
                self._call(box, raw, placed, batch, count)
                placed.drain(at, count)

    def _borrowed(
        self, batch: Batch, shapes: Sequence[tuple[int, ...]], deadline: Deadline, given: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """One call for the whole batch, whose outputs stay where the guest has written them."""
        places, size = gufunc_regions.offsets(batch.regions, batch.count)
        with self._sandboxes.sandbox(deadline, size) as box:
            placed = Placed(box, batch.regions, batch.count, places, size)
            placed.fill_fixed()
            placed.fill(0, batch.count)
            self._call(box, self._slots(), placed, batch, batch.count)
            views = dict(zip(self._plan.names, placed.views))
            outputs = [views[name].reshape(shape) for name, shape in zip(self._outputs, shapes)]
            results = self._readable(outputs)
        self._remember(box, batch, placed, given, outputs)
        return results

    def _remember(
        self, box: Sandbox, batch: Batch, placed: Placed, given: Sequence[np.ndarray], outputs: list[np.ndarray]
    ) -> None:
        """Prepare the short way for other requests like this one."""
        views = dict(zip(self._plan.names, placed.views))
        inputs = [views[name] for name in self._inputs]
        if not self._sandboxes.waits(box) or any(view.size != array.size for view, array in zip(inputs, given)):
            return  # a broadcast input has no place of its own shape
        function, numbers = self._target(box, placed.pointers, batch, batch.count)
        targets = [view.reshape(array.shape) for view, array in zip(inputs, given)]

        def finish(status: int) -> list[np.ndarray]:
            self._check(status)
            box.view()  # notices what the kernel has grown
            return self._readable(outputs)

        key = tuple((array.shape, array.dtype) for array in given)
        call = HotCall(self, self._sandboxes, box, function, targets, placed.gaps, None, placed.size, numbers, finish)
        self.hot.keep(key, call)

    def explained(self, box: Sandbox, trap: Trap) -> Trap:
        """`trap` as it is; `box` is discarded."""
        self._sandboxes.discard(box)
        return trap

    def _slots(self) -> Any:
        return native.slots(max(self._plan.kernel.parameters, len(self._plan.kernel.arguments)))

    def _call(self, box: Sandbox, raw: Any, placed: Placed, batch: Batch, count: int) -> None:
        function, numbers = self._target(box, placed.pointers, batch, count)
        for i, number in enumerate(numbers):
            raw[2 * i] = number
        box.store.call(function, raw, max(len(numbers), 1))
        self._check(native.i32(raw[0]))

    def _check(self, status: int) -> None:
        if self._plan.kernel.status and status:
            raise GuestStatus(f"the guest returned status {status}")

    def _target(
        self, box: Sandbox, pointers: Sequence[int], batch: Batch, count: int
    ) -> tuple[native.Extern, list[int]]:
        """What is called with what: the kernel itself where it loops, else the loop beside it."""
        if self._plan.loops_itself:
            values = {"pointer": pointers, "dimension": [*batch.dims, count]}
            numbers = [
                self._constants[i] if kind == "constant" else values[kind][int(value)]
                for i, (kind, value) in enumerate(self._plan.kernel.arguments)
            ]
            return box.function(self.entry), numbers
        numbers = [count]
        for pointer, region in zip(pointers, batch.regions):
            numbers += [pointer, 0 if region.fixed else region.item]
        assert box.loop is not None
        return box.loop.function(b"run"), [*numbers, *batch.dims]


def _core(dims: tuple[str | int, ...], sizes: dict[str, int]) -> tuple[int, ...]:
    missing = [d for d in dims if isinstance(d, str) and d not in sizes]
    if missing:
        raise InputError(f"the size of core dimension '{missing[0]}' follows from no input: give it a fixed size")
    return tuple(sizes[d] if isinstance(d, str) else d for d in dims)
