"""Code to load and store one element of a tensor in a generated loop.

In memory an element has its own type, on the stack one of WebAssembly's four number types. FP16 and BF16 become f32;
rounding to them is to nearest even, and a NaN stays a NaN. A float outside an integer's range becomes its nearest
bound, an integer keeps its low bits, and any number except zero is true.
"""

from __future__ import annotations

from ..interface.dtypes import DType
from ..wasm import assembler as emit
from ..wasm.binary import FuncType
from .plan_modules import ModuleBuilder

_LOADS = {"BOOL": 0x2D, "UINT8": 0x2D, "INT8": 0x2C, "UINT16": 0x2F, "INT16": 0x2E, "FP16": 0x2F, "BF16": 0x2F}
_STORES = {1: 0x3A, 2: 0x3B}  # by the bytes of an element
_UNSIGNED = ("UINT32", "UINT64")
_NOT_EQUAL = {"i32": b"\x47", "i64": b"\x52", "f32": b"\x5c", "f64": b"\x62"}
_NOT_ZERO = emit.i32(0) + _NOT_EQUAL["i32"]
_CLAMP = {"f32": (b"\x97", b"\x96"), "f64": (b"\xa5", b"\xa4")}  # max, min: a NaN stays one
_RANGES = {"INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767), "UINT16": (0, 65535)}
_FROM_BITS, _TO_BITS = b"\xbe", b"\xbc"
_AND, _OR, _SHL, _SHR, _ADD, _SUB = b"\x71", b"\x72", b"\x74", b"\x76", b"\x6a", b"\x6b"
_GE, _GT, _LT, _EQ = b"\x4f", b"\x4b", b"\x49", b"\x46"  # of unsigned numbers
# conversions between number types: (signed, unsigned)
_CONVERT = {
    ("i32", "i64"): (b"\xac", b"\xad"),
    ("i64", "i32"): (b"\xa7", b"\xa7"),
    ("i32", "f32"): (b"\xb2", b"\xb2"),
    ("i64", "f32"): (b"\xb4", b"\xb4"),
    ("i32", "f64"): (b"\xb7", b"\xb7"),
    ("i64", "f64"): (b"\xb9", b"\xb9"),
    ("f32", "f64"): (b"\xbb", b"\xbb"),
    ("f64", "f32"): (b"\xb6", b"\xb6"),
    ("f32", "i32"): (b"\xfc\x00", b"\xfc\x01"),
    ("f64", "i32"): (b"\xfc\x02", b"\xfc\x03"),
    ("f32", "i64"): (b"\xfc\x04", b"\xfc\x05"),
    ("f64", "i64"): (b"\xfc\x06", b"\xfc\x07"),
}


class Numbers:
    """Loads and stores for `module`; the functions that they call are added to it."""

    def __init__(self, module: ModuleBuilder) -> None:
        self._module = module
        self._calls: dict[str, bytes] = {}

    def load(self, dtype: DType, offset: int = 0) -> bytes:
        """Code that replaces an address on the stack by the element there."""
        if dtype.name not in _LOADS:
            return emit.load(dtype.wasm, offset)
        code = bytes([_LOADS[dtype.name], dtype.itemsize - 1]) + emit.unsigned(offset)
        if dtype.name == "BOOL":
            return code + _NOT_ZERO
        if dtype.name == "BF16":
            return code + emit.i32(16) + _SHL + _FROM_BITS
        return code + (self._call("half_to_float") if dtype.name == "FP16" else b"")

    def store(self, dtype: DType, valtype: str, offset: int = 0) -> bytes:
        """Code that stores a number of `valtype` as an element; the address and the number are on the stack."""
        code = self._converted(dtype, valtype)
        if dtype.itemsize not in _STORES:
            return code + emit.store(dtype.wasm, offset)
        if dtype.name in ("FP16", "BF16"):
            code += self._call("float_to_half" if dtype.name == "FP16" else "float_to_bfloat")
        return code + bytes([_STORES[dtype.itemsize], dtype.itemsize - 1]) + emit.unsigned(offset)

    def _converted(self, dtype: DType, valtype: str) -> bytes:
        """Code that converts a number of `valtype` to the value type of `dtype`."""
        if dtype.name == "BOOL":
            return emit.ZERO[valtype] + _NOT_EQUAL[valtype]
        if valtype == dtype.wasm:
            return b""
        if valtype == "f64" and dtype.name in ("FP16", "BF16"):
            return self._call("double_to_float")
        code = b""
        if dtype.name in _RANGES and valtype in _CLAMP:  # the value type has a larger range
            for bound, opcode in zip(_RANGES[dtype.name], _CLAMP[valtype]):
                code += emit.constant(valtype, bound) + opcode
        return code + _CONVERT[valtype, dtype.wasm][dtype.name in _UNSIGNED]

    def _call(self, name: str) -> bytes:
        if name not in self._calls:
            number = self._module.add_function(*_FUNCTIONS[name], name)
            self._calls[name] = bytes([emit.CALL]) + emit.unsigned(number)
        return self._calls[name]


def _hex(value: int) -> bytes:
    return emit.constant("i32", value)


def _if(condition: bytes, result: bytes) -> bytes:
    return condition + bytes([emit.IF, emit.EMPTY]) + result + bytes([emit.RETURN, emit.END])


_H, _BITS = emit.get(0), emit.get(1)
_HALF_TO_FLOAT = (
    # the exponent is in place but too small: a multiplication corrects it, for subnormals too
    _H + _hex(0x7FFF) + _AND + emit.i32(13) + _SHL + emit.put(1)
    + _H + _hex(0x7C00) + _AND + _hex(0x7C00) + _EQ
    + bytes([emit.IF, emit.VALTYPES["i32"]])
    + _BITS + _hex(0x7F800000) + _OR
    + b"\x05"
    + _BITS + _FROM_BITS + emit.constant("f32", 2.0**112) + b"\x94" + _TO_BITS
    + bytes([emit.END])
    + _H + _hex(0x8000) + _AND + emit.i32(16) + _SHL + _OR + _FROM_BITS
)  # fmt: skip
_SIGN = emit.get(2)
_FLOAT_TO_HALF = (
    emit.get(0) + _TO_BITS + emit.tee(1) + emit.i32(16) + _SHR + _hex(0x8000) + _AND + emit.put(2)
    + _BITS + _hex(0x7FFFFFFF) + _AND + emit.put(1)
    + _if(
        _BITS + _hex(0x7F800000) + _GT,
        _SIGN + _hex(0x7E00) + _OR + _BITS + emit.i32(13) + _SHR + _hex(0x3FF) + _AND + _OR,
    )
    + _if(_BITS + _hex(0x477FF000) + _GE, _SIGN + _hex(0x7C00) + _OR)
    # a subnormal: adding 0.5 shifts its bits into place, and rounds them
    + _if(
        _BITS + _hex(0x38800000) + _LT,
        _SIGN + _BITS + _FROM_BITS + emit.constant("f32", 0.5) + b"\x92" + _TO_BITS + _hex(0x3F000000) + _SUB + _OR,
    )
    + _SIGN + _BITS + _hex(0xC8000FFF) + _ADD + _BITS + emit.i32(13) + _SHR + emit.i32(1) + _AND + _ADD
    + emit.i32(13) + _SHR + _OR
)  # fmt: skip
_FLOAT_TO_BFLOAT = (
    emit.get(0) + _TO_BITS + emit.put(1)
    + _if(
        _BITS + _hex(0x7FFFFFFF) + _AND + _hex(0x7F800000) + _GT,
        _BITS + emit.i32(16) + _SHR + _hex(0x40) + _OR,
    )
    + _BITS + _hex(0x7FFF) + _ADD + _BITS + emit.i32(16) + _SHR + emit.i32(1) + _AND + _ADD + emit.i32(16) + _SHR
)  # fmt: skip
# Rounds to odd: a number between two floats becomes the one whose last bit is set, so that a later rounding does not
# mistake it for the midpoint of two halves.
_X, _F = emit.get(0), emit.get(1)
_DEMOTE, _PROMOTE, _ABS = b"\xb6", b"\xbb", b"\x99"
_DOUBLE_TO_FLOAT = (
    _X + _DEMOTE + emit.put(1)
    + _if(_F + _PROMOTE + _X + b"\x61" + _F + _TO_BITS + emit.i32(1) + _AND + _OR, _F)
    + _F + _TO_BITS + emit.i32(-1) + emit.i32(1) + _F + _PROMOTE + _ABS + _X + _ABS + b"\x64" + b"\x1b"
    + _ADD + _FROM_BITS
)  # fmt: skip
# By name: type, locals, code.
_FUNCTIONS: dict[str, tuple[FuncType, tuple[str, ...], bytes]] = {
    "half_to_float": (FuncType(("i32",), ("f32",)), ("i32",), _HALF_TO_FLOAT),
    "float_to_half": (FuncType(("f32",), ("i32",)), ("i32", "i32"), _FLOAT_TO_HALF),
    "float_to_bfloat": (FuncType(("f32",), ("i32",)), ("i32",), _FLOAT_TO_BFLOAT),
    "double_to_float": (FuncType(("f64",), ("f32",)), ("f32",), _DOUBLE_TO_FLOAT),
}
