"""The platforms of an extension: the table ``[package.target]``, and the package id that Kit derives from it.

Kit 110.4 does not list an extension whose ``platform``, ``config`` or ``python`` does not match, neither from a
directory nor from a registry; it displays ``kit`` but does not enforce it. The package id consists of the extension's
id, its version without build metadata, and the abbreviated values of the target as build metadata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..spec.package_spec import PackageSpec
from .extension_names import extension_id, extension_version

KIT_PYTHONS: Final[Mapping[int, str]] = {106: "3.10", 107: "3.11", 108: "3.12", 109: "3.12", 110: "3.12"}
"""The Python version by Kit's major version, from its release notes and, for 110, its wheel."""
PLATFORM: Final = "linux-x86_64"  # the platform of the wheels, and the only one that is tested
_ABBREVIATIONS: Final[Mapping[str, str]] = {"linux-x86_64": "lx64", "linux-aarch64": "la64", "windows-x86_64": "wx64"}


def major(kit_version: str) -> int:
    """The major version: 110 for ``110.4``."""
    return int(kit_version.partition(".")[0])


def kit_problem(kit_version: str) -> str | None:
    """The reason why portalis does not support this version of Kit, or None."""
    if major(kit_version) in KIT_PYTHONS:
        return None
    return f"is outside {min(KIT_PYTHONS)} to {max(KIT_PYTHONS)}, the versions of Kit whose Python the runtime supports"


def kit_python(kit_version: str) -> str:
    """The Python version of a supported Kit, for example ``3.12``. Raises KeyError for a Kit that is not supported."""
    return KIT_PYTHONS[major(kit_version)]


def supported_kit_versions(spec: PackageSpec) -> tuple[str, ...]:
    """The distinct versions of Kit that the spec lists."""
    config = spec.omniverse_config
    return tuple(dict.fromkeys((config.required_kit_version, *config.compatible_kit_versions)))


def target_table(spec: PackageSpec) -> dict[str, Sequence[str]]:
    """The table ``[package.target]``, with the Python of every listed Kit, or only that of the bundled wheels."""
    config, versions = spec.omniverse_config, supported_kit_versions(spec)
    python_kits = (config.required_kit_version,) if config.prebundle else versions
    pythons = dict.fromkeys("cp" + kit_python(version).replace(".", "") for version in python_kits)
    # Kit writes its version in a target as major.minor
    kits = dict.fromkeys(".".join(version.split(".")[:2]) for version in versions)
    return {"kit": list(kits), "platform": [PLATFORM], "python": list(pythons)}


def package_id(spec: PackageSpec) -> str:
    """The package id, by which Kit and its registry name the archive: ``acme.tool-1.2.3+110.0.lx64.cp312``."""
    parts = [_ABBREVIATIONS.get(value, value) for values in target_table(spec).values() for value in values]
    return f"{extension_id(spec)}-{extension_version(spec)}+{'.'.join(parts)}"
