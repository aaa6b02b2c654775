"""What the Python functions of an extension look like: names, parameters and docstrings, made from interfaces."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .selection import SelectedModule

if TYPE_CHECKING:
    from ..backend.interface.interface import Interface, TensorSpec

# what the generated code itself needs, and what would hide a builtin in its annotations
_TAKEN = frozenset({"NamedTuple", "TYPE_CHECKING", "annotations", "get_extension", "np", "made", "tuple"})

_MOST = 100  # characters of an identifier, before what tells it from others
INPUT, OUTPUT = "in", "out"  # what stands before a tensor's name that begins with a digit


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonParameter:
    """One input or output: its Python name, its own name as a literal, and a docstring's words, as a literal."""

    identifier: str
    name: str
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonFunction:
    """One function. What goes into its template is Python: identifiers and literals, whatever the module's own texts
    hold."""

    function: str
    name: str
    known: bool
    needed: tuple[str, ...]
    """The parameters that a call has to have."""
    parameters: str
    given: str
    taken: str
    result: str
    outputs: tuple[PythonParameter, ...]
    told: str


def python_functions(chosen: Sequence[SelectedModule]) -> list[PythonFunction]:
    """A function for each module, in order."""
    functions = python_identifiers([each.name for each in chosen], prefix="module")
    classes = python_identifiers([f"{camel(name)}Outputs" for name in functions], (*_TAKEN, *functions))
    return [_model(*each) for each in zip(chosen, functions, classes)]


def python_identifiers(names: Iterable[str], taken: Iterable[str] = _TAKEN, prefix: str = "x") -> list[str]:
    """A Python name for each, all different: ASCII, no keyword, and without an underscore at its start, which a field
    of a NamedTuple cannot have. One that would begin with a digit has `prefix` and an underscore before it."""
    found, known, counts = list[str](), set(taken), dict[str, int]()
    for name in names:
        made = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:_MOST].rstrip("_") or "it"
        made = f"{prefix}_{made}" if made[0].isdigit() else made
        made = f"{made}_" if keyword.iskeyword(made) or keyword.issoftkeyword(made) else made
        free, i = made, counts.get(made, 1)
        while free in known:
            i += 1
            free = f"{made}{'' if made[-1] == '_' else '_'}{i}"
        counts[made] = i
        known.add(free)
        found.append(free)
    return found


def camel(name: str) -> str:
    """``ImageNorm`` for an identifier "image_norm"."""
    return "".join(part.title() for part in name.split("_"))


def shape(spec: TensorSpec, interface: Interface) -> str:
    """The shape of an array in words: ``(batch, any, 3)``, ``(…, any)`` where leading axes are looped over."""
    sizes = ["any" if size == -1 else str(size) for size in spec.dims]
    if interface.convention.value == "elementwise":
        return "any shape; shapes are broadcast together"
    if interface.convention.value == "gufunc":
        return f"shape ({', '.join(['…', *sizes])})"
    front = ["batch"] if interface.max_batch_size else []
    return f"shape ({', '.join([*front, *sizes])}{',' if len(front + sizes) == 1 else ''})"


def _model(module: SelectedModule, function: str, outputs_class: str) -> PythonFunction:
    interface = module.inspection.interface
    if interface is None:
        told = f"{module.name}, whose interface is not known here: arrays in, one array or a tuple of several out."
        return PythonFunction(
            function=function,
            name=ascii(module.name),
            known=False,
            needed=(),
            parameters="",
            given="",
            taken="",
            result="np.ndarray",
            outputs=(),
            told=ascii(told),
        )
    # a parameter must not hide what the function itself calls, nor a field a method of tuples
    inputs = _tensors(interface.inputs, interface, (*_TAKEN, outputs_class), INPUT)
    outputs = _tensors(interface.outputs, interface, (*_TAKEN, "count", "index"), OUTPUT)
    needed = [each.identifier for each, spec in zip(inputs, interface.inputs) if not spec.optional]
    optional = [each.identifier for each, spec in zip(inputs, interface.inputs) if spec.optional]
    parameters = [f"{name}: np.ndarray" for name in needed]
    parameters += ["*", *(f"{name}: np.ndarray | None = None" for name in optional)] if optional else []
    return PythonFunction(
        function=function,
        name=ascii(module.name),
        known=True,
        needed=tuple(needed),
        parameters=_listed(parameters),
        given="{" + ", ".join(f"{each.name}: {each.identifier}" for each in inputs) + "}",
        taken=", ".join(f"made[{each.name}]" for each in outputs),
        result="np.ndarray" if len(outputs) == 1 else outputs_class,
        outputs=outputs,
        told=_told(module, interface, inputs, outputs),
    )


def _tensors(
    specs: Sequence[TensorSpec], interface: Interface, taken: Iterable[str], prefix: str
) -> tuple[PythonParameter, ...]:
    names = python_identifiers([spec.name for spec in specs], taken, prefix)
    return tuple(
        PythonParameter(
            identifier=name, name=ascii(spec.name), told=_literal([_words(spec, interface).capitalize() + "."])
        )
        for name, spec in zip(names, specs)
    )


def _words(spec: TensorSpec, interface: Interface) -> str:
    numpy = {"BYTES": "object, of bytes", "BF16": "uint16, the bits of bfloat16"}
    dtype = numpy.get(spec.dtype.name, spec.dtype.numpy.name)
    return f"{dtype}; {shape(spec, interface)}{'; may be left out' if spec.optional else ''}"


def _told(
    module: SelectedModule, interface: Interface, inputs: Sequence[PythonParameter], outputs: Sequence[PythonParameter]
) -> str:
    """The docstring, as a literal on one or several lines."""
    about = " ".join((module.description or interface.description).split()) or f"The module {module.name}"
    lines = [about if about[-1] in ".!?" else f"{about}.", ""]
    for tensors, specs, word in ((inputs, interface.inputs, "Takes"), (outputs, interface.outputs, "Gives")):
        lines += [f"{word} ``{each.identifier}``: {_words(spec, interface)}." for each, spec in zip(tensors, specs)]
    if interface.max_batch_size and interface.convention.value in ("dlpack", "command"):
        lines.append(f"A batch has at most {interface.max_batch_size} rows.")
    return _literal(lines)


def _literal(lines: Sequence[str]) -> str:
    """A docstring: triple quotes where the text allows it, one escaped line where not."""
    text = "\n    ".join(lines)
    plain = all(line.isprintable() and "\\" not in line and '"' not in line for line in lines)
    if not plain:
        return ascii("\n".join(lines))
    return f'"""{text}"""' if len(lines) == 1 else f'"""{text}\n    """'.replace("\n    \n", "\n\n")


def _listed(parameters: Sequence[str]) -> str:
    """Parameters on one line, or each on its own where that is too long."""
    line = ", ".join(parameters)
    return line if len(line) <= 80 else "\n    " + ",\n    ".join(parameters) + ",\n"
