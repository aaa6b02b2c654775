"""Runs the ``dlpack`` convention: the guest gets a whole batch as DLPack tensors in one call (tensor ABI 1)."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np

from ..batch.bytes_tensor import serialize
from ..errors import AbiViolation, GuestError, GuestStatus, Trap
from ..interface.dtypes import BYTES
from ..interface.interface import Interface, TensorSpec
from . import dlpack_layout, native
from .dlpack_call import Call
from .dlpack_layout import Layout, Slot
from .faults import GuestExit
from .hot import HotCalls, Pieces
from .parallel import Workers, spans
from .sandbox import Deadline, Sandbox, SandboxFactory

Key = tuple[object, ...]
LAYOUTS_KEPT = 64
COPY_BELOW = 1 << 20  # smaller outputs are copied, so that a caller who keeps one does not keep a whole sandbox
MAX_LIVE_VIEWS = native.POOL_MEMORIES // 2
_ERROR_TEXT_BYTES = 4096


class Dlpack:
    """The runner of one ``dlpack`` entry."""

    def __init__(
        self,
        interface: Interface,
        sandboxes: SandboxFactory,
        workers: Workers,
        *,
        resets: bool,
        explains: bool,
        joins: bool,
    ) -> None:
        self._interface = interface
        self._sandboxes = sandboxes
        self._workers = workers
        self._resets = resets
        self._explains = explains
        self.entry = interface.entry.encode()
        self._has_bytes = any(spec.dtype is BYTES for spec in interface.inputs)
        self._layouts: dict[Key, Layout] = {}
        self.hot = HotCalls([spec.name for spec in interface.inputs], joins=joins)
        sandboxes.on_give_way = weakref.WeakMethod(self.hot.clear)

    def run(
        self, inputs: Sequence[Pieces | None], rows: int | None, deadline: Deadline, borrow: bool = False
    ) -> list[np.ndarray]:
        """Run the guest on `inputs` (interface order; None for an absent optional one; pieces are joined along axis 0)
        with a batch of `rows` (None: no batch dimension).

        Returns the outputs; with `borrow` they are views that are valid until the next call.
        """
        if rows is not None and self._workers.count > 1 and rows > 1:
            return self._in_parts([None if p is None else _joined(p) for p in inputs], rows, deadline)
        return self._once(inputs, rows, deadline, borrow)

    def _in_parts(self, inputs: list[np.ndarray | None], rows: int, deadline: Deadline) -> list[np.ndarray]:
        def part(span: tuple[int, int]) -> list[np.ndarray]:
            cut = [None if a is None else [a[span[0] : span[1]]] for a in inputs]
            return self._once(cut, span[1] - span[0], deadline, False)

        parts = self._workers.each(part, spans(rows, self._workers.count))
        return [self._together(spec, [p[i] for p in parts]) for i, spec in enumerate(self._interface.outputs)]

    @staticmethod
    def _together(spec: TensorSpec, parts: list[np.ndarray]) -> np.ndarray:
        if len({part.shape[1:] for part in parts}) > 1:
            raise AbiViolation(
                f"output '{spec.name}' has another shape in each part of the batch ({[list(p.shape) for p in parts]}):"
                " set wasm.threads to 1 for a module whose output shape depends on the whole batch"
            )
        return np.concatenate(parts)

    def _once(
        self, inputs: Sequence[Pieces | None], rows: int | None, deadline: Deadline, borrow: bool
    ) -> list[np.ndarray]:
        flat = inputs
        if self._has_bytes:
            flat = [
                self._serialized(spec, p) if p is not None and spec.dtype is BYTES else p
                for spec, p in zip(self._interface.inputs, inputs)
            ]
        layout = self._layout(inputs, flat, rows)
        box = self._sandboxes.acquire(deadline, layout.total)
        try:
            outputs = self._call(box, layout, flat, rows)
        except Trap as trap:
            raise self.explained(box, trap) from None
        except BaseException:
            self._sandboxes.discard(box)
            raise
        taken = False
        if not borrow:
            small = self._sandboxes.recipe.keep or self._sandboxes.live_views() > MAX_LIVE_VIEWS
            taken = not small and any(o.nbytes >= COPY_BELOW for o in outputs)
            outputs = [o if taken and o.nbytes >= COPY_BELOW else o.copy() for o in outputs]
        self._sandboxes.release(box, taken=taken)
        if borrow:
            self._remember(box, inputs, rows)
        return outputs

    def _remember(self, box: Sandbox, inputs: Sequence[Pieces | None], rows: int | None) -> None:
        """Prepare the short way for other requests like these."""
        resets = self._resets and box.snapshot is None
        if self._has_bytes or resets or not self._sandboxes.waits(box) or any(p is None for p in inputs):
            return
        call: Call = box.mapped
        specs = self._interface.outputs

        def finish(status: int) -> list[np.ndarray]:
            if status:
                raise GuestStatus(self._explanation(box, status))
            return call.outputs(box, specs, rows)

        key = tuple((_joined_shape(p), p[0].dtype) for p in inputs if p is not None)
        self.hot.keep(key, call.hot(self, self._sandboxes, box, finish))

    def explained(self, box: Sandbox, trap: Trap) -> Trap:
        """`trap` with the text that a guest leaves, Rust's panic message for example; `box` is discarded."""
        said = self._error_text(box)
        self._sandboxes.discard(box)
        return Trap(f"{trap}\nthe guest said: {said}" if said else str(trap))

    @staticmethod
    def _serialized(spec: TensorSpec, pieces: Pieces) -> list[np.ndarray]:
        elements = (x for piece in pieces for x in piece.reshape(-1).tolist())
        return [np.frombuffer(serialize(elements, f"input '{spec.name}'"), np.uint8)]

    def _layout(self, inputs: Sequence[Pieces | None], flat: Sequence[Pieces | None], rows: int | None) -> Layout:
        key: Key = (rows, *[None if p is None else p[0].shape if len(p) == 1 else _joined_shape(p) for p in inputs])
        if self._has_bytes:
            key = (key, *[0 if f is None else f[0].size for f in flat])
        layout = self._layouts.get(key)
        return layout if layout is not None else self._new_layout(key, inputs, flat, rows)

    def _new_layout(
        self, key: Key, inputs: Sequence[Pieces | None], flat: Sequence[Pieces | None], rows: int | None
    ) -> Layout:
        slots = [
            Slot(spec.dtype, None, 0)
            if pieces is None or data is None
            else Slot(spec.dtype, _joined_shape(pieces), sum(piece.nbytes for piece in data))
            for spec, pieces, data in zip(self._interface.inputs, inputs, flat)
        ]
        if len(self._layouts) >= LAYOUTS_KEPT:
            self._layouts.clear()
        layout = dlpack_layout.build(slots, dlpack_layout.output_slots(self._interface, rows))
        self._layouts[key] = layout
        return layout

    def _call(
        self, box: Sandbox, layout: Layout, inputs: Sequence[Pieces | None], rows: int | None
    ) -> list[np.ndarray]:
        if box.used and box.snapshot is None and self._resets:
            assert box.block is not None
            box.call_u32(b"portalis_reset")
            box.block.forget()
        call = self._prepared(box, layout)
        call.write(inputs, clear=box.used and box.snapshot is not None)
        box.used = True
        status = call.run(box, box.function(self.entry))
        if status:
            raise GuestStatus(self._explanation(box, status))
        return call.outputs(box, self._interface.outputs, rows)

    def _prepared(self, box: Sandbox, layout: Layout) -> Call:
        base = box.reserve(layout.total)
        call: Call | None = box.mapped
        if call is None or call.layout is not layout or call.base != base or not call.fits(box):
            recipe = self._sandboxes.recipe
            call = box.mapped = Call(box, layout, base, self._interface.outputs, recipe.limits, recipe.terms)
        return call

    def _explanation(self, box: Sandbox, status: int) -> str:
        text = self._error_text(box)
        return f"the guest returned status {status}: {text}" if text else f"the guest returned status {status}"

    def _error_text(self, box: Sandbox) -> str:
        """What the guest says of its failure. Where it fails at that too, the first failure counts: it is never hidden
        by the second."""
        if not self._explains:
            return ""
        try:
            pointer = box.call_u32(b"portalis_error")
        except (GuestError, GuestExit) as problem:
            return f"(portalis_error failed: {str(problem).partition(chr(10))[0]})"
        text = box.view()[pointer : pointer + _ERROR_TEXT_BYTES].tobytes().partition(b"\0")[0] if pointer else b""
        return text.decode("utf-8", "backslashreplace")


def _joined(pieces: Pieces) -> np.ndarray:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _joined_shape(pieces: Pieces) -> tuple[int, ...]:
    first = pieces[0].shape
    return first if len(pieces) == 1 else (sum(piece.shape[0] for piece in pieces), *first[1:])
