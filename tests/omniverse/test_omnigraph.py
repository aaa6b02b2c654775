"""OmniGraph nodes: descriptions in the documented format, and what their Python computes.

Kit's wheel has no `omni.graph`, so that no node is seen running here: the descriptions are checked against the format that
NVIDIA documents (OmniGraph's "OGN Reference Guide") and to the types of the configuration in Kit's wheel, and `compute`
is called with attributes as OmniGraph documents them for Python.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
import wasmtime

from portalis.examples.catalog import EXAMPLES
from portalis.omniverse.inside.node import compute
from portalis.omniverse.node_types import OMNIGRAPH_TYPES
from tests import parts

from .conftest import EXAMPLES as FOLDER
from .conftest import Package
from .inside import guests

ATTRIBUTES = {
    "type": "object",
    # lower-case words with underscores; a colon would make a namespace
    "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    "additionalProperties": {
        "type": "object",
        "required": ["type", "description"],
        "additionalProperties": False,
        "properties": {
            "type": {"pattern": r"^(bool|uchar|int|uint|int64|uint64|half|float|double|token)(\[[234]\])?\[\]$"},
            "description": {"type": "string"},
            "uiName": {"type": "string"},
            "default": {"type": "array"},
        },
    },
}
FORMAT = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_.]*$"},
    "additionalProperties": {
        "type": "object",
        "required": ["version", "language", "description", "inputs", "outputs"],
        "additionalProperties": False,
        "properties": {
            "version": {"type": "integer", "minimum": 1},
            "language": {"enum": ["python", "Python"]},
            "description": {"type": "string"},
            "uiName": {"type": "string"},
            "categories": {"type": "array", "items": {"type": "string"}},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
            "inputs": ATTRIBUTES,
            "outputs": ATTRIBUTES,
        },
    },
}


@pytest.fixture
def nodes(package: Package) -> Path:
    """The directory with the nodes of all examples."""
    package.binaries = [{"path": str(FOLDER / name / f"{name}.wasm")} for name in EXAMPLES]
    package.config["omnigraph_nodes"] = True
    assert package.make().warnings == ()
    return package.folder / "portalis_ext" / "two_examples" / "nodes"


def described(nodes: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(nodes.glob("*.ogn"))}


def test_each_example_has_a_description_in_the_documented_format(nodes: Path, package: Package) -> None:
    found = described(nodes)
    assert len(found) == len(EXAMPLES)
    for stem, description in found.items():
        jsonschema.validate(description, FORMAT)
        assert (nodes / f"{stem}.py").is_file()
        assert [f"Ogn{name}" for name in description] == [stem]
    listed = json.loads((package.folder / "ogn" / "nodes.json").read_text())["nodes"]
    assert sorted(listed) == sorted(f"portalis_ext.two_examples.{name}" for each in found.values() for name in each)


def test_tensors_have_the_types_of_omnigraph(nodes: Path) -> None:
    found = {name: node for each in described(nodes).values() for name, node in each.items()}

    def types(name: str, side: str) -> dict[str, str]:
        return {key: value["type"] for key, value in found[name][side].items()}

    assert types("Nms", "inputs") == {
        "boxes": "float[4][]",
        "scores": "float[]",
        "iou_threshold": "float[]",
        "score_threshold": "float[]",
    }
    assert types("Softmax", "inputs") == {"x": "float[]", "x_shape": "int[]"}
    assert types("Wordpiece", "outputs") == {
        "input_ids": "int64[]",
        "input_ids_shape": "int[]",
        "attention_mask": "int64[]",
        "attention_mask_shape": "int[]",
    }
    assert types("TextFilter", "inputs")["stdin"] == "token[]"
    assert types("ImagePreprocess", "inputs") == {"image": "uchar[]", "image_shape": "int[]"}


@pytest.mark.kit
def test_the_types_and_the_category_are_among_those_in_kits_wheel() -> None:
    (folder,) = parts.kit().parents[1].glob("lib/python*/site-packages/omni/dev/ogn/config")
    known = json.loads((folder / "TypeConfigurationPod.json").read_text())["typeDefinitions"]["c++"]
    assert set(OMNIGRAPH_TYPES.values()) <= set(known)
    assert {f"{base}[{size}]" for base in ("int", "half", "float", "double") for size in (2, 3, 4)} <= set(known)
    categories = json.loads((folder / "CategoryConfiguration.json").read_text())["categoryDefinitions"]
    assert "function" in categories


def test_a_dtype_that_omnigraph_lacks_is_reported_and_the_others_have_nodes(package: Package) -> None:
    wat = '(module (func (export "f") (param i32) (result i32) local.get 0))'
    package.module("short", bytes(wasmtime.wat2wasm(wat)))
    tensors = [{"name": "x", "dtype": "INT16", "dims": [-1]}]
    package.binaries[-1]["interface"] = {
        "convention": "elementwise",
        "entry": "f",
        "inputs": tensors,
        "outputs": [{"name": "y", "dtype": "INT16", "dims": [-1]}],
    }
    package.config["omnigraph_nodes"] = True
    (warning,) = package.make().warnings
    assert warning.message.startswith(
        "module short cannot be an OmniGraph node: OmniGraph has no type for x (INT16), y (INT16); supported types: BOOL, UINT8"
    )
    assert sorted(path.name for path in package.folder.rglob("Ogn*")) == [
        "OgnGelu.ogn",
        "OgnGelu.py",
        "OgnSoftmax.ogn",
        "OgnSoftmax.py",
    ]


def test_nodes_are_generated_only_on_request(package: Package) -> None:
    package.make()
    assert not list(package.folder.rglob("*.ogn"))
    assert not list(package.folder.rglob("node.py"))


class Database(SimpleNamespace):
    """The database that OmniGraph passes to `compute`: inputs and outputs as attributes, and the node's messages."""

    def __init__(self, **inputs: Any) -> None:
        super().__init__(inputs=SimpleNamespace(**inputs), outputs=SimpleNamespace(), errors=[])

    def log_error(self, text: str) -> None:
        self.errors.append(text)


def tables(nodes: Path, name: str) -> tuple[Any, Any]:
    """The tables in the generated node, read without importing its package."""
    text = (nodes / f"Ogn{name}.py").read_text()
    namespace: dict[str, Any] = {"compute": compute, "get_extension": None}
    exec(compile(text.replace("from ..", "# from .."), name, "exec"), namespace)
    return namespace["INPUTS"], namespace["OUTPUTS"]


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_a_node_computes_numpys_results(nodes: Path, tmp_path: Path, name: str) -> None:
    programs = guests.programs(tmp_path, examples=[name])
    inputs, outputs = tables(nodes, "".join(part.title() for part in name.split("_")))
    given: dict[str, Any] = {}
    arrays = EXAMPLES[name].inputs()
    for tensor in inputs:
        array = arrays.get(tensor["name"], np.array([], dtype=tensor["dtype"]))
        flat = array.reshape(-1, tensor["tuple"]) if tensor["tuple"] > 1 else array.ravel()
        given[tensor["attribute"]] = [each.decode() for each in flat] if tensor["dtype"] == "object" else flat
        if tensor["shape"] is not None:
            given[tensor["shape"]] = np.array(array.shape, dtype=np.int32)
    db = Database(**given)
    assert compute(db, programs.run, name, inputs, outputs), db.errors
    rtol, atol = EXAMPLES[name].tolerances
    for tensor in outputs:
        expected = EXAMPLES[name].reference(arrays).get(tensor["name"])
        made = getattr(db.outputs, tensor["attribute"])
        if expected is None:
            continue
        if tensor["dtype"] == "object":
            assert made == [each.decode() for each in expected.ravel()]
        else:
            np.testing.assert_allclose(np.ravel(made), expected.ravel(), rtol=rtol, atol=atol)
        if tensor["shape"] is not None:
            assert getattr(db.outputs, tensor["shape"]).tolist() == list(expected.shape)


def test_a_failing_guest_is_a_message_of_its_node(tmp_path: Path) -> None:
    programs = guests.programs(tmp_path, {"trap": guests.elementwise(guests.TRAP, ["x"])})
    tensor = {"attribute": "x", "name": "x", "dtype": "float32", "sizes": None, "shape": None, "tuple": 1}
    db = Database(x=np.ones(2, np.float32))
    assert not compute(db, programs.run, "trap", [{**tensor, "optional": False}], [])
    assert db.errors == ["entry 'f': the guest trapped: wasm `unreachable` instruction executed"]
