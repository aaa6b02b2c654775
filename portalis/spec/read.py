"""Reads a spec file as a `PackageSpec`, and reports all problems of the file together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..problems import InputProblems, independent_problems
from .document_reader import read_document
from .invariants import invariant_problems
from .loc import Loc
from .package_spec import PackageSpec
from .paths import make_absolute
from .salvage import ANY, salvage

_STAND_INS: dict[Loc, Any] = {
    ("package_name",): "unnamed",
    ("package_version",): "0.0.0",
    ("output_directory",): "unnamed",
    ("wasm_binaries",): [{"path": "unnamed"}],
    ("wasm_binaries", ANY): {"path": "unnamed"},
    ("wasm_binaries", ANY, "path"): "unnamed",
}


def read_spec(path: Path) -> PackageSpec:
    """The spec in a TOML, YAML or JSON file. Relative paths start at the file's directory.

    Raises UsageError if the file cannot be read, and InputProblems with all its problems.
    """
    return make_spec(read_document(path), base=path.absolute().parent, source=str(path))


def make_spec(data: Mapping[Any, Any], *, base: Path, source: str) -> PackageSpec:
    """The spec in `data`. Relative paths start at `base`; `source` names the data in errors.

    Raises InputProblems.
    """
    salvaged = salvage(PackageSpec, data, _STAND_INS, source=source)
    problems = list(salvaged.problems)
    if salvaged.model is not None:
        spec = make_absolute(salvaged.model, base)
        problems += independent_problems(invariant_problems(spec, base), salvaged.removed)
        if not problems:
            return spec
    raise InputProblems(problems, source=source, pipeline_id=run_id(data))


def run_id(data: Any) -> str | None:
    """The id of a run with the spec `data`, which may be invalid; None if the parts of the id are missing."""
    table = data if isinstance(data, Mapping) else {}
    own, name, version = (table.get(key) for key in ("pipeline_id", "package_name", "package_version"))
    if isinstance(own, str) and own:
        return own
    return f"{name}-{version}" if isinstance(name, str) and isinstance(version, str) else None
