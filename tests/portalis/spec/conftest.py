"""A folder with a module and reports, and specs read in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import wasmtime

from portalis.problems import InputProblems
from portalis.spec import PackageSpec
from portalis.spec.read import make_spec
from tests.portalis.conftest import ADD

SMALLEST: dict[str, Any] = {
    "package_name": "demo",
    "package_version": "1.2.3",
    "output_directory": "out",
    "wasm_binaries": ["add.wasm"],
}


class Folder:
    """`read` reads the smallest spec with changes; `wrong` returns its problems as ``(where, message)``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, **changes: Any) -> PackageSpec:
        return make_spec(SMALLEST | changes, base=self.path, source="the spec")

    def problems(self, **changes: Any) -> InputProblems:
        with pytest.raises(InputProblems) as caught:
            self.read(**changes)
        return caught.value

    def wrong(self, **changes: Any) -> list[tuple[str, str]]:
        return [(problem.where, problem.message) for problem in self.problems(**changes).problems]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "add.wasm").write_bytes(wasmtime.wat2wasm(ADD))
    return Folder(tmp_path)
