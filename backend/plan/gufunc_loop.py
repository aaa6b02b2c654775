"""Generates the loop module of the ``gufunc`` convention: it calls the guest's kernel once per batch item, stepping the
pointers by strides, inside WebAssembly.

``run(count, p0, s0, p1, s1, …, d0, …) -> i32``: a pointer and a stride in bytes for each tensor (arguments first, then
returned scalars), then each core dimension's size. It returns the kernel's first non-zero status, else 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..interface.dtypes import DType
from ..interface.gufunc import Kernel
from ..wasm import assembler as emit
from .numbers import Numbers


def build(kernel: Kernel, returned: Sequence[DType] = ()) -> bytes:
    """The loop module for `kernel`, whose returned scalars are elements of `returned`. It imports the function
    ``guest.f`` and the memory ``guest.memory``."""
    numbers = Numbers(returned, 2)
    run_type = emit.func_type(["i32"] * kernel.parameters, ["i32"])
    types = [emit.func_type(kernel.type.params, kernel.type.results), run_type, *(k for _, k, _ in numbers.functions)]
    kinds = [b"\x01", *(emit.unsigned(2 + i) for i in range(len(numbers.functions)))]
    function = emit.name("guest") + emit.name("f") + b"\0\0"
    memory = emit.name("guest") + emit.name("memory") + b"\x02\0\0"
    names = {1: "loop"} | {2 + i: name for i, (name, _, _) in enumerate(numbers.functions)}
    return emit.module(
        emit.section(1, emit.vector(types)),
        emit.section(2, emit.vector([function, memory])),
        emit.section(3, emit.vector(kinds)),
        emit.section(7, emit.vector([emit.name("run") + b"\0\x01"])),
        emit.section(10, emit.vector([_run(kernel, returned, numbers), *(code for _, _, code in numbers.functions)])),
        emit.name_section("gufunc loop", names),
    )


def _run(kernel: Kernel, returned: Sequence[DType], numbers: Numbers) -> bytes:
    tensors = kernel.pointers + kernel.returned
    first_dimension, result = 1 + 2 * tensors, kernel.parameters
    body = b"".join(_argument(kernel, i, first_dimension) for i in range(len(kernel.arguments)))
    body += bytes([emit.CALL, 0])
    if kernel.status:
        # leave the loop with the first failure
        body += emit.tee(result) + bytes([emit.IF, emit.EMPTY]) + emit.get(result) + bytes([emit.RETURN, emit.END])
    else:
        body += _store_results(kernel, result, returned, numbers)
    for tensor in range(tensors):
        body += emit.add(1 + 2 * tensor, emit.get(2 + 2 * tensor))
    locals_: Sequence[str] = ["i32"] if kernel.status else kernel.type.results
    return emit.function(locals_, emit.repeat(0, body) + emit.i32(0))


def _argument(kernel: Kernel, position: int, first_dimension: int) -> bytes:
    kind, value = kernel.arguments[position]
    valtype = kernel.type.params[position]
    if kind == "pointer":
        return emit.get(1 + 2 * int(value))
    if kind == "dimension":
        extend = b"\xad" if valtype == "i64" else b""  # i64.extend_i32_u
        return emit.get(first_dimension + int(value)) + extend
    return emit.constant(valtype, value)


def _store_results(kernel: Kernel, first_local: int, returned: Sequence[DType], numbers: Numbers) -> bytes:
    types = kernel.type.results
    code = b"".join(emit.put(first_local + i) for i in reversed(range(len(types))))
    for i, (valtype, dtype) in enumerate(zip(types, returned)):
        pointer = 1 + 2 * (kernel.pointers + i)
        code += emit.get(pointer) + emit.get(first_local + i) + numbers.store(dtype, valtype)
    return code
