"""Only `portalis.output` writes into an output directory; other modules write temporary files, streams and caches."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_imports import MODULES

ROOMS = ("deploy", "dist", "engines", "model_repository_gen", "nim", "omniverse", "pipeline", "proto", "publishing")
# copied into images and extensions, where there is no `portalis.output`
COPIED = ("portalis.nim.service.", "portalis.nim.triton.assemble", "portalis.omniverse.inside.")
WRITERS = {
    "write_text",
    "write_bytes",
    "mkdir",
    "mkstemp",
    "NamedTemporaryFile",
    "copy",
    "copy2",
    "copyfile",
    "copytree",
    "rename",
}
ALLOWED = {
    "portalis.dist.archive.writer": "the archive, into a file that the stage adopts",
    "portalis.engines.build_context": "a build context in a temporary directory",
    "portalis.engines.container_engine": "an exported image, which the stage adopts",
    "portalis.model_repository_gen.live": "a copy of the repository for a validation",
    "portalis.nim.triton.__main__": "the build context that the user names",
    "portalis.nim.triton.triton_build": "a temporary model repository",
    "portalis.omniverse.extension_registry": "a registry of extensions, which the stage adopts",
    "portalis.omniverse.kit": "a copy of the extension for a validation",
    "portalis.omniverse.wheels": "pip's requirements and the cache of wheels",
    "portalis.proto.protoc": "the input of protoc",
    "portalis.publishing.script": "publish.sh, also without a run of the pipeline",
}


def writes(path: Path) -> Iterator[str]:
    """Calls in a module that create, write or move files."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in WRITERS and not (node.func.attr == "copy" and not node.args):
            yield f"{node.func.attr} in line {node.lineno}"
        modes = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        if node.func.attr == "open" and any(mode[:1] in ("w", "x", "a") for mode in modes):
            yield f"open in line {node.lineno}"


@pytest.mark.parametrize("room", ROOMS)
def test_only_output_writes(room: str) -> None:
    names = [name for name in MODULES if f"{name}.".startswith(f"portalis.{room}.") and not name.startswith(COPIED)]
    found = {name: list(writes(MODULES[name])) for name in names}
    assert {name: calls for name, calls in found.items() if bool(calls) != (name in ALLOWED)} == {}


def test_every_exception_exists() -> None:
    assert set(ALLOWED) <= set(MODULES)


def test_calls_that_write_are_found(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("path.open('wb')\npath.write_text('')\npath.open('rb')\nmapping.copy()\n")
    assert list(writes(tmp_path / "m.py")) == ["open in line 1", "write_text in line 2"]
