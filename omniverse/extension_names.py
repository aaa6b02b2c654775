"""The names in an extension: its id and version, and which names Kit, Python and the file systems under Kit take."""

from __future__ import annotations

import re
import sys

from ..naming import python_problem
from ..spec.package_spec import PackageSpec

# a folder at the extension's root, or a package that Kit or the runtime needs under its own name
_FOLDERS = ("config", "data", "docs", "examples", "ogn", "wasm_modules", "pip_prebundle")
_PACKAGES = ("carb", "numpy", "portalis", "pxr", "usdrt", "warp", "wasmtime")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SCENARIO = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9 ._-]{0,98}[A-Za-z0-9_-])?")
_EXTENSION = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*")
_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_VERSION = re.compile(r"(\^|=)?\s*\d+(\.\d+(\.\d+(-[0-9A-Za-z.-]+)?)?)?")


def extension_id(spec: PackageSpec) -> str:
    """The dotted id: ``portalis_ext.`` and the package's name when the spec has none.

    Not ``portalis.``: where portalis itself is installed in Kit's Python, it would hide the extension's module.
    """
    made = "portalis_ext." + re.sub(r"[-.]", "_", spec.package_name)
    return spec.omniverse_config.extension_name or made


def extension_version(spec: PackageSpec) -> str:
    """The version: the package's when the spec has none for the extension.

    Without build metadata: Kit puts its own in that place, and reads the changelog for a version without.
    """
    return (spec.omniverse_config.extension_version or spec.package_version).partition("+")[0]


def extension_id_problem(identifier: str) -> str | None:
    """Why `identifier` cannot be the id of an extension that portalis makes."""
    first, dot, _ = identifier.partition(".")
    if first.lower() == "omni":
        return "begins with omni., which is NVIDIA's own"
    if identifier != identifier.lower():
        return "has capitals, and two ids that differ by them are one folder on Windows"
    trouble = python_problem(identifier)
    if trouble is not None:
        return f"{trouble}, and the id is also the name of the extension's Python module"
    if not dot:
        return "has no dot, and would be a top-level Python module for all of Kit"
    if first in _FOLDERS:
        return f"begins with {first}, which is a folder of every extension"
    if first in _PACKAGES or first in sys.stdlib_module_names:
        return f"begins with {first}, and would stand in the way of the Python package {first}"
    if len(identifier) > 100:
        return "is longer than 100 characters, and Windows takes 260 for a whole path"
    return None


def module_name_problem(name: str) -> str | None:
    """Why ``wasm_modules/<name>.wasm`` cannot lie in an extension."""
    if _FILE.fullmatch(name) is None or _WINDOWS.fullmatch(name):
        return "is no file name that Linux and Windows take: letters, digits, dots, dashes, underscores, at most 100"
    return None


def scenario_problem(name: str) -> str | None:
    """Why ``examples/<name>.py`` cannot lie in an extension."""
    if _SCENARIO.fullmatch(name) is None or _WINDOWS.fullmatch(name):
        return "is no file name: letters, digits, spaces, dots, dashes and underscores, at most 100"
    return None


def dependency_problem(name: str) -> str | None:
    """Why Kit does not take `name` for the id of another extension."""
    if _EXTENSION.fullmatch(name) is None:
        return "is no extension id: letters, digits and underscores, with dots or dashes between"
    return None


def requirement_problem(requirement: str) -> str | None:
    """Why `requirement` is no version that a dependency can ask for. Kit knows no ranges (seen on Kit 110.4: an
    extension that asks for ``>=2.0,<3`` or ``~1.1`` is not loaded)."""
    if requirement.strip() in ("", "*") or _VERSION.fullmatch(requirement.strip()):
        return None
    return "is no version that Kit understands: 1.2.0 or ^1.2.0 (that one, or a later one of major version 1), =1.2.0"
