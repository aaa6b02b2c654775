"""Generates the loop module of the ``elementwise`` convention: one call computes a whole chunk inside WebAssembly.

The module owns a memory. Address 0 holds a header of u32: the count, then for each parameter its pointer and stride in
bytes (0 repeats one value), then for each result its pointer. A leaf guest function is copied into the loop (see
`inline`); any other is imported and called. Measured over 1,000,000 float32 additions: called 4.5 ms, copied 0.9 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InterfaceError
from ..wasm import assembler as emit
from ..wasm.binary import FuncType
from ..wasm.inline import LeafBody

HEADER_BYTES = 256
ALIGN = 64
UNROLL = 8  # the epoch check at a loop's back edge costs 1.5 ns; eight elements share one
MAX_OPERANDS = 16


@dataclass(frozen=True)
class ElementwiseLoop:
    """The module's bytes and the memory map for chunks of up to ``capacity`` elements."""

    wasm: bytes
    imports_function: bool
    pages: int
    capacity: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def build(function: FuncType, leaf: LeafBody | None, label: str, chunk_bytes: int) -> ElementwiseLoop:
    """The loop for a guest function of numbers; errors call it `label`."""
    operands = (*function.params, *function.results)
    if not function.params or not function.results or len(operands) > MAX_OPERANDS:
        raise InterfaceError(
            f"entry '{label}' has {len(function.params)} parameters and {len(function.results)} results: an elementwise"
            f" entry needs at least one of each and at most {MAX_OPERANDS} in all"
        )
    row = sum(emit.SIZES[t] for t in operands)
    capacity = max(ALIGN, chunk_bytes // row // ALIGN * ALIGN)
    where, offsets = HEADER_BYTES, []
    for valtype in operands:
        offsets.append(where)
        where += -(-capacity * emit.SIZES[valtype] // ALIGN) * ALIGN
    pages = -(-where // 65536)
    return ElementwiseLoop(
        wasm=_module(function, leaf, pages),
        imports_function=leaf is None,
        pages=pages,
        capacity=capacity,
        inputs=tuple(offsets[: len(function.params)]),
        outputs=tuple(offsets[len(function.params) :]),
    )


def _module(function: FuncType, leaf: LeafBody | None, pages: int) -> bytes:
    types = [
        emit.func_type(function.params, function.results),
        emit.func_type((), ()),
        emit.func_type((), function.results),
    ]
    imports = emit.section(2, emit.vector([emit.name("guest") + emit.name("f") + b"\0\0"])) if leaf is None else b""
    run = 1 if leaf is None else 0
    return emit.module(
        emit.section(1, emit.vector(types)),
        imports,
        emit.section(3, emit.vector([b"\x01"])),
        emit.section(5, emit.vector([b"\x01" + emit.unsigned(pages) + emit.unsigned(pages)])),
        emit.section(7, emit.vector([emit.name("memory") + b"\x02\0", emit.name("run") + b"\0" + emit.unsigned(run)])),
        emit.section(10, emit.vector([_run(function, leaf)])),
        emit.name_section("elementwise loop", {run: "inlined entry" if leaf else "loop"}),
    )


def _run(function: FuncType, leaf: LeafBody | None) -> bytes:
    # Locals: the guest's parameters and locals first, with the guest's own numbers, so that its code fits as it is.
    guest_locals = leaf.locals if leaf else ()
    first = len(function.params) + len(guest_locals)
    results = range(first, first + len(function.results))
    pointers = range(results.stop, results.stop + len(function.params))
    strides = range(pointers.stop, pointers.stop + len(function.params))
    targets = range(strides.stop, strides.stop + len(function.results))
    count, blocks = targets.stop, targets.stop + 1
    locals_ = (*function.params, *guest_locals, *function.results, *["i32"] * (2 * len(pointers) + len(targets) + 2))

    def one(offset: int) -> bytes:
        return _one(function, leaf, results, pointers, strides, targets, offset)

    code = _read_header(count, pointers, strides, targets)
    code += emit.get(count) + emit.i32(UNROLL.bit_length() - 1) + bytes([emit.I32_SHR_U]) + emit.put(blocks)
    code += emit.repeat(blocks, b"".join(one(i) for i in range(UNROLL)) + _advance(function, targets, UNROLL))
    code += emit.get(count) + emit.i32(UNROLL - 1) + bytes([emit.I32_AND]) + emit.put(count)
    code += emit.repeat(count, one(0) + _advance(function, targets, 1))
    return emit.function(locals_, code)


def _read_header(count: int, pointers: range, strides: range, targets: range) -> bytes:
    order = [count] + [local for pair in zip(pointers, strides) for local in pair] + list(targets)
    return b"".join(emit.i32(0) + emit.load("i32", 4 * i) + emit.put(local) for i, local in enumerate(order))


def _one(
    function: FuncType,
    leaf: LeafBody | None,
    results: range,
    pointers: range,
    strides: range,
    targets: range,
    offset: int,
) -> bytes:
    code = b""
    for i, valtype in enumerate(function.params):
        code += emit.get(pointers[i]) + emit.load(valtype) + (emit.put(i) if leaf else b"")
        code += emit.add(pointers[i], emit.get(strides[i]))
    if leaf:
        for i, valtype in enumerate(leaf.locals):  # a function's locals are zero at each call
            code += emit.ZERO[valtype] + emit.put(len(function.params) + i)
        single = len(function.results) == 1
        block_type = bytes([emit.VALTYPES[function.results[0]]]) if single else emit.signed(2)
        code += bytes([emit.BLOCK]) + block_type + leaf.code
    else:
        code += bytes([emit.CALL, 0])
    for local in reversed(results):
        code += emit.put(local)
    for i, valtype in enumerate(function.results):
        code += emit.get(targets[i]) + emit.get(results[i]) + emit.store(valtype, offset * emit.SIZES[valtype])
    return code


def _advance(function: FuncType, targets: range, elements: int) -> bytes:
    return b"".join(
        emit.add(target, emit.i32(elements * emit.SIZES[valtype])) for target, valtype in zip(targets, function.results)
    )
