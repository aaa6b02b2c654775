"""Derives the Python functions of an extension from the modules' interfaces: names, parameters and docstrings."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .selection import SelectedModule

if TYPE_CHECKING:
    from ..backend.interface.interface import Interface, TensorSpec

# names that the generated code uses, and builtins in its annotations
_RESERVED = frozenset({"NamedTuple", "TYPE_CHECKING", "annotations", "get_extension", "np", "made", "tuple"})
_MAX_LENGTH = 100  # characters of an identifier, without the suffix that makes it unique
INPUT, OUTPUT = "in", "out"
"""Prefixes of the names of inputs and outputs that begin with a digit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonParameter:
    """One input or output of a function."""

    identifier: str
    name: str
    """The tensor's name, as a Python literal."""
    docstring: str
    """The docstring, as a Python literal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonFunction:
    """One function. The template gets only Python source: identifiers and literals, regardless of the module's text."""

    function: str
    name: str
    """The module's name, as a Python literal."""
    has_interface: bool
    required: tuple[str, ...]
    """The names of the required parameters."""
    parameters: str
    arguments: str
    """The dict of the inputs that the function passes on."""
    results: str
    """The elements of the NamedTuple that the function returns."""
    result: str
    """The return type."""
    outputs: tuple[PythonParameter, ...]
    docstring: str


def python_functions(modules: Sequence[SelectedModule]) -> list[PythonFunction]:
    """A function for each module, in order."""
    functions = python_identifiers([each.name for each in modules], prefix="module")
    classes = python_identifiers([f"{camel(name)}Outputs" for name in functions], (*_RESERVED, *functions))
    return [_function(*each) for each in zip(modules, functions, classes)]


def python_identifiers(names: Iterable[str], reserved: Iterable[str] = _RESERVED, prefix: str = "x") -> list[str]:
    """Distinct Python names for `names`, none of which is in `reserved`.

    They are ASCII, not keywords, and do not begin with an underscore, which a field of a NamedTuple cannot do. A name
    that would begin with a digit gets `prefix` and an underscore.
    """
    identifiers, used, counts = list[str](), set(reserved), dict[str, int]()
    for name in names:
        base = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:_MAX_LENGTH].rstrip("_") or "it"
        base = f"{prefix}_{base}" if base[0].isdigit() else base
        base = f"{base}_" if keyword.iskeyword(base) or keyword.issoftkeyword(base) else base
        unique, i = base, counts.get(base, 1)
        while unique in used:
            i += 1
            unique = f"{base}{'' if base[-1] == '_' else '_'}{i}"
        counts[base] = i
        used.add(unique)
        identifiers.append(unique)
    return identifiers


def camel(name: str) -> str:
    """The identifier in CamelCase: ``ImageNorm`` for "image_norm"."""
    return "".join(part.title() for part in name.split("_"))


def shape(spec: TensorSpec, interface: Interface) -> str:
    """A description of an array's shape: ``(batch, any, 3)``, or ``(…, any)`` with loop dimensions."""
    sizes = ["any" if size == -1 else str(size) for size in spec.dims]
    if interface.convention.value == "elementwise":
        return "any shape; shapes are broadcast together"
    if interface.convention.value == "gufunc":
        return f"shape ({', '.join(['…', *sizes])})"
    leading = ["batch"] if interface.max_batch_size else []
    return f"shape ({', '.join([*leading, *sizes])}{',' if len(leading + sizes) == 1 else ''})"


def _function(module: SelectedModule, function: str, outputs_class: str) -> PythonFunction:
    interface = module.inspection.interface
    if interface is None:
        text = f"Calls {module.name}, whose interface is unknown: accepts arrays, returns one array or a tuple."
        return PythonFunction(
            function=function,
            name=ascii(module.name),
            has_interface=False,
            required=(),
            parameters="",
            arguments="",
            results="",
            result="np.ndarray",
            outputs=(),
            docstring=ascii(text),
        )
    # a parameter must not hide a name that the function uses, nor a field a method of tuples
    inputs = _tensors(interface.inputs, interface, (*_RESERVED, outputs_class), INPUT)
    outputs = _tensors(interface.outputs, interface, (*_RESERVED, "count", "index"), OUTPUT)
    required = [each.identifier for each, spec in zip(inputs, interface.inputs) if not spec.optional]
    optional = [each.identifier for each, spec in zip(inputs, interface.inputs) if spec.optional]
    parameters = [f"{name}: np.ndarray" for name in required]
    parameters += ["*", *(f"{name}: np.ndarray | None = None" for name in optional)] if optional else []
    return PythonFunction(
        function=function,
        name=ascii(module.name),
        has_interface=True,
        required=tuple(required),
        parameters=_listed(parameters),
        arguments="{" + ", ".join(f"{each.name}: {each.identifier}" for each in inputs) + "}",
        results=", ".join(f"made[{each.name}]" for each in outputs),
        result="np.ndarray" if len(outputs) == 1 else outputs_class,
        outputs=outputs,
        docstring=_docstring(module, interface, inputs, outputs),
    )


def _tensors(
    specs: Sequence[TensorSpec], interface: Interface, reserved: Iterable[str], prefix: str
) -> tuple[PythonParameter, ...]:
    names = python_identifiers([spec.name for spec in specs], reserved, prefix)
    return tuple(
        PythonParameter(
            identifier=name, name=ascii(spec.name), docstring=_literal([_describe(spec, interface).capitalize() + "."])
        )
        for name, spec in zip(names, specs)
    )


def _describe(spec: TensorSpec, interface: Interface) -> str:
    numpy = {"BYTES": "object, of bytes", "BF16": "uint16, the bits of bfloat16"}
    dtype = numpy.get(spec.dtype.name, spec.dtype.numpy.name)
    return f"{dtype}; {shape(spec, interface)}{'; optional' if spec.optional else ''}"


def _docstring(
    module: SelectedModule, interface: Interface, inputs: Sequence[PythonParameter], outputs: Sequence[PythonParameter]
) -> str:
    """The docstring, as a literal on one or more lines."""
    about = " ".join((module.description or interface.description).split()) or f"Calls the module {module.name}"
    lines = [about if about[-1] in ".!?" else f"{about}.", ""]
    for tensors, specs, verb in ((inputs, interface.inputs, "Accepts"), (outputs, interface.outputs, "Returns")):
        lines += [f"{verb} ``{each.identifier}``: {_describe(spec, interface)}." for each, spec in zip(tensors, specs)]
    if interface.max_batch_size and interface.convention.value in ("dlpack", "command"):
        lines.append(f"A batch has at most {interface.max_batch_size} rows.")
    return _literal(lines)


def _literal(lines: Sequence[str]) -> str:
    """A docstring in triple quotes if the text allows it, else on one escaped line."""
    text = "\n    ".join(lines)
    plain = all(line.isprintable() and "\\" not in line and '"' not in line for line in lines)
    if not plain:
        return ascii("\n".join(lines))
    return f'"""{text}"""' if len(lines) == 1 else f'"""{text}\n    """'.replace("\n    \n", "\n\n")


def _listed(parameters: Sequence[str]) -> str:
    """Parameters on one line, or one per line if they are too long."""
    line = ", ".join(parameters)
    return line if len(line) <= 80 else "\n    " + ",\n    ".join(parameters) + ",\n"
