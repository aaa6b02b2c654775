"""Generated loops: the addresses of their chunks, the entries that they reject, and valid modules for all kernels."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from portalis.backend import InterfaceError
from portalis.backend.constants import ALIGN, MAX_OPERANDS
from portalis.backend.interface.dtypes import DTYPES, DType
from portalis.backend.interface.gufunc import Argument, Kernel
from portalis.backend.plan import elementwise_loop, gufunc_loop
from portalis.backend.plan.elementwise_loop import CHUNK_BYTES, HEADER_BYTES
from portalis.backend.wasm.binary import FuncType, read_module
from portalis.backend.wasm.inline import leaf_body

NUMBERS = [dtype for dtype in DTYPES.values() if dtype.wasm]


@given(st.lists(st.sampled_from(NUMBERS), min_size=2, max_size=MAX_OPERANDS), st.integers(1, 1 << 20))
def test_chunks_follow_the_header_are_aligned_and_do_not_overlap(dtypes: list[DType], chunk: int) -> None:
    kinds = [dtype.wasm for dtype in dtypes]
    lowered = elementwise_loop.build_elementwise_loop(
        FuncType(tuple(kinds[:-1]), (kinds[-1],)), dtypes, None, "f", chunk
    )
    assert lowered.loop is not None
    assert lowered.capacity >= ALIGN and lowered.capacity % ALIGN == 0
    ends = [at + lowered.capacity * dtype.itemsize for at, dtype in zip(lowered.positions, dtypes)]
    assert all(at % ALIGN == 0 and at >= HEADER_BYTES for at in lowered.positions)
    assert all(end <= following for end, following in zip(ends, [*lowered.positions[1:], lowered.end]))
    assert sum(lowered.capacity * dtype.itemsize for dtype in dtypes) <= max(chunk, ALIGN * 8 * len(dtypes))
    info = read_module(lowered.loop.wasm)
    (memory,) = info.memories
    assert memory.minimum * 65536 >= lowered.end
    assert 4 * (1 + 3 * MAX_OPERANDS) <= HEADER_BYTES


@pytest.mark.parametrize(
    ("parameters", "results"), [(0, 1), (1, 0), (MAX_OPERANDS, 1), (1, MAX_OPERANDS), (MAX_OPERANDS + 1, 0)]
)
def test_too_many_or_too_few_operands_are_rejected_with_the_bound(parameters: int, results: int) -> None:
    function = FuncType(("f32",) * parameters, ("f32",) * results)
    with pytest.raises(InterfaceError) as caught:
        elementwise_loop.build_elementwise_loop(function, [DTYPES["FP32"]] * (parameters + results), None, "f")
    assert str(caught.value) == (
        f"entry 'f' has {parameters} parameters and {results} results: an elementwise entry needs at least one of each"
        f" and at most {MAX_OPERANDS} in total"
    )


def test_the_most_operands_of_the_widest_type_make_a_loop_that_runs() -> None:
    kinds = ("f64",) * (MAX_OPERANDS - 1)
    added = "".join(f"(local.get {i})" + ("f64.add" if i else "") for i in range(len(kinds)))
    text = f'(module (func (export "f") {"(param f64)" * len(kinds)} (result f64) {added}))'
    lowered = elementwise_loop.build_elementwise_loop(
        FuncType(kinds, ("f64",)), [DTYPES["FP64"]] * MAX_OPERANDS, None, "f"
    )
    assert lowered.loop is not None
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    guest = wasmtime.Instance(store, wasmtime.Module(engine, text), []).exports(store)["f"]
    exports = wasmtime.Instance(store, wasmtime.Module(engine, lowered.loop.wasm), [guest]).exports(store)
    memory, run = exports["memory"], exports["run"]
    assert isinstance(memory, wasmtime.Memory) and isinstance(run, wasmtime.Func)
    pairs = [number for at in lowered.positions[:-1] for number in (at, 8)]
    memory.write(store, struct.pack(f"<{2 + len(pairs)}I", 19, *pairs, lowered.positions[-1]), 0)
    for i, at in enumerate(lowered.positions[:-1]):
        memory.write(store, (np.arange(19, dtype=np.float64) * (i + 1)).tobytes(), at)
    run(store)
    found = np.frombuffer(bytes(memory.read(store, lowered.positions[-1], lowered.positions[-1] + 8 * 19)), np.float64)
    assert found.tolist() == [i * sum(range(1, MAX_OPERANDS)) for i in range(19)]
    assert CHUNK_BYTES // (8 * MAX_OPERANDS) >= lowered.capacity > 0


ARGUMENTS: list[tuple[tuple[str, ...], list[Argument]]] = [
    (("i32", "i32", "i32"), [("pointer", 0), ("pointer", 1), ("dimension", 0)]),
    (("i64", "i32", "i32"), [("dimension", 0), ("pointer", 1), ("pointer", 0)]),
    (
        ("i32", "f32", "i32", "f64", "i64", "i32"),
        [
            ("pointer", 0),
            ("constant", 2.5),
            ("pointer", 1),
            ("constant", -1),
            ("constant", -(1 << 63)),
            ("dimension", 1),
        ],
    ),
    (("i32", "i32"), [("pointer", 1), ("pointer", 0)]),
]


@pytest.mark.parametrize("returned", [0, 1, 3])
@pytest.mark.parametrize("status", [False, True])
@pytest.mark.parametrize(("parameters", "arguments"), ARGUMENTS)
def test_each_kernel_has_a_valid_loop_of_the_type_that_the_bridge_calls(
    parameters: tuple[str, ...], arguments: list[Argument], status: bool, returned: int
) -> None:
    if status and returned:
        return  # a kernel returns its status, or outputs
    results = ("i32",) if status else ("f32", "f64", "i64")[:returned]
    dimensions = sum(kind == "dimension" for kind, _ in arguments)
    kernel = Kernel(FuncType(parameters, results), tuple(arguments), 2, returned, max(dimensions, 2), status)
    for dtype in NUMBERS:
        wasm = gufunc_loop.build_gufunc_loop(kernel, [dtype] * returned, "entry").wasm
        wasmtime.Module.validate(wasmtime.Engine(), wasm)
        info = read_module(wasm)
        export = info.export("run")
        assert export is not None
        assert export.type == FuncType(("i32",) * kernel.parameters, ("i32",))
        assert [item.name for item in info.imports] == ["f", "memory"]


@pytest.mark.parametrize(
    ("source", "valtype", "target", "converting"),
    [
        ("FP32", "f32", "FP32", []),
        ("FP16", "f32", "FP32", ["half_to_float"]),
        ("FP16", "f32", "FP16", ["half_to_float", "float_to_half"]),
        ("BF16", "f32", "BF16", ["float_to_bfloat"]),
        ("FP64", "f64", "FP16", ["double_to_float", "float_to_half"]),
    ],
)
def test_a_conversion_is_in_a_loop_once_and_only_where_it_is_needed(
    source: str, valtype: str, target: str, converting: list[str]
) -> None:
    function = FuncType((valtype,), (valtype,))
    identity = f'(module (func (export "f") (param {valtype}) (result {valtype}) (local.get 0)))'
    for leaf in (None, leaf_body(read_module(bytes(wasmtime.wat2wasm(identity))), 0)):
        loop = elementwise_loop.build_elementwise_loop(function, [DTYPES[source], DTYPES[target]], leaf, "f").loop
        assert loop is not None
        wasmtime.Module.validate(wasmtime.Engine(), loop.wasm)
        names = dict(read_module(loop.wasm).named_functions())
        assert [names[i] for i in sorted(names) if i >= len(loop.links)] == [
            *converting,
            "inlined entry" if leaf else "loop",
        ]
