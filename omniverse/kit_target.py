"""What an extension runs on, in Kit's words: ``[package.target]``, and the package id that Kit makes of it.

Seen on Kit 110.4: an extension whose ``platform``, ``config`` or ``python`` does not fit is not even listed, from a
folder as from a registry; ``kit`` is told to people, but not enforced. The package id is the extension's id and, as
its build metadata, all values of the target in short; the version's own build metadata is left out of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..spec.package_spec import PackageSpec
from .extension_names import extension_id, extension_version

# by Kit's major version; as its release notes and its wheel for 110 say
KIT_PYTHONS: Final[Mapping[int, str]] = {106: "3.10", 107: "3.11", 108: "3.12", 109: "3.12", 110: "3.12"}
PLATFORM: Final = "linux-x86_64"  # that of the wheels, and the only one that this is tried on
_SHORT: Final[Mapping[str, str]] = {"linux-x86_64": "lx64", "linux-aarch64": "la64", "windows-x86_64": "wx64"}


def major(kit_version: str) -> int:
    """110 of ``110.4``."""
    return int(kit_version.partition(".")[0])


def kit_problem(kit_version: str) -> str | None:
    """Why portalis makes no extension for this version of Kit."""
    if major(kit_version) in KIT_PYTHONS:
        return None
    return f"is outside {min(KIT_PYTHONS)} to {max(KIT_PYTHONS)}, the versions of Kit whose Python the runtime supports"


def kit_python(kit_version: str) -> str:
    """The Python of a supported Kit, such as ``3.12``. Raises KeyError for others, which `rules` has refused."""
    return KIT_PYTHONS[major(kit_version)]


def supported_kit_versions(spec: PackageSpec) -> tuple[str, ...]:
    """The versions of Kit that the spec says it is for, each once."""
    config = spec.omniverse_config
    return tuple(dict.fromkeys((config.required_kit_version, *config.compatible_kit_versions)))


def target_table(spec: PackageSpec) -> dict[str, Sequence[str]]:
    """``[package.target]``. With wheels inside, only the Python that they are for; else that of every Kit named."""
    config, versions = spec.omniverse_config, supported_kit_versions(spec)
    for_python = (config.required_kit_version,) if config.prebundle else versions
    pythons = dict.fromkeys("cp" + kit_python(version).replace(".", "") for version in for_python)
    # Kit's own word for a version in a target is major.minor
    kits = dict.fromkeys(".".join(version.split(".")[:2]) for version in versions)
    return {"kit": list(kits), "platform": [PLATFORM], "python": list(pythons)}


def package_id(spec: PackageSpec) -> str:
    """What Kit calls this package, and its registry the archive: ``acme.tool-1.2.3+110.0.lx64.cp312``."""
    parts = [_SHORT.get(value, value) for values in target_table(spec).values() for value in values]
    return f"{extension_id(spec)}-{extension_version(spec)}+{'.'.join(parts)}"
