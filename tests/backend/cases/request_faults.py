"""Faults of a request: shapes, ranks and sizes that do not fit the interface."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from portalis.backend.errors import GuestError, InputError, WasmError
from portalis.backend.interface.dtypes import DTYPES
from tests.backend import guests
from tests.backend.cases import harm, kernels
from tests.backend.cases.case import Failure
from tests.backend.cases.fault import EVERY, NUMBERS, Fault, Made, answer, of_entry, request
from tests.backend.guests import tensor

FIXED = (2, 3)  # dims of the interface
EXACT = ("dlpack", "command")
LOOPED = ("elementwise", "gufunc")


def faults() -> Iterator[Fault]:
    """All of them."""
    yield Fault("wrong size", _wrong_size, dtypes=EVERY)
    yield Fault("wrong rank", _wrong_rank)
    yield Fault("rank nine", _rank_nine)
    yield Fault("shapes that do not broadcast", _not_broadcast, LOOPED, ("FP32",))
    yield Fault("core dimensions that differ", _cores_differ, ("gufunc",), ("FP32",))
    yield Fault("outputs that are too large", _too_large, dtypes=("FP32", "BYTES"))
    yield Fault("a batch that is too large", _batch_too_large, EXACT)
    yield Fault("batches that differ", _batches_differ, ("dlpack",))
    yield Fault("several at once", _several, ("dlpack",))


def echo(convention: str, dtype: str, dims: tuple[int, ...], batch: int) -> bytes:
    """A guest that returns its single input, for tensors with these dims."""
    if convention == "command":
        return kernels.command(batch)
    described: dict[str, Any] = {"max_batch_size": batch, "convention": convention, "entry": "echo"}
    described |= {"inputs": [tensor("x", dtype, dims)], "outputs": [tensor("y", dtype, dims)]}
    if convention == "elementwise":
        kind = DTYPES[dtype].wasm
        return guests.wasm(
            f'(module (func (export "echo") (param $x {kind}) (result {kind}) (local.get $x)))', described
        )
    if convention == "gufunc":
        cores = dims if -1 not in dims else ()
        core, size = ",".join(map(str, cores)), int(np.prod(cores)) * DTYPES[dtype].itemsize
        text = f"""(module (memory (export "memory") 1) (func (export "echo") (param $x i32) (param $y i32)
          (memory.copy (local.get $y) (local.get $x) (i32.const {size}))))"""
        return guests.wasm(text, {**described, "signature": f"({core})->({core})"})
    body = guests.ECHO_BODY
    if dtype == "BYTES":
        body = f"(i32.store offset=24 (local.get $out) (i32.load offset=24 (local.get $in))) {body}"
    outputs = [tensor("y", dtype, dims)]
    return guests.dlpack(body, inputs=[tensor("x", dtype, dims)], outputs=outputs, batch=batch)


@dataclass(frozen=True)
class _Echo:
    """A row of `echo`, whose good request has its dims."""

    convention: str
    dtype: str
    batch: int
    dims: tuple[int, ...] = FIXED
    limits: dict[str, Any] = field(default_factory=dict)

    def made(self, bad: tuple[int, ...], text: str, kind: type[WasmError] = InputError, *, by_triton: bool) -> Made:
        """The row: a request of the shape `bad` is wrong, as `text` says."""
        if self.convention == "command":
            good = request("command", "BYTES", self.batch, bad=False)
            wrong = {"stdin": harm.tensor_of("BYTES", bad, bad=False)}
            right = {"stdout": good["stdin"], "stderr": np.full(good["stdin"].shape, b"!", object)}
            right["exit_code"] = np.zeros(good["stdin"].shape, np.int32)
            return Made(kernels.command(self.batch), wrong, Failure(kind, text, by_triton), good, right, False)
        module = echo(self.convention, self.dtype, self.dims, self.batch)
        shape = tuple(3 if size < 0 else size for size in self.dims)
        good = {"x": harm.tensor_of(self.dtype, (1, *shape) if self.batch else shape, bad=False)}
        wrong = {"x": harm.tensor_of(self.dtype, bad, bad=False)}
        any_dims = (-1,) * len(self.dims)
        dims = {} if by_triton else {"x": any_dims, "y": any_dims}
        failure = Failure(kind, text, by_triton)
        return Made(module, wrong, failure, good, answer(self.convention, good), False, (), self.limits, dims)

    @property
    def name(self) -> str:
        """The name of the input."""
        return "stdin" if self.convention == "command" else "x"

    @property
    def after(self) -> str:
        """The part of the message about the batch dimension."""
        return " after the batch dimension" if self.batch and self.convention in EXACT else ""


def _wrong_size(convention: str, dtype: str, batch: int, isolation: str) -> Made:
    row = _Echo(convention, dtype, batch)
    lead = (1,) if batch else ()
    if convention == "command":
        text = f"input 'stdin' has shape {[*lead, 2]}; it must be [1]{row.after}"
        return row.made((*lead, 2), text, by_triton=True)
    if convention == "gufunc":
        text = "input 0 has size 4 for core dimension '3', but it must be 3 (signature (2,3)->(2,3))"
    else:
        text = f"input 'x' has shape {[*lead, 2, 4]}; it must be [2, 3]{row.after}"
    return row.made((*lead, 2, 4), text, by_triton=False)


def _wrong_rank(convention: str, dtype: str, batch: int, isolation: str) -> Made:
    row = _Echo(convention, dtype, batch)
    if convention == "command":
        shape: tuple[int, ...] = (1, 1, 1) if batch else (1, 1)
        text = f"input 'stdin' has shape {list(shape)}; it must be [1]{row.after}"
    elif convention == "gufunc":
        shape, text = (3,), "input 0 has shape [3], but signature (2,3)->(2,3) requires at least 2 dimensions"
    else:
        shape = (3,)
        text = f"input 'x' has shape [3]; it must be [2, 3]{row.after}"
    return row.made(shape, text, by_triton=True)


def _rank_nine(convention: str, dtype: str, batch: int, isolation: str) -> Made:
    row = _Echo(convention, dtype, batch)
    text = f"input '{row.name}' has rank 9; at most 8 is allowed"
    return row.made((1,) * 7 + FIXED, text, by_triton=True)


def _not_broadcast(convention: str, dtype: str, batch: int, isolation: str) -> Made:
    dims = (-1, -1)
    lead = (1,) if batch else ()
    good = {name: harm.tensor_of(dtype, (*lead, 2, 3), bad=False) for name in "xw"}
    bad = {**good, "w": harm.tensor_of(dtype, (*lead, 4, 3), bad=False)}
    if convention == "elementwise":
        module = kernels.adder(dtype, dims, batch, two=False)
        text = f"the inputs' shapes do not broadcast together: 'x' {[*lead, 2, 3]}, 'w' {[*lead, 4, 3]}"
        y = np.full((*lead, 2, 3), 2, np.float32)
    else:
        module = kernels.gufunc(dtype, dims, batch, 1)
        text = f"the inputs' loop dimensions do not broadcast together: {[*lead, 2]}, {[*lead, 4]} (signature (m),(m)->(m))"
        y = np.zeros((*lead, 2, 3), np.float32)
    return Made(module, bad, Failure(InputError, text), good, {"y": y}, joins=False)


def _cores_differ(convention: str, dtype: str, batch: int, isolation: str) -> Made:
    made = _not_broadcast("gufunc", dtype, batch, isolation)
    bad = {**made.bad, "w": made.bad["w"][..., :2]}
    text = "input 1 has size 2 for core dimension 'm', but it must be 3 (signature (m),(m)->(m))"
    return replace(made, bad=bad, failure=Failure(InputError, text))


def _too_large(convention: str, dtype: str, batch: int, isolation: str) -> Made:
    limits = {"max_tensor_bytes": 4000}
    row = _Echo(convention, dtype, batch, (-1,), limits)
    advice = "raise wasm.max_tensor_bytes, or send {}"
    rows = (4,) if batch else ()
    if convention == "command":
        made = row.made((*rows, 1), "", GuestError, by_triton=False)
        words = harm.tensor_of("BYTES", (*rows, 1), bad=False)
        words[:] = bytes(1000 if batch else 4001)
        text = f"the rows wrote more than 4000 bytes in total ({advice.format('fewer rows')})"
        failure = Failure(GuestError, of_entry(convention, text))
        return replace(made, bad={"stdin": words}, failure=failure, limits=limits)
    shape = (*rows, 500 if batch else 1001)
    size = int(np.prod(shape)) * 4
    text = f"the inputs' shapes make arrays of {size} bytes, more than the limit of 4000 ({advice.format('smaller batches')})"
    kind: type[WasmError] = InputError
    if convention == "dlpack":
        size *= 2 if dtype == "BYTES" else 1  # four bytes each, and their number before them
        text = of_entry(
            convention,
            f"the outputs have {size} bytes, more than the limit of 4000 ({advice.format('smaller batches')})",
        )
        kind = GuestError
    return row.made(shape, text, kind, by_triton=False)


def _batch_too_large(convention: str, dtype: str, batch: int, isolation: str) -> Made:
    row = _Echo(convention, dtype, batch)
    if not batch:
        return _wrong_size(convention, dtype, batch, isolation)
    dims = (1,) if convention == "command" else FIXED
    return row.made((9, *dims), "the batch of 9 is larger than the maximum of 8", by_triton=True)


def _two(dtype: str, batch: int, x: tuple[int, ...], w: tuple[int, ...], text: str, *, by_triton: bool) -> Made:
    module = kernels.dlpack(dtype, FIXED, batch)
    lead = (1,) if batch else ()
    good = {"x": harm.tensor_of(dtype, (*lead, *FIXED), bad=False)}
    bad = {"x": harm.tensor_of(dtype, x, bad=False), "w": harm.tensor_of(dtype, w, bad=False)}
    dims = {} if by_triton else dict.fromkeys("xwy", (-1, -1))
    return Made(module, bad, Failure(InputError, text, by_triton), good, {"y": good["x"]}, joins=False, dims=dims)


def _batches_differ(convention: str, dtype: str, batch: int, isolation: str) -> Made:
    if not batch:
        return _wrong_size(convention, dtype, batch, isolation)
    text = "the inputs have different batch sizes: 'x' 1, 'w' 9; the batch of 1 is larger than the maximum of 8"
    text = "the inputs have different batch sizes: 'x' 1, 'w' 2"
    return _two(dtype, batch, (1, *FIXED), (2, *FIXED), text, by_triton=True)


def _several(convention: str, dtype: str, batch: int, isolation: str) -> Made:
    lead, after = ((1,), " after the batch dimension") if batch else ((), "")
    shape = [*lead, 2, 4]
    text = (
        f"input 'x' has shape {shape}; it must be [2, 3]{after}; input 'w' has shape {shape}; it must be [2, 3]{after}"
    )
    return _two(dtype, batch, (*lead, 2, 4), (*lead, 2, 4), text, by_triton=False)


__all__ = ["NUMBERS", "faults"]
