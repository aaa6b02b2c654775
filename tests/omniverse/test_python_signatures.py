"""The typed functions of an extension: readable Python, regardless of the module's texts."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from portalis.omniverse.python_signatures import python_identifiers

from .conftest import EXAMPLES, Package

# the part of an extension that `models` uses; other tests call real extensions in a real Kit
EXTENSION = """
class Running:
    def run(self, module, inputs):
        self.called = module, inputs
        return self.outputs

running = Running()

def get_extension():
    return running
"""


@pytest.fixture
def imported(package: Package) -> Iterator[Any]:
    """Imports `models` of a generated package, next to a stub of the extension that only records its calls."""
    folder = package.base / "imported"

    def read() -> ModuleType:
        package.make()
        (folder / "stand_in").mkdir(parents=True)
        (folder / "stand_in" / "extension.py").write_text(EXTENSION)
        (models,) = package.folder.rglob("models.py")
        (folder / "stand_in" / "models.py").write_bytes(models.read_bytes())
        sys.path.insert(0, str(folder))
        return importlib.import_module("stand_in.models")

    yield read
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "stand_in"]:
        del sys.modules[name]


def test_the_examples_have_functions_with_their_names_and_arrays(package: Package, imported: Any) -> None:
    package.binaries = [
        {"path": str(EXAMPLES / name / f"{name}.wasm")} for name in ("softmax", "nms", "wordpiece", "text_filter")
    ]
    models = imported()
    reported = {name: str(inspect.signature(getattr(models, name))) for name in ("softmax", "nms", "wordpiece")}
    assert reported == {
        "softmax": "(x: 'np.ndarray') -> 'np.ndarray'",
        "nms": "(boxes: 'np.ndarray', scores: 'np.ndarray', *, iou_threshold: 'np.ndarray | None' = None,"
        " score_threshold: 'np.ndarray | None' = None) -> 'np.ndarray'",
        "wordpiece": "(text: 'np.ndarray') -> 'WordpieceOutputs'",
    }
    assert models.TextFilterOutputs._fields == ("stdout", "stderr", "exit_code")
    assert inspect.getdoc(models.nms) == (
        "non-maximum suppression.\n"
        "\n"
        "Accepts ``boxes``: float32; shape (any, 4).\n"
        "Accepts ``scores``: float32; shape (any,).\n"
        "Accepts ``iou_threshold``: float32; shape (1,); optional.\n"
        "Accepts ``score_threshold``: float32; shape (1,); optional.\n"
        "Returns ``indices``: int64; shape (any,)."
    )


def test_a_call_passes_the_arrays_by_the_modules_own_names(package: Package, imported: Any) -> None:
    package.binaries = [{"path": str(EXAMPLES / "wordpiece" / "wordpiece.wasm"), "name": "word-piece"}]
    models = imported()
    running = sys.modules["stand_in.extension"].running
    running.outputs = {"input_ids": 1, "attention_mask": 2}
    assert models.word_piece("text") == models.WordPieceOutputs(input_ids=1, attention_mask=2)
    assert running.called == ("word-piece", {"text": "text"})


def test_hostile_names_and_texts_stay_data(package: Package, imported: Any) -> None:
    wat = '(module (func (export "f") (param f32 f32) (result f32) local.get 0))'
    hostile = '"""\nimport os; os.abort()\n"""\\'
    package.input("hostile.wasm", bytes(wasmtime.wat2wasm(wat)))
    tensors = [{"name": name, "dtype": "FP32", "dims": [-1]} for name in ("class", 'x"): pass #')]
    output = {"name": "\\", "dtype": "FP32", "dims": [-1]}
    interface = {"convention": "elementwise", "entry": "f", "inputs": tensors, "outputs": [output]}
    package.binaries = [
        {
            "path": str(package.base / "hostile.wasm"),
            "name": "lambda",
            "description": hostile,
            "interface": interface,
        }
    ]
    models = imported()
    assert list(inspect.signature(models.lambda_).parameters) == ["class_", "x_pass"]
    assert models.lambda_.__doc__.startswith('""" import os; os.abort() """\\')
    running = sys.modules["stand_in.extension"].running
    running.outputs = {"\\": 5}
    assert models.lambda_(1, 2) == 5
    assert running.called == ("lambda", {"class": 1, 'x"): pass #': 2})


@given(names=st.lists(st.text(max_size=12), max_size=8))
def test_any_names_become_different_identifiers(names: list[str]) -> None:
    made = python_identifiers(names)
    assert len(set(made)) == len(names)
    for name in made:
        assert name.isascii()
        ast.parse(f"def {name}({name}, *, a: int = 1): pass")


def test_a_module_with_an_unknown_interface_accepts_any_arrays(package: Package, imported: Any) -> None:
    package.module("odd", bytes(wasmtime.wat2wasm('(module (func (export "f") (param externref)))')))
    package.config["validate_wasm_compatibility"] = False
    models = imported()
    assert str(inspect.signature(models.odd)).startswith("(*arrays:")
    assert Path(models.__file__).read_text().count("\n\n\n\n") == 0
