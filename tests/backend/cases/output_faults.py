"""Faults in the description of an output by a dlpack guest: address, type, shape, strides, elements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from portalis.backend.errors import AbiViolation, GuestError, WasmError
from portalis.backend.interface.dtypes import DTYPES
from tests.backend.cases import harm
from tests.backend.cases.case import Failure
from tests.backend.cases.fault import EVERY, NUMBERS, Fault, Made, answer, of_entry, request
from tests.backend.guests import tensor

SHAPE, STRIDES, DATA = 1024, 1280, 2048  # where guests keep what they return
PAGE = 65536


@dataclass(frozen=True)
class Lie:
    """A guest's invalid description of y: fields of the struct (DLTensor, by their offset), and sizes of the shape
    after the batch dimension. `text` is a format with the data type and the batch dimension."""

    text: str
    fields: tuple[tuple[int, int], ...] = ()
    sizes: tuple[int, ...] = (2,)
    rows: int = 1
    dims: tuple[int, ...] = (-1,)
    more: str = ""
    data: str = ""
    kind: type[WasmError] = AbiViolation
    limits: tuple[tuple[str, Any], ...] = ()
    logical: tuple[int, ...] | None = None  # of BYTES

    def __call__(self, convention: str, dtype: str, batch: int, isolation: str) -> Made:
        """The row."""
        sizes = (self.rows, *self.sizes) if batch else self.sizes
        stores = "".join(f"(i64.store (i32.const {SHAPE + 8 * i}) (i64.const {size}))" for i, size in enumerate(sizes))
        fields = {0: "(local.get $p)", 12: f"(i32.const {len(sizes)})", 20: f"(i32.const {SHAPE})"}
        if dtype == "BYTES" and 20 not in dict(self.fields):
            fields[24] = "(i32.const 0)"
        logical = None if self.logical is None else ((1, *self.logical) if batch else self.logical)
        if logical is not None:
            message = (len(logical), *logical)
            stores += "".join(
                f"(i64.store (i32.const {STRIDES + 8 * i}) (i64.const {n}))" for i, n in enumerate(message)
            )
        fields |= {at: f"(i32.const {value})" for at, value in self.fields}
        writes = "".join(
            f"({_STORE.get(at, 'i32.store')} offset={at} (local.get $out) {code})" for at, code in fields.items()
        )
        found = DTYPES[dtype]
        module = harm.dlpack(
            dtype,
            f"{stores} {writes} {self.more} (return (i32.const 0))",
            batch=batch,
            more=self.data,
            output=tensor("y", dtype, self.dims),
            dims=(-1,) * len(self.dims),
        )
        good, bad = (request(convention, dtype, batch, bad=bad) for bad in (False, True))
        if self.dims != (-1,):
            shape = (1,) * (len(self.dims) + (batch > 0))
            good, bad = ({"x": each["x"][..., :1].reshape(shape)} for each in (good, bad))
        wanted = [1, *self.dims] if batch else list(self.dims)
        text = "output 'y' " + self.text.format(
            shape=list(sizes),
            wanted=wanted,
            batch=" (the first is the batch of 1)" if batch else "",
            bytes=found.itemsize * max(_product(sizes), 0),
            dtype=dtype,
            code=found.code,
            bits=found.bits,
            strides=[9, 9] if batch else [9],
            logical=list(logical or ()),
            rank=len(logical or ()),
        )
        return Made(
            module,
            bad,
            Failure(self.kind, of_entry(convention, text)),
            good,
            answer(convention, good),
            limits=dict(self.limits),
        )


_STORE = {16: "i32.store8", 17: "i32.store8", 18: "i32.store16"}


def _product(sizes: tuple[int, ...]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result


def faults() -> Iterator[Fault]:
    """All of them."""
    for name, lie in _PLACES.items():
        yield Fault(name, lie, ("dlpack",), EVERY if name == "pointer outside" else NUMBERS[-4:])
    for name, lie in _TYPES.items():
        yield Fault(name, lie, ("dlpack",), ("BOOL", "INT64", "FP16", "BF16"))
    for name, lie in _SHAPES.items():
        yield Fault(name, lie, ("dlpack",), ("UINT8", "INT16", "FP64"))
    for name, lie in _STRIDED.items():
        yield Fault(name, lie, ("dlpack",), ("UINT16", "FP32"))
    for name, lie in _SERIALISED.items():
        yield Fault(name, lie, ("dlpack",), ("BYTES",))


OUTSIDE = "points outside the guest's memory: {bytes} bytes at "
_PLACES = {
    "pointer outside": Lie(OUTSIDE + "0x7ffffff0, memory is 65536 bytes", ((0, 0x7FFFFFF0),), (24,)),
    "pointer at the end": Lie(OUTSIDE + "0xffff, memory is 65536 bytes", ((0, 0xFFFF),)),
    "offset that wraps": Lie(OUTSIDE + "0x1000000000000000f, memory is 65536 bytes", ((0, 16), (32, -1), (36, -1))),
    "offset of half the space": Lie(OUTSIDE + "0x8000000000000010, memory is 65536 bytes", ((0, 16), (36, -(1 << 31)))),
    "shape outside": Lie("has its shape at 0xfffffff0, outside the guest's memory of 65536 bytes", ((20, -16),)),
    "not set": Lie("was not set by the guest (its ndim is still -1)", ((12, -1),)),
    "negative rank": Lie("was not set by the guest (its ndim is still -7)", ((12, -7),)),
    "rank 99": Lie("has rank 99; at most 8 is allowed", ((12, 99),)),
    "rank 9": Lie("has rank 9; at most 8 is allowed", ((12, 9),)),
}
_TYPES = {
    "device": Lie("is on device type 2, not 1 (kDLCPU)", ((4, 2),)),
    "code": Lie(
        "has DLPack type code 5, {bits} bits, 1 lanes; {dtype} is code {code}, {bits} bits, 1 lane", ((16, 5),)
    ),
    "bits": Lie(
        "has DLPack type code {code}, 4 bits, 1 lanes; {dtype} is code {code}, {bits} bits, 1 lane", ((17, 4),)
    ),
    "lanes": Lie(
        "has DLPack type code {code}, {bits} bits, 3 lanes; {dtype} is code {code}, {bits} bits, 1 lane", ((18, 3),)
    ),
}
INTERFACE = "has shape {shape}; the interface says {wanted}{batch}"
_SHAPES = {
    "negative size": Lie("has a negative size in its shape {shape}", sizes=(-5,)),
    "size that overflows": Lie(
        "points outside the guest's memory: 2^63 or more bytes at 0x10, memory is 65536 bytes",
        ((0, 16),),
        (1 << 62, 4),
        dims=(-1, -1),
    ),
    "nothing times huge": Lie("has shape {shape}, which is too large", ((0, 16),), (0, 1 << 62), dims=(-1, -1)),
    "another size": Lie(INTERFACE, ((0, 16),), (2,), dims=(1,)),
    "another rank": Lie(INTERFACE, ((0, 16),), (1, 1), dims=(1,)),
    "other rows": Lie(INTERFACE, ((0, 16),), (2, 2), rows=3),
}
_STRIDED = {
    "strides outside": Lie("has its strides at 0x10000, outside the guest's memory of 65536 bytes", ((24, 65536),)),
    "strides of columns": Lie(
        "has strides {strides}; only row-major tensors are allowed",
        ((24, STRIDES),),
        more="".join(f"(i64.store (i32.const {STRIDES + 8 * i}) (i64.const 9))" for i in range(3)),
    ),
}


def _vector(text: str, data: bytes, *logical: int, **more: Any) -> Lie:
    """BYTES with `data`, and a logical shape after the batch dimension if one is passed."""
    fields = ((0, DATA), (12, 1), (20, SHAPE), (24, STRIDES if logical else 0))
    size = f"(i64.store (i32.const {SHAPE}) (i64.const {len(data)}))"
    return Lie(text, fields, more=size, data=harm.text_at(DATA, data), logical=logical or None, **more)


_SERIALISED = {
    "BYTES of rank 2": Lie(
        "is BYTES, so it must be a vector of bytes, not of rank 2",
        ((0, DATA), (12, 2), (20, SHAPE), (24, 0)),
        (0, 0, 0),
    ),
    "too short for a length": _vector(
        "is not serialized BYTES: 3 bytes are left at 5, too few for a length", b"\1\0\0\0a\0\0\0"
    ),
    "length outside": _vector(
        "is not serialized BYTES: the element at 0 has 4294967295 bytes, but only 1 are left", b"\xff\xff\xff\xffa"
    ),
    "fewer elements": _vector("has 1 elements, but its shape is {logical}", b"\1\0\0\0a", 1, 2, dims=(-1, -1)),
    "more elements": _vector(
        "has more than 1 elements, but its shape is {logical}", b"\0\0\0\0\0\0\0\0", 1, 1, dims=(-1, -1)
    ),
    "logical rank 9": _vector("has rank {rank}; at most 8 is allowed", b"\0\0\0\0", *[1] * 9),
    "negative logical size": _vector("has a negative size in its shape {logical}", b"\0\0\0\0", -1),
    "too many elements": _vector(
        "has more than 3 elements, its limit (raise wasm.max_bytes_elements, or send smaller batches)",
        bytes(24),
        kind=GuestError,
        limits=(("max_bytes_elements", 3),),
    ),
}
