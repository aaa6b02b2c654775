"""One module imports the Docker SDK, so that everything else works without it until an engine is used."""

from __future__ import annotations

import ast

from tests import parts


def test_only_one_module_imports_the_sdk() -> None:
    importers = set()
    for folder in ("portalis", "nim", "deploy", "dist", "proto"):
        for path in (parts.ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                importers |= {path for name in names if name.split(".")[0] == "docker"}
    assert importers == {parts.ROOT / "portalis/engines/sdk.py"}
