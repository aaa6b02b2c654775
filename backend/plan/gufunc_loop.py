"""Generates the loop module of the ``gufunc`` convention.

It calls the guest's kernel once per batch item, in WebAssembly, and advances the pointers by strides.

``run(count, p0, s0, p1, s1, …, d0, …) -> i32``: a pointer and a stride in bytes for each tensor (arguments first, then
returned scalars), then each core dimension's size. It returns the kernel's first non-zero status, else 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..interface.dtypes import DType
from ..interface.gufunc import Kernel
from ..wasm import assembler as emit
from .buffers import i32_function
from .numbers import Numbers
from .plan_modules import FUNCTION, MEMORY, Link, ModuleBuilder, PlanModule

_EXTEND = b"\xad"  # i64.extend_i32_u


def build_gufunc_loop(kernel: Kernel, returned: Sequence[DType], entry: str) -> PlanModule:
    """The loop module for `kernel`, the guest's `entry`; its returned scalars are elements of `returned`."""
    module = ModuleBuilder()
    call = module.import_function(Link(0, entry), kernel.type, "f")
    module.add_import(Link(0, "memory"), MEMORY, b"\0\0")
    result = kernel.parameters  # the first local
    body = kernel_arguments(kernel, emit.get) + call
    if kernel.status:
        # return the first failure
        body += emit.tee(result) + bytes([emit.IF, emit.EMPTY]) + emit.get(result) + bytes([emit.RETURN, emit.END])
    else:
        body += _store_results(kernel, result, returned, Numbers(module))
    for tensor in range(kernel.pointers + kernel.returned):
        body += emit.add(1 + 2 * tensor, emit.get(2 + 2 * tensor))
    code = emit.repeat(0, body) + emit.i32(0)
    run = module.add_function(i32_function(kernel.parameters, 1), kernel.type.results, code, "loop")
    module.add_export("run", FUNCTION, run)
    return module.build("gufunc loop")


def kernel_arguments(kernel: Kernel, number: Callable[[int], bytes]) -> bytes:
    """Code for the arguments of `kernel`; `number` returns the code for an argument of `run`."""
    sizes, code = 1 + 2 * (kernel.pointers + kernel.returned), b""
    for (kind, value), valtype in zip(kernel.arguments, kernel.type.params):
        if kind == "constant":
            code += emit.constant(valtype, value)
        elif kind == "pointer":
            code += number(1 + 2 * int(value))
        else:  # the batch size follows the core dimensions
            place = 0 if value == kernel.dimensions else sizes + int(value)
            code += number(place) + (_EXTEND if valtype == "i64" else b"")
    return code


def _store_results(kernel: Kernel, first_local: int, returned: Sequence[DType], numbers: Numbers) -> bytes:
    types = kernel.type.results
    code = b"".join(emit.put(first_local + i) for i in reversed(range(len(types))))
    for i, (valtype, dtype) in enumerate(zip(types, returned)):
        pointer = 1 + 2 * (kernel.pointers + i)
        code += emit.get(pointer) + emit.get(first_local + i) + numbers.store(dtype, valtype)
    return code
