"""Generates an OmniGraph node for each module: its ``.ogn`` description and its Python code.

The format is NVIDIA's (OmniGraph's "OGN Reference Guide" and "Attribute Data Types"). The layout is that of its
template for nodes without a build: OmniGraph generates its own files when the extension is enabled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..contracts.output import PackagingWarning, WarningSeverity
from ..output import OutputTree
from ..spec.package_spec import PackageSpec
from ..templates import render
from .extension_documents import TEMPLATES
from .extension_names import extension_id
from .node_types import OMNIGRAPH_TYPES, node_problem
from .python_module import module_folder
from .python_signatures import INPUT, OUTPUT, camel, python_identifiers, shape
from .selection import SelectedModule

if TYPE_CHECKING:
    from ..backend.interface.interface import Interface, TensorSpec

_TUPLES: Final = ("int", "half", "float", "double")  # of 2 to 4
_SHAPE: Final = "int[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """The attributes of a node for one tensor."""

    attribute: str
    shape: str | None
    spec: TensorSpec
    sizes: tuple[int, ...] | None
    tuple_of: int

    @property
    def type(self) -> str:
        """The attribute's type in a ``.ogn``."""
        return f"{OMNIGRAPH_TYPES[self.spec.dtype.name]}{f'[{self.tuple_of}]' if self.tuple_of > 1 else ''}[]"

    def table(self) -> dict[str, Any]:
        """The description of the tensor for the node's Python code (see `inside.node`)."""
        return {
            "attribute": self.attribute,
            "name": self.spec.name,
            "dtype": "object" if self.spec.dtype.name == "BYTES" else self.spec.dtype.numpy.name,
            "sizes": None if self.sizes is None else list(self.sizes),
            "shape": self.shape,
            "tuple": self.tuple_of,
            "optional": self.spec.optional,
        }


def omnigraph_files(spec: PackageSpec, modules: Sequence[SelectedModule]) -> tuple[OutputTree, list[PackagingWarning]]:
    """The files, relative to the extension, and a warning for each module that cannot be a node.

    Both are empty if the spec does not request nodes.
    """
    tree, warnings, listed = OutputTree(), list[PackagingWarning](), dict[str, Any]()
    if not spec.omniverse_config.omnigraph_nodes:
        return tree, warnings
    identifier = extension_id(spec)
    folder = module_folder(identifier)
    names = python_identifiers([camel(each.name.replace("-", "_")) for each in modules], prefix="Module")
    for module, name in zip(modules, names):
        reason = node_problem(module.inspection.interface)
        if reason is not None or module.inspection.interface is None:
            warnings.append(_no_node(module.name, reason or ""))
            continue
        node = _node(identifier, module, module.inspection.interface)
        inputs, outputs = _sides(module.inspection.interface)
        tree.text(folder / "nodes" / f"Ogn{name}.ogn", json.dumps({name: node}, indent=4))
        values = {
            "name": name,
            "module": ascii(module.name),
            "inputs": ascii([each.table() for each in inputs]),
            "outputs": ascii([each.table() for each in outputs]),
        }
        tree.text(folder / "nodes" / f"Ogn{name}.py", render(TEMPLATES, "node.py.j2", **values))
        about = {"description": node["description"], "version": 1, "extension": identifier, "language": "Python"}
        listed[f"{identifier}.{name}"] = about
    if listed:
        tree.text("ogn/nodes.json", json.dumps({"nodes": listed}, indent=4))
    return tree, warnings


def _no_node(name: str, reason: str) -> PackagingWarning:
    return PackagingWarning(
        message=f"module {name} cannot be an OmniGraph node: {reason}",
        severity=WarningSeverity.Medium,
        remediation="Use only these types for the module's inputs and outputs, or call it from Python.",
    )


def _node(identifier: str, module: SelectedModule, interface: Interface) -> dict[str, Any]:
    inputs, outputs = _sides(interface)
    about = " ".join((module.description or interface.description).split())
    return {
        "version": 1,
        "language": "python",
        "description": about or f"Calls the WebAssembly module {module.name}.",
        "uiName": module.name,
        "categories": ["function"],
        "metadata": {"tags": f"portalis,webassembly,{identifier}"},
        "inputs": {key: value for each in inputs for key, value in _attributes(each, interface, default=True).items()},
        "outputs": {
            key: value for each in outputs for key, value in _attributes(each, interface, default=False).items()
        },
    }


def _attributes(tensor: _Tensor, interface: Interface, *, default: bool) -> dict[str, Any]:
    start: dict[str, Any] = {"default": []} if default else {}
    text = f"The tensor {tensor.spec.name}: {shape(tensor.spec, interface)}."
    # OmniGraph has a value for every attribute: an empty array represents an omitted optional input
    attributes = {tensor.attribute: {"type": tensor.type, "description": text, "uiName": tensor.spec.name, **start}}
    if tensor.shape is not None:
        text = "The tensor's shape, because the attribute is a flat list of its elements"
        text = f"{text}; empty for one axis." if default else f"{text}."
        attributes[tensor.shape] = {
            "type": _SHAPE,
            "description": text,
            "uiName": f"shape of {tensor.spec.name}",
            **start,
        }
    return attributes


def _sides(interface: Interface) -> tuple[list[_Tensor], list[_Tensor]]:
    return _tensors(interface.inputs, interface, INPUT), _tensors(interface.outputs, interface, OUTPUT)


def _tensors(specs: Sequence[TensorSpec], interface: Interface, prefix: str) -> list[_Tensor]:
    names = python_identifiers([name for spec in specs for name in (spec.name, f"{spec.name}_shape")], (), prefix)
    return [_tensor(spec, interface, *names[2 * i : 2 * i + 2]) for i, spec in enumerate(specs)]


def _tensor(spec: TensorSpec, interface: Interface, attribute: str, shape_attribute: str) -> _Tensor:
    loops = interface.convention.value in ("elementwise", "gufunc")
    sizes = None if loops else (*((-1,) if interface.max_batch_size else ()), *spec.dims)
    # an attribute has one axis, from which the shape follows only if at most one dim is variable
    unknown = interface.convention.value == "gufunc" if sizes is None else sizes.count(-1) > 1
    pairs = sizes is not None and len(sizes) == 2 and sizes[0] == -1 and OMNIGRAPH_TYPES[spec.dtype.name] in _TUPLES
    tuple_of = sizes[1] if pairs and sizes is not None and sizes[1] in (2, 3, 4) else 1
    return _Tensor(
        attribute=attribute,
        shape=shape_attribute if unknown else None,
        spec=spec,
        sizes=sizes,
        tuple_of=tuple_of,
    )
