"""Names from modules and specs become valid Python in all generated code."""

from __future__ import annotations

import ast
import inspect as python_inspect
import re
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portalis.backend.interface.dtypes import parse_dtype
from portalis.backend.interface.interface import Convention, Interface, TensorSpec
from portalis.omniverse import extension_checks, extension_target, kit
from portalis.omniverse.extension_documents import TEMPLATES
from portalis.omniverse.python_signatures import PythonFunction, python_functions
from portalis.omniverse.selection import SelectedModule
from portalis.proto.api_models import ApiModel, ApiTensor
from portalis.proto.guides import _grpc_call
from portalis.templates import render
from portalis.wasm_backend import MODEL_PY
from tests.backend.guests import dlpack, tensor

from .conftest import Package

# names of PyTorch, Python keywords, attributes of NamedTuple, names in the generated code, names that become equal,
# Unicode variants, and long names
CORNERS = (
    "350", "output_0", "0", "1e5", "_x", "__x__", "_", "__", "class", "None", "True", "match", "type", "case", "count",
    "index", "_fields", "_replace", "_make", "_asdict", "__new__", "__slots__", "__debug__", "self", "cls", "np", "made",
    "tuple", "NamedTuple", "TYPE_CHECKING", "annotations", "get_extension", "__all__", "a-b", "a_b", "a.b", "a/b", "A_B",
    "a__b", "a_b_2", "a b", "\ufb01", "fi", "\u2460", "ı", "größe", "模型", "K", "\u212a", "é", "e\u0301", "\u200d", "🙂",
    "x" * 5000, "x" * 5001, "'", '"""', "\\", "\n", "{", "{{ 1 }}", "%s",
)  # fmt: skip
FP32 = parse_dtype("FP32")
NAMES = st.one_of(st.sampled_from(CORNERS), st.text(min_size=1, max_size=8))


def chosen(name: str, inputs: Sequence[str], outputs: Sequence[str], *, optional: int = 0) -> SelectedModule:
    """A module of the extension; only its interface is used."""
    interface = Interface(
        entry="f",
        convention=Convention.DLPACK,
        inputs=tuple(
            TensorSpec(each, FP32, (-1,), optional=i >= len(inputs) - optional) for i, each in enumerate(inputs)
        ),
        outputs=tuple(TensorSpec(each, FP32, (-1,)) for each in outputs),
    )
    inspection: Any = SimpleNamespace(interface=interface, no_interface=None)
    return SelectedModule(name=name, path=Path("m.wasm"), description="", declared={}, inspection=inspection)


def executed(
    made: Sequence[PythonFunction], answer: dict[str, Any]
) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """The names of `models.py` after its execution, and the calls that its functions pass to the extension."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def run(module: str, inputs: dict[str, Any]) -> dict[str, Any]:
        calls.append((module, inputs))
        return answer

    text = render(TEMPLATES, "models.py.j2", id="a.b", functions=made, exported="[]")
    code = compile(text.replace("from .extension import get_extension", ""), "models.py", "exec", dont_inherit=True)
    module = types.ModuleType("generated_models")
    sys.modules[module.__name__] = module  # NamedTuple looks up its module here
    module.__dict__["get_extension"] = lambda: SimpleNamespace(run=run)
    exec(code, module.__dict__)
    return module.__dict__, calls


@given(
    functions=st.lists(NAMES, min_size=1, max_size=3, unique=True),
    inputs=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    outputs=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    optional=st.integers(0, 1),
)
@example(functions=["det", "DetOutputs", "det_outputs"], inputs=["DetOutputs", "det"], outputs=["a", "b"], optional=0)
@settings(max_examples=40, deadline=None)
def test_any_names_become_functions_that_pass_every_tensor(
    functions: list[str], inputs: list[str], outputs: list[str], optional: int
) -> None:
    made = python_functions([chosen(name, inputs, outputs, optional=optional) for name in functions])
    answer = {name: object() for name in outputs}
    there, calls = executed(made, answer)
    for name, model in zip(functions, made):
        values = [object() for _ in inputs]
        needed = len(inputs) - optional
        function = there[model.function]
        extra = [p.name for p in python_inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        given_ = function(*values[:needed], **dict(zip(extra, values[needed:])))
        assert calls[-1] == (name, dict(zip(inputs, values)))
        assert (given_,) == tuple(answer.values()) if len(outputs) == 1 else tuple(given_) == tuple(answer.values())
        if len(outputs) > 1:
            assert len(given_._fields) == len(outputs)
            assert given_.count(answer[outputs[0]]) == 1  # still a method


def test_an_output_named_by_a_number_becomes_a_field_with_a_prefix(package: Package) -> None:
    module = dlpack("(i32.const 0)", inputs=[tensor("0")], outputs=[tensor("output_0"), tensor("350"), tensor("_350")])
    package.binaries = []
    package.module("1d", module)
    package.module("det", module)
    package.config |= {"omnigraph_nodes": True, "example_scenarios": [{"name": "waves"}]}
    made = package.make()
    assert made.artifacts.omniverse_packages[0].validated, made.validation_results
    (path,) = package.folder.rglob("models.py")
    text = path.read_text()
    assert re.findall(r"^    (\w+): np\.ndarray$", text, re.MULTILINE) == ["output_0", "out_350", "out_350_2"] * 2
    assert re.findall(r"^def (\w+)\((\w+)", text, re.MULTILINE) == [("module_1d", "in_0"), ("det", "in_0")]
    scene = (package.folder / "examples" / "waves.usda").read_text()
    assert "inputs:in_0" in scene and "outputs:out_350" in scene and '"module_1d"' in scene
    assert {each.name for each in package.folder.rglob("Ogn*.py")} == {"OgnModule_1D.py", "OgnDet.py"}


def test_an_extension_with_all_corner_cases_can_be_imported(package: Package) -> None:
    module = dlpack("(i32.const 0)", inputs=[tensor(n) for n in CORNERS], outputs=[tensor(n) for n in CORNERS])
    package.binaries = []
    for name in ("350", "_x", "class", "DetOutputs", "det", "a-b", "a_b", "None", "np", "get_extension"):
        package.module(name, module)
    package.config |= {"omnigraph_nodes": True, "example_scenarios": [{"name": "all of it"}]}
    made = package.make()
    assert made.errors == ()
    assert [each.valid for each in made.validation_results] == [True]
    before = package.files()
    assert extension_checks.check_imports(package.folder, package.folder.name) == []
    assert package.files() == before  # no bytecode is left


@pytest.fixture
def broken(package: Package) -> Package:
    package.make()
    return package


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (
            "models.py",
            "from typing import NamedTuple\nclass A(NamedTuple):\n    _350: int\n",
            "start with an underscore",
        ),
        ("models.py", "import os\nos._exit(7)\n", "exit status 7"),
        ("models.py", "raise SystemExit\n", "SystemExit"),
        ("__init__.py", "class None: pass\n", "SyntaxError"),
        ("tests/test_modules.py", "x = = 1\n", "SyntaxError"),
    ],
)
def test_python_that_cannot_be_imported_is_reported(broken: Package, file: str, text: str, expected: str) -> None:
    path = broken.folder / "portalis_ext" / "two_examples" / file
    path.write_text(text)
    (fault,) = extension_checks.check_imports(broken.folder, broken.folder.name)
    assert expected in fault.what and "cannot be imported" in fault.what
    assert fault.remediation


def test_an_import_that_does_not_end_is_reported(broken: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = broken.folder.rglob("models.py")
    path.write_text("while True: pass\n")
    monkeypatch.setattr(extension_checks, "TIMEOUT_S", 0.5)
    (fault,) = extension_checks.check_imports(broken.folder, broken.folder.name)
    assert "did not end within 0.5 s" in fault.what


def test_an_extension_whose_python_fails_is_invalid(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kit.PYTHON, "/nowhere/python")
    fault = extension_checks._import_finding("portalis_ext.two_examples", "ValueError: x" * 100)
    monkeypatch.setattr(extension_target, "check_imports", lambda *_: [fault])
    made = package.make()
    assert not made.artifacts.omniverse_packages[0].validated
    (error,) = made.errors
    assert "cannot be imported: ValueError" in error.message and len(error.message) < 1000


def test_the_code_of_a_model_and_its_calls_in_guides_are_python() -> None:
    """The code that Triton runs, and the code in guides, contains names only as literals."""
    compile(MODEL_PY, "model.py", "exec")
    for name in CORNERS:
        one = ApiTensor(name=name, datatype="FP32", shape=(1,))
        model = ApiModel(name=name, version="1", description="", max_batch_size=0, inputs=(one,), outputs=(one,))
        tree = ast.parse(_grpc_call(model))
        assert name in [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
