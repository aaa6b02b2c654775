"""Assigns the parameters of a ``gufunc`` kernel: tensors, core dimensions, batch size or constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InterfaceError
from ..setting_names import TRITON_NAMES, SettingNames
from ..wasm.binary import FuncType
from .interface import Interface

# valid constants of each type; integers signed or unsigned
_RANGES: dict[str, tuple[float, float]] = {
    "i32": (-(1 << 31), (1 << 32) - 1),
    "i64": (-(1 << 63), (1 << 64) - 1),
    "f32": (-3.4028234663852886e38, 3.4028234663852886e38),
    "f64": (-1.7976931348623157e308, 1.7976931348623157e308),
}


Argument = tuple[str, int | float]
"""("pointer" | "dimension", its number) or ("constant", the value)."""


@dataclass(frozen=True)
class Kernel:
    """A guest function with the argument for each of its parameters."""

    type: FuncType
    arguments: tuple[Argument, ...]
    pointers: int
    returned: int
    dimensions: int
    status: bool

    @property
    def parameters(self) -> int:
        """The number of parameters of the loop's ``run``."""
        return 1 + 2 * (self.pointers + self.returned) + self.dimensions

    @property
    def loops_itself(self) -> bool:
        """Whether one of the parameters is the size of the batch."""
        return ("dimension", self.dimensions) in self.arguments


def plan_kernel(
    interface: Interface, function: FuncType, setting_names: SettingNames = TRITON_NAMES
) -> tuple[Kernel, tuple[str, ...]]:
    """The kernel, and the names of the tensors that it takes pointers to, in order.

    Arguments come from ``args``, or from the default order. Outputs without a pointer are returned values. Raises
    InterfaceError if the arguments do not match the function.
    """
    signature = interface.signature
    assert signature is not None, "checked by `checks`"
    tensors = [spec.name for spec in (*interface.inputs, *interface.outputs)]
    in_order = [name for name in tensors if not interface.args or name in interface.args]
    if not interface.args:
        scalars = 0 if interface.returns == "status" else len(function.results)
        in_order = tensors[: len(tensors) - scalars]
    args = interface.args or (*in_order, *signature.names)
    if len(args) != len(function.params):
        raise InterfaceError(
            f"entry '{interface.entry}' has {len(function.params)} parameters, but its arguments are"
            f" {', '.join(map(str, args))}: declare {setting_names.args} to say what each parameter is"
        )
    arguments = tuple(_argument(arg, in_order, signature.names) for arg in args)
    for (kind, value), valtype in zip(arguments, function.params):
        _check_type(kind, value, valtype, interface.entry)
    returned = [spec.name for spec in interface.outputs if spec.name not in in_order]
    status = interface.returns == "status"
    if len(function.results) != (1 if status else len(returned)) or (status and returned):
        raise InterfaceError(
            f"entry '{interface.entry}' returns {len(function.results)} values, but {len(returned)} outputs are not"
            f" among its arguments{' and it returns a status' if status else ''}"
        )
    if "batch" in args and returned:
        raise InterfaceError(
            f"entry '{interface.entry}' loops over the batch itself ('batch' is among its arguments), so it cannot"
            f" return '{returned[0]}', one value for all of it: have it take a pointer to that, too"
        )
    if status and function.results != ("i32",):
        raise InterfaceError(f"entry '{interface.entry}' returns {function.results[0]}, but a status is an i32")
    kernel = Kernel(function, arguments, len(in_order), len(returned), len(signature.names), status)
    return kernel, tuple(in_order)


def _argument(arg: str | int | float, tensors: Sequence[str], dimensions: Sequence[str]) -> Argument:
    if not isinstance(arg, str):
        return ("constant", arg)
    if arg in tensors:
        return ("pointer", tensors.index(arg))
    if arg in dimensions:
        return ("dimension", dimensions.index(arg))
    if arg == "batch":
        return ("dimension", len(dimensions))
    raise InterfaceError(f"argument '{arg}' is neither a tensor, nor a core dimension, nor 'batch'")


def _check_type(kind: str, value: float, valtype: str, entry: str) -> None:
    expected = {"pointer": ("i32",), "dimension": ("i32", "i64")}.get(kind, tuple(_RANGES))
    if valtype not in expected:
        raise InterfaceError(
            f"entry '{entry}' has a parameter {valtype} where a {kind} is declared, which is {' or '.join(expected)}"
        )
    if kind != "constant":
        return
    minimum, maximum = _RANGES[valtype]
    is_number = valtype in ("f32", "f64") or isinstance(value, int)
    if not (is_number and minimum <= value <= maximum):
        raise InterfaceError(f"the constant {value!r} of entry '{entry}' is not a valid {valtype}")
