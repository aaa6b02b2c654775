"""An extension's id and version, and the names that Kit, Python and the file systems under Kit accept."""

from __future__ import annotations

import re
import sys

from ..naming import python_problem
from ..spec.package_spec import PackageSpec

# directories at the extension's root, and packages that Kit or the runtime imports by these names
_FOLDERS = ("config", "data", "docs", "examples", "ogn", "wasm_modules", "pip_prebundle")
_PACKAGES = ("carb", "numpy", "portalis", "pxr", "usdrt", "warp", "wasmtime")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SCENARIO = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9 ._-]{0,98}[A-Za-z0-9_-])?")
_EXTENSION = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*")
_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_VERSION = re.compile(r"(\^|=)?\s*\d+(\.\d+(\.\d+(-[0-9A-Za-z.-]+)?)?)?")


def extension_id(spec: PackageSpec) -> str:
    """The dotted id from the spec; by default ``portalis_ext.`` and the package's name.

    The default does not begin with ``portalis.``: if portalis is installed in Kit's Python, it would hide the module.
    """
    default = "portalis_ext." + re.sub(r"[-.]", "_", spec.package_name)
    return spec.omniverse_config.extension_name or default


def extension_version(spec: PackageSpec) -> str:
    """The extension's version from the spec; by default that of the package.

    Build metadata is removed: Kit sets its own, and looks for a version without it in the changelog.
    """
    return (spec.omniverse_config.extension_version or spec.package_version).partition("+")[0]


def extension_id_problem(identifier: str) -> str | None:
    """The reason why `identifier` cannot be the id of a generated extension, or None."""
    first, dot, _ = identifier.partition(".")
    if first.lower() == "omni":
        return "begins with omni., which is reserved for NVIDIA"
    if identifier != identifier.lower():
        return "has capitals: ids that differ only in case are the same directory on Windows"
    reason = python_problem(identifier)
    if reason is not None:
        return f"{reason}, and the id is also the name of the extension's Python module"
    if not dot:
        return "has no dot, so that it would be a top-level Python module in Kit"
    if first in _FOLDERS:
        return f"begins with {first}, which is a directory of every extension"
    if first in _PACKAGES or first in sys.stdlib_module_names:
        return f"begins with {first}, so that it would hide the Python package {first}"
    if len(identifier) > 100:
        return "is longer than 100 characters, and a path on Windows has at most 260"
    return None


def module_name_problem(name: str) -> str | None:
    """The reason why ``wasm_modules/<name>.wasm`` cannot be a file of an extension, or None."""
    if _FILE.fullmatch(name) is None or _WINDOWS.fullmatch(name):
        return "is not a valid file name on Linux and Windows: use up to 100 letters, digits, dots, dashes, underscores"
    return None


def scenario_problem(name: str) -> str | None:
    """The reason why ``examples/<name>.py`` cannot be a file of an extension, or None."""
    if _SCENARIO.fullmatch(name) is None or _WINDOWS.fullmatch(name):
        return "is not a valid file name: use up to 100 letters, digits, spaces, dots, dashes, underscores"
    return None


def dependency_problem(name: str) -> str | None:
    """The reason why `name` cannot be the id of another extension, or None."""
    if _EXTENSION.fullmatch(name) is None:
        return "is not an extension id: use letters, digits and underscores, separated by dots or dashes"
    return None


def requirement_problem(requirement: str) -> str | None:
    """The reason why a dependency cannot require the version `requirement`, or None.

    Kit does not support ranges: Kit 110.4 does not load an extension that requires ``>=2.0,<3`` or ``~1.1``.
    """
    if requirement.strip() in ("", "*") or _VERSION.fullmatch(requirement.strip()):
        return None
    return "is not a version requirement of Kit: use 1.2.0 or ^1.2.0 (1.2.0 or a later 1.x), or =1.2.0"
