"""NumPy generalized-ufunc signatures, such as ``(m,n),(n,p)->(m,p)``: the core dimensions of a kernel's tensors.

Source: the NumPy manual, "Generalized universal function API". Fixed sizes (``(3)``) are allowed, ``?`` and ``|`` not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InterfaceError

Dims = tuple["str | int", ...]
_SIDE = re.compile(r"\([^()]*\)(,\([^()]*\))*")  # for text without white space, so without backtracking
_SIZE = re.compile(r"[1-9][0-9]{0,9}")
MAX_TEXT = 4096
_GROUP = re.compile(r"\(([^()]*)\)")
_NAME = re.compile(r"^[A-Za-z_]\w*$")


@dataclass(frozen=True)
class Signature:
    """The core dimensions of each input and output, outermost first: names, or fixed sizes."""

    inputs: tuple[Dims, ...]
    outputs: tuple[Dims, ...]

    @classmethod
    def parse(cls, text: str) -> Signature:
        """Parse a signature. Raises InterfaceError with an example."""
        if len(text) > MAX_TEXT:
            raise InterfaceError(f"a signature has at most {MAX_TEXT} characters, not {len(text)}")
        sides = text.split("->")
        if len(sides) != 2:
            raise InterfaceError(f"signature {text!r} must have one '->', as in (m,n),(n,p)->(m,p)")
        inputs, outputs = (_side(side, text) for side in sides)
        if not inputs or not outputs:
            raise InterfaceError(f"signature {text!r} needs at least one input and one output")
        return cls(inputs, outputs)

    @property
    def names(self) -> tuple[str, ...]:
        """The named dimensions in order of first appearance."""
        every = (d for dims in (*self.inputs, *self.outputs) for d in dims if isinstance(d, str))
        return tuple(dict.fromkeys(every))

    def __str__(self) -> str:
        sides = [",".join(f"({','.join(map(str, dims))})" for dims in side) for side in (self.inputs, self.outputs)]
        return "->".join(sides)


def _side(side: str, text: str) -> tuple[Dims, ...]:
    side = "".join(side.split())
    if side and not _SIDE.fullmatch(side):
        raise InterfaceError(f"signature {text!r} is invalid: expected a form like (m,n),(n,p)->(m,p)")
    return tuple(_dims(group, text) for group in _GROUP.findall(side))


def _dims(group: str, text: str) -> Dims:
    result: list[str | int] = []
    for part in group.split(",") if group.strip() else []:
        part = part.strip()  # noqa: PLW2901
        if _SIZE.fullmatch(part):
            result.append(int(part))
        elif _NAME.match(part) and part != "batch":
            result.append(part)
        else:
            raise InterfaceError(
                f"signature {text!r} has an invalid core dimension {part!r}: use names or sizes above 0"
            )
    return tuple(result)
