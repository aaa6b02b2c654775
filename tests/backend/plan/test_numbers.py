"""Generated loops read and write every data type as NumPy does: each element of each type, and what has to be rounded,
cut or wrapped on its way from one of WebAssembly's number types to another."""

from __future__ import annotations

import itertools
import math
import struct

import numpy as np
import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from portalis.backend import Program
from portalis.backend.interface.dtypes import DTYPES, DType, bf16_to_f32, f32_to_bf16
from portalis.backend.plan import elementwise_loop
from portalis.backend.wasm.binary import FuncType, read_module
from portalis.backend.wasm.inline import leaf_body
from tests.backend import guests
from tests.backend.guests import tensor

CARRIERS = {"i32": DTYPES["INT32"], "i64": DTYPES["INT64"], "f32": DTYPES["FP32"], "f64": DTYPES["FP64"]}
NUMBERS = [dtype for dtype in DTYPES.values() if dtype.wasm]
SMALL = [dtype for dtype in NUMBERS if dtype.itemsize <= 2]
IDENTITY = '(module (func (export "f") (param {0}) (result {0}) (local.get 0)))'


def through(source: DType, valtype: str, target: DType, values: np.ndarray, *, copied: bool = True) -> np.ndarray:
    """`values` of `source`, each read as a `valtype` and written as a `target` by an elementwise loop of ours."""
    guest = bytes(wasmtime.wat2wasm(IDENTITY.format(valtype)))
    info = read_module(guest)
    leaf = leaf_body(info, 0) if copied else None
    lowered = elementwise_loop.build_elementwise_loop(FuncType((valtype,), (valtype,)), [source, target], leaf, "f")
    assert lowered.loop is not None
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    imports = [] if copied else [wasmtime.Instance(store, wasmtime.Module(engine, guest), []).exports(store)["f"]]
    exports = wasmtime.Instance(store, wasmtime.Module(engine, lowered.loop.wasm), imports).exports(store)
    memory, run = exports["memory"], exports["run"]
    assert isinstance(memory, wasmtime.Memory) and isinstance(run, wasmtime.Func)
    at_input, at_output = lowered.positions
    found = []
    for start in range(0, len(values), lowered.capacity):
        piece = values[start : start + lowered.capacity]
        memory.write(store, struct.pack("<4I", len(piece), at_input, source.itemsize, at_output), 0)
        memory.write(store, piece.tobytes(), at_input)
        run(store)
        end = at_output + len(piece) * target.itemsize
        found.append(np.frombuffer(bytes(memory.read(store, at_output, end)), target.numpy))
    return np.concatenate(found)


def all_of(dtype: DType) -> np.ndarray:
    """All elements of a type of one or two bytes."""
    if dtype.name == "BOOL":
        return np.arange(256, dtype=np.uint8).view(np.bool_)
    return np.arange(1 << dtype.bits, dtype=f"uint{dtype.bits}").view(dtype.numpy)


def as_carried(dtype: DType, values: np.ndarray) -> np.ndarray:
    """The numbers that a guest receives for `values`, computed by NumPy."""
    if dtype.name == "BF16":
        return bf16_to_f32(values)
    raw = values.view(np.uint8) != 0 if dtype.name == "BOOL" else values
    return raw.astype(CARRIERS[dtype.wasm].numpy)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Whether arrays are bitwise equal; all NaNs are equal."""
    if found.dtype.kind == "f":
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        found, expected = found[~np.isnan(found)], expected[~np.isnan(expected)]
        np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize("dtype", SMALL, ids=str)
def test_every_element_is_read_as_the_correct_number(dtype: DType, copied: bool) -> None:
    values = all_of(dtype)
    same(through(dtype, dtype.wasm, CARRIERS[dtype.wasm], values, copied=copied), as_carried(dtype, values))


@pytest.mark.parametrize("dtype", SMALL, ids=str)
def test_every_element_round_trips(dtype: DType) -> None:
    values = all_of(dtype)
    found = through(dtype, dtype.wasm, dtype, values)
    if dtype.name == "BOOL":
        assert found.view(np.uint8).tolist() == [0] + [1] * 255
    elif dtype.name == "BF16":
        same(bf16_to_f32(found), bf16_to_f32(values))
    else:
        same(found, values)


@pytest.mark.parametrize("dtype", [dtype for dtype in NUMBERS if dtype.itemsize > 2], ids=str)
def test_wide_elements_round_trip(dtype: DType) -> None:
    bits = np.random.default_rng(1).integers(0, 1 << 63, 10_000, np.uint64) * 2 + 1
    values = bits.view(f"uint{dtype.bits}").view(dtype.numpy)
    found = through(dtype, dtype.wasm, dtype, values)
    np.testing.assert_array_equal(found.view(np.uint8), values.view(np.uint8))  # NaNs, too


# -- rounding ----------------------------------------------------------------------------------------------------------


def around(halves: np.ndarray, to_float: object) -> np.ndarray:
    """Each 16-bit number as a float, the midpoints between neighbors, and the floats next to those."""
    with np.errstate(invalid="ignore"):
        numbers = to_float(halves).astype(np.float64)  # type: ignore[operator]
    numbers = np.sort(numbers[np.isfinite(numbers)])
    middles = ((numbers[1:] + numbers[:-1]) / 2).astype(np.float32)
    down, up = (np.nextafter(middles, np.float32(to)) for to in (-np.inf, np.inf))
    with np.errstate(over="ignore"):
        far = np.array([3.4e38, -3.4e38, 65504, 65519.99, 65520, 65536, 0.0, -0.0, np.inf, -np.inf, np.nan], np.float32)
    return np.concatenate([numbers.astype(np.float32), middles, down, up, far])


def test_values_at_and_between_halves_are_rounded_to_nearest_even() -> None:
    values = around(np.arange(1 << 16, dtype=np.uint16).view(np.float16), lambda x: x)
    with np.errstate(over="ignore"):
        same(through(DTYPES["FP32"], "f32", DTYPES["FP16"], values), values.astype(np.float16))


def test_values_at_and_between_bfloat16_numbers_are_rounded_to_nearest_even() -> None:
    values = around(np.arange(1 << 16, dtype=np.uint16), bf16_to_f32)
    found = through(DTYPES["FP32"], "f32", DTYPES["BF16"], values)
    same(bf16_to_f32(found), bf16_to_f32(f32_to_bf16(values)))


@pytest.mark.parametrize("name", ["FP16", "BF16"])
def test_a_nan_stays_a_nan_of_its_sign(name: str) -> None:
    bits = np.array([0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0xFFC00000, 0xFFFFFFFF], np.uint32)
    found = through(DTYPES["FP32"], "f32", DTYPES[name], bits.view(np.float32)).view(np.uint16)
    exponent = 0x7C00 if name == "FP16" else 0x7F80
    assert all(each & exponent == exponent and each & ~(exponent | 0x8000) for each in found.tolist())
    assert (found >> 15).tolist() == [0, 0, 0, 1, 1, 1]


@settings(max_examples=30)
@given(st.lists(st.floats(width=32), min_size=1, max_size=50))
def test_any_float_is_rounded_as_in_numpy(numbers: list[float]) -> None:
    values = np.array(numbers, np.float32)
    with np.errstate(over="ignore"):
        same(through(DTYPES["FP32"], "f32", DTYPES["FP16"], values), values.astype(np.float16))
    same(bf16_to_f32(through(DTYPES["FP32"], "f32", DTYPES["BF16"], values)), bf16_to_f32(f32_to_bf16(values)))


def test_a_double_is_rounded_once() -> None:
    """Rounding to a float first could give the midpoint between two halves, where the double is not."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
    halves = np.sort(halves[np.isfinite(halves)])
    middles = (halves[1:] + halves[:-1]) / 2
    values = np.concatenate([middles, np.nextafter(middles, -np.inf), np.nextafter(middles, np.inf), [1e308, np.nan]])
    with np.errstate(over="ignore"):
        same(through(DTYPES["FP64"], "f64", DTYPES["FP16"], values), values.astype(np.float16))
    tie = 1 + 2.0**-8  # between 0x3F80 and 0x3F81
    doubles = np.array([tie, math.nextafter(tie, 2), math.nextafter(tie, 0), -math.nextafter(tie, 2), 1e300, -1e-300])
    assert through(DTYPES["FP64"], "f64", DTYPES["BF16"], doubles).tolist() == [
        *(0x3F80, 0x3F81, 0x3F80, 0xBF81),
        *(0x7F80, 0x8000),
    ]


# -- from one number type to another -----------------------------------------------------------------------------------

INTEGERS = [dtype for dtype in NUMBERS if dtype.numpy.kind in "iu" and dtype.name != "BF16"]
FLOATS: tuple[float, ...] = (
    *(0.0, -0.0, 0.5, -0.5, 0.99, 1.0, 1.5, -1.5, 126.9, 127.5, 128, 200.7, 255.5, 256, 300, -129.5, -1e9),
    *(32767.9, 65535.5, 65536, 2.0**31, 2.0**32, 2.0**53, 2.0**63, 2.0**64, 1e30, -1e30),
    *(math.inf, -math.inf, math.nan),
)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("valtype", ["f32", "f64"])
def test_a_float_is_truncated_to_an_integer_and_saturates(valtype: str, dtype: DType) -> None:
    values = np.array(FLOATS, CARRIERS[valtype].numpy)
    info = np.iinfo(dtype.numpy.name)
    expected = [
        0 if math.isnan(v) else max(info.min, min(info.max, v if math.isinf(v) else math.trunc(v)))
        for v in values.tolist()
    ]
    assert through(CARRIERS[valtype], valtype, dtype, values).tolist() == [int(e) for e in expected]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("valtype", ["i32", "i64"])
def test_an_integer_keeps_its_low_bits(valtype: str, dtype: DType) -> None:
    size = CARRIERS[valtype].bits
    values = [0, 1, -1, 127, 128, 255, 256, -129, 32768, 65535, 65536, (1 << size - 1) - 1, -(1 << size - 1)]
    found = through(CARRIERS[valtype], valtype, dtype, np.array(values, CARRIERS[valtype].numpy)).tolist()
    # an unsigned tensor takes what a guest returns for unsigned: the carrier has no sign of its own
    unsigned = dtype.numpy.kind == "u"
    wide = [v & (1 << size) - 1 if unsigned else v for v in values]
    wrapped = [v & (1 << dtype.bits) - 1 for v in wide]
    assert found == [v - (1 << dtype.bits) if not unsigned and v >> dtype.bits - 1 else v for v in wrapped]


@pytest.mark.parametrize(
    ("valtype", "values"),
    [
        ("i32", [0, 1, -1, 256, -(1 << 31)]),
        ("i64", [0, 1, -1, 256, 1 << 32, -(1 << 63)]),
        ("f32", [0.0, -0.0, 0.25, -0.25, 1e-45, 1e30, math.inf, math.nan]),
        ("f64", [0.0, -0.0, 0.25, -0.25, 5e-324, 1e300, math.inf, math.nan]),
    ],
)
def test_any_number_but_zero_is_true(valtype: str, values: list[float]) -> None:
    array = np.array(values, CARRIERS[valtype].numpy)
    found = through(CARRIERS[valtype], valtype, DTYPES["BOOL"], array).view(np.uint8)
    assert found.tolist() == [int(value != 0) for value in values]


@pytest.mark.parametrize("dtype", [DTYPES[name] for name in ("FP16", "FP32", "FP64", "BF16")], ids=str)
@pytest.mark.parametrize("valtype", ["i32", "i64"])
def test_an_integer_becomes_the_nearest_float(valtype: str, dtype: DType) -> None:
    size = CARRIERS[valtype].bits
    values = np.array([0, 1, -1, 2047, 2049, 257, (1 << 24) + 1, -(1 << size - 1)], CARRIERS[valtype].numpy)
    found = through(CARRIERS[valtype], valtype, dtype, values)
    if dtype.name == "BF16":
        same(bf16_to_f32(found), bf16_to_f32(f32_to_bf16(values.astype(np.float32))))
        return
    with np.errstate(over="ignore"):
        same(found, values.astype(dtype.numpy))


@pytest.mark.parametrize(("valtype", "dtype"), list(itertools.product(CARRIERS, NUMBERS)), ids=str)
def test_every_pair_of_types_gives_a_valid_loop_whether_the_guest_is_copied_or_called(
    valtype: str, dtype: DType
) -> None:
    values = np.arange(-50, 50).astype(CARRIERS[valtype].numpy)
    copied, called = (through(CARRIERS[valtype], valtype, dtype, values, copied=each) for each in (True, False))
    np.testing.assert_array_equal(copied.view(np.uint8), called.view(np.uint8))


# -- what a kernel returns ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("executor")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BOOL", [False, True, True, True]),
        ("INT8", [0, 0, 127, -128]),
        ("UINT8", [0, 0, 255, 0]),
        ("FP16", [0, 0.5, math.inf, -70000.0]),
        ("FP32", [0, 0.5, 70000.5, -70000.5]),
        ("FP64", [0, 0.5, 70000.5, -70000.5]),
        ("BF16", [0, 0x3F00, 0x4789, 0xC789]),
    ],
)
def test_the_result_of_a_kernel_is_converted_to_the_declared_type(name: str, expected: list[float]) -> None:
    described = {"entry": "sum", "convention": "gufunc", "signature": "(n)->()", "inputs": [tensor("x")]}
    module = guests.wasm(guests.SUM, {**described, "outputs": [tensor("s", name, ())]})
    with Program.load(module) as program:
        x = np.array([[0, 0], [0.25, 0.25], [70000, 0.5], [-70000, -0.5]], np.float32)
        found = program.run({"x": x})["s"]
    assert found.dtype == DTYPES[name].numpy
    with np.errstate(over="ignore"):
        assert found.tolist() == np.array(expected).astype(DTYPES[name].numpy).tolist()
