"""The interface of a module's entry: call convention, inputs and outputs, with its JSON form.

The ``portalis`` custom section and explicit declarations use this JSON form.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..constants import MAX_RANK, MAX_TENSORS
from ..errors import InterfaceError
from .dtypes import DType, parse_dtype
from .signature import Signature

MAX_BATCH = 1 << 31


class Convention(str, Enum):
    """The call convention: how tensors are passed to the entry."""

    ELEMENTWISE = "elementwise"
    GUFUNC = "gufunc"
    DLPACK = "dlpack"
    COMMAND = "command"


@dataclass(frozen=True)
class TensorSpec:
    """An input or output. ``dims`` exclude the batch dimension, as in Triton; -1 is any size."""

    name: str
    dtype: DType
    dims: tuple[int, ...]
    optional: bool = False

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        base = {"name": self.name, "dtype": self.dtype.name, "dims": list(self.dims)}
        return {**base, "optional": True} if self.optional else base


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of an entry, and how it is called.

    ``max_batch_size`` 0 means that tensors have no batch dimension; ``args`` are the arguments of a gufunc; ``returns``
    is ``value`` or ``status``; ``source`` is where the interface comes from: ``explicit``, ``section`` or ``exports``.
    """

    entry: str
    convention: Convention
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    signature: Signature | None = None
    args: tuple[str | int | float, ...] = ()
    returns: str = "value"
    max_batch_size: int = 0
    description: str = ""
    source: str = "explicit"

    def to_json(self) -> dict[str, Any]:
        """The JSON form, without defaults."""
        document = {
            "abi": 1,
            "entry": self.entry,
            "convention": self.convention.value,
            "signature": str(self.signature or ""),
            "args": list(self.args),
            "returns": "" if self.returns == "value" else self.returns,
            "max_batch_size": self.max_batch_size,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "description": self.description,
        }
        return {key: value for key, value in document.items() if value}

    @classmethod
    def from_json(cls, obj: Mapping[str, Any], *, where: str, source: str = "explicit") -> Interface:
        """Parse the JSON form strictly. Raises InterfaceError with all problems; its message begins with `where`."""
        problems = InterfaceProblems(where)
        problems.unknown_keys(obj, _KEYS, "")
        convention = problems.choice(obj, "convention", [c.value for c in Convention])
        if obj.get("abi", 1) != 1:
            problems.add(f"abi is {obj['abi']!r}; this version reads 1")
        entry = obj.get("entry", "portalis_infer" if convention == "dlpack" else None)
        if not isinstance(entry, str) or not entry:
            problems.add("entry is missing: the name of the exported function")
        signature = problems.attempt(Signature.parse, obj.get("signature"))
        inputs, outputs = (_tensors(obj.get(side), side, problems) for side in _SIDES)
        if len(inputs) + len(outputs) > MAX_TENSORS:
            problems.add(f"it has {len(inputs) + len(outputs)} inputs and outputs; at most {MAX_TENSORS} are allowed")
        size = obj.get("max_batch_size", 0)
        if not _is_int(size) or not 0 <= size < MAX_BATCH:
            problems.add(f"max_batch_size must be an integer of at least 0, not {size!r}")
        args = obj.get("args") or ()
        if not isinstance(args, (list, tuple)) or not all(isinstance(a, (str, int, float)) for a in args):
            problems.add(f"args must be a list of names and numbers, not {args!r}")
        returns = problems.choice(obj, "returns", ["value", "status"], default="value")
        description = obj.get("description", "")
        if not isinstance(description, str):
            problems.add("description must be a string")
        problems.raise_any()
        return cls(
            str(entry),
            Convention(convention),
            inputs,
            outputs,
            signature,
            tuple(args),
            returns,
            size,
            description,
            source,
        )


_SIDES = ("inputs", "outputs")
_KEYS = ("abi", "entry", "convention", "signature", "args", "returns", "max_batch_size", *_SIDES, "description")
_TENSOR_KEYS = ("name", "dtype", "dims", "optional")


def core_ranks(interface: Interface) -> tuple[int, ...]:
    """The number of core dimensions of each input. They follow the loop dimensions."""
    if interface.signature is None:
        return (0,) * len(interface.inputs)
    return tuple(len(dims) for dims in interface.signature.inputs)


class InterfaceProblems:
    """Collects problems, to report them in one error."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[str] = []

    def add(self, text: str) -> None:
        """Add a problem."""
        self.found.append(text)

    def raise_any(self) -> None:
        """Raise InterfaceError with all problems, if any."""
        if self.found:
            raise InterfaceError(f"{self.where}: " + "; ".join(self.found))

    def unknown_keys(self, obj: Mapping[str, Any], known: tuple[str, ...], at: str) -> None:
        """Add a problem for each unknown key, with the most similar known one."""
        for key in obj:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                self.add(
                    f"{at}unknown key {key!r}"
                    + (f" (did you mean {near[0]!r}?)" if near else f" (known: {', '.join(known)})")
                )

    def choice(self, obj: Mapping[str, Any], key: str, choices: list[str], default: str = "") -> str:
        """The value of `key`, which must be one of `choices`."""
        value = obj.get(key, default)
        if value not in choices:
            self.add(f"{key} must be one of {', '.join(choices)}" + (f", not {value!r}" if value else ""))
        return str(value)

    def attempt(self, parse: Any, text: Any, at: str = "") -> Any:
        """`parse(text)`, or None if `text` is missing. An InterfaceError becomes a problem that begins with `at`."""
        if text is None or text == "":
            return None
        try:
            return parse(text if isinstance(text, str) else repr(text))
        except InterfaceError as error:
            self.add(f"{at}{error}")
            return None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _tensors(value: Any, side: str, problems: InterfaceProblems) -> tuple[TensorSpec, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        problems.add(f"{side} is missing: a list of tensors such as {{'name': 'x', 'dtype': 'FP32', 'dims': [-1]}}")
        return ()
    specs = [_tensor(item, f"{side}[{i}]", problems) for i, item in enumerate(value)]
    names = [spec.name for spec in specs if spec is not None]
    for name in sorted(n for n, times in Counter(names).items() if times > 1):
        problems.add(f"{side} has '{name}' twice")
    return tuple(spec for spec in specs if spec is not None)


def _tensor(item: Any, at: str, problems: InterfaceProblems) -> TensorSpec | None:
    if not isinstance(item, Mapping):
        problems.add(f"{at} must be an object with name, dtype and dims")
        return None
    problems.unknown_keys(item, _TENSOR_KEYS, f"{at}: ")
    name, dims, optional = item.get("name"), item.get("dims"), item.get("optional", False)
    before = len(problems.found)
    if not isinstance(name, str) or not name:
        problems.add(f"{at} has no name")
    dtype = problems.attempt(parse_dtype, item.get("dtype"), f"{at}: ")
    if item.get("dtype") in (None, ""):
        problems.add(f"{at} has no dtype")
    if not isinstance(dims, (list, tuple)) or not all(_is_int(d) for d in dims):
        problems.add(f"{at}: dims must be a list of integers, not {dims!r}")
    elif len(dims) > MAX_RANK:
        problems.add(f"{at}: dims has rank {len(dims)}; at most {MAX_RANK} is allowed")
    elif any(d == 0 or d < -1 for d in dims):
        problems.add(f"{at}: dims must be -1 or above 0, not {list(dims)}")
    if not isinstance(optional, bool):
        problems.add(f"{at}: optional must be true or false")
    if len(problems.found) > before or dtype is None:
        return None
    return TensorSpec(str(name), dtype, tuple(dims or ()), optional)
