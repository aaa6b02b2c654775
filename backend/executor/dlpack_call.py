"""One ``dlpack`` call in one sandbox: where its tensors lie, as arrays that look into guest memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ..interface.dtypes import BYTES
from ..interface.interface import TensorSpec
from ..limits import Limits
from ..plan.buffers import gaps
from ..terms import Terms
from . import dlpack_outputs, native
from .dlpack_layout import Layout
from .hot import HotCall, Pieces, Runner, put
from .sandbox import Sandbox, SandboxFactory


class Call:
    """A layout at an address of one sandbox's memory. Made once, and used again while both stay the same."""

    __slots__ = (
        "_bounds",
        "_gaps",
        "_header_bytes",
        "_image",
        "_memory",
        "_raw",
        "_read",
        "_read_image",
        "_read_shapes",
        "_targets",
        "base",
        "layout",
    )

    def __init__(
        self, box: Sandbox, layout: Layout, base: int, outputs: Sequence[TensorSpec], limits: Limits, terms: Terms
    ) -> None:
        memory = box.view()
        self._bounds = dlpack_outputs.Bounds(
            limits, terms, partial(box.store.check_deadline, "reading the outputs took")
        )
        self.layout = layout
        self.base = base
        self._memory = memory
        self._header_bytes = np.frombuffer(layout.header(base), np.uint8)
        self._image = memory[base : base + layout.header_bytes]
        places = list(zip(layout.slots, layout.data))
        self._targets = [
            None
            if slot.shape is None
            else _at(memory, base + offset, slot.nbytes, np.dtype(np.uint8), (slot.nbytes,))
            if slot.dtype is BYTES
            else _at(memory, base + offset, slot.nbytes, slot.dtype.numpy, slot.shape)
            for slot, offset in places[: layout.inputs]
        ]
        self._read: list[np.ndarray] = []
        self._read_image = b""
        self._read_shapes: list[tuple[np.ndarray, bytes]] = []
        written = [(base, base + layout.header_bytes)]
        written += [(base + offset, base + offset + slot.nbytes) for slot, offset in places[: layout.inputs]]
        assert box.block is not None
        self._gaps = gaps(memory, written, base + box.block.capacity)
        self._raw = native.slots(4)
        self._raw[2], self._raw[4], self._raw[6] = layout.inputs, base + layout.outputs_at(), len(outputs)

    def fits(self, box: Sandbox) -> bool:
        """Whether the memory is still what it was when this was made."""
        return box.view() is self._memory

    def write(self, inputs: Sequence[Pieces | None], *, clear: bool) -> None:
        """Copy structs, shapes and tensors into guest memory; `clear` what lies between them, as in a new instance."""
        if clear:
            for gap in self._gaps:
                gap.fill(0)
        self._image[:] = self._header_bytes
        for target, pieces in zip(self._targets, inputs):
            if pieces is not None and target is not None:
                put(target, pieces)

    def run(self, box: Sandbox, function: native.Extern) -> int:
        """Call the guest; its status."""
        raw = self._raw
        raw[0] = self.base
        box.store.call(function, raw, 4)
        return native.i32(raw[0])

    def outputs(self, box: Sandbox, specs: Sequence[TensorSpec], rows: int | None) -> list[np.ndarray]:
        """The outputs as views of guest memory (BYTES: new objects). Raises what `dlpack_outputs.read` does."""
        memory = box.view()  # the guest may have grown it
        image = self._image.tobytes()
        if (
            memory is self._memory
            and image == self._read_image
            and all(view.tobytes() == shape for view, shape in self._read_shapes)
        ):
            return list(self._read)  # the guest left the same structs and shapes as before
        outputs = dlpack_outputs.read(memory, self.layout, self.base, specs, rows, self._bounds)
        shapes = dlpack_outputs.shapes(memory, self.layout, self.base, len(specs))
        if shapes is not None and memory is self._memory:
            self._read, self._read_image = outputs, image
            self._read_shapes = [(view, view.tobytes()) for view in shapes]
        return outputs

    def hot(
        self,
        runner: Runner,
        factory: SandboxFactory,
        box: Sandbox,
        finish: Callable[[int], list[np.ndarray]],
    ) -> HotCall:
        """The short way for requests of these shapes."""
        function = box.function(runner.entry)
        targets = [target for target in self._targets if target is not None]
        slots = [self.base, *(self._raw[i] for i in (2, 4, 6))]
        image = (self._image, self._header_bytes)
        return HotCall(runner, factory, box, function, targets, self._gaps, image, self.layout.total, slots, finish)


def _at(memory: np.ndarray, start: int, nbytes: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    return memory[start : start + nbytes].view(dtype).reshape(shape)
