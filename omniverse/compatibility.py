"""Checks whether a module can run inside Omniverse Kit (requirements 3.4).

A guest in Kit can use only the host functions of the runtime inside the extension: WASI preview 1 without files and
network, and AssemblyScript's abort. The check looks at a module's imports, not at its metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from ..backend.constants import PAGE
from .extension_toml import LIMITS

if TYPE_CHECKING:
    from ..inspection import Inspection

MAX_SIZE_BYTES = 100 << 20
MAX_MEMORY_PAGES = 1024  # 64 MiB
WASI = "wasi_snapshot_preview1"


class KitSeverity(str, Enum):
    """The effect of a finding."""

    Error = "Error"
    """The module cannot be part of an extension."""
    High = "High"
    """The module cannot run until a setting is changed."""
    Medium = "Medium"
    Low = "Low"


@dataclass(frozen=True, slots=True, kw_only=True)
class KitFinding:
    """A property of a module that matters in Kit: what it is, why it matters, and a remediation."""

    what: str
    why: str
    remediation: str
    severity: KitSeverity

    @property
    def blocks(self) -> bool:
        """Whether this finding excludes the module from an extension."""
        return self.severity is KitSeverity.Error

    def to_json(self) -> dict[str, str]:
        """The finding as a JSON object."""
        return {
            "what": self.what,
            "why": self.why,
            "remediation": self.remediation,
            "severity": self.severity.value,
        }

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compatibility:
    """The findings of one module."""

    findings: tuple[KitFinding, ...]

    @property
    def compatible(self) -> bool:
        """Whether the module can be part of an extension."""
        return not self.blocking

    @property
    def blocking(self) -> tuple[KitFinding, ...]:
        """The findings that exclude the module."""
        return tuple(each for each in self.findings if each.blocks)

    @property
    def warnings(self) -> tuple[KitFinding, ...]:
        """The other findings."""
        return tuple(each for each in self.findings if not each.blocks)

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {"compatible": self.compatible, "findings": [each.to_json() for each in self.findings]}


def check_kit_compatibility(inspection: Inspection) -> Compatibility:
    """Check one module, without running it."""
    if inspection.invalid is not None:
        invalid = _error("it is not a valid module", inspection.invalid, "Build it again.")
        return Compatibility(findings=(invalid,))
    checks = (_unloadable, _imports, _interface, _unavailable, _limits, _size, _memory)
    return Compatibility(findings=tuple(finding for check in checks for finding in check(inspection)))


def _unloadable(inspection: Inspection) -> Iterator[KitFinding]:
    """Problems because of which the runtime rejects the module regardless of its limits, with the runtime's reasons."""
    for each in inspection.findings("kit"):
        if not each.limit:
            what = _TITLES.get(each.proposal or each.kind, "the sandbox does not support it")
            yield _error(what, each.why, each.remediation)


_TITLES = {
    "import": "it is not WASI compliant",
    "threads": "it uses threads",
    "memory64": "it has a 64-bit memory",
    "allocator": "it cannot receive tensors",
    "segment": "it cannot be instantiated",
}


def _imports(inspection: Inspection) -> Iterator[KitFinding]:
    imports = inspection.beyond_wasi
    if imports:
        yield KitFinding(
            what="it does not import WASI functions only",
            why=f"it imports {', '.join(imports)}: the runtime in the extension provides this, other hosts might not",
            remediation="Build it with `--use abort=` (AssemblyScript) to remove the import.",
            severity=KitSeverity.Low,
        )


def _interface(inspection: Inspection) -> Iterator[KitFinding]:
    if inspection.interface is None:
        yield _error(
            "it cannot be called",
            inspection.no_interface or "its interface is unknown",
            "Declare the interface in the spec (wasm_binaries.interface), or write it into the module with"
            " `portalis annotate`.",
        )


def _unavailable(inspection: Inspection) -> Iterator[KitFinding]:
    """Imports of WASI functions that always fail in Kit."""
    for prefix, resource in (("path_", "files"), ("sock_", "the network")):
        names = [each.name for each in inspection.imports if each.module == WASI and each.name.startswith(prefix)]
        if names:
            yield KitFinding(
                what=f"it might require {resource}",
                why=f"it imports {', '.join(names)}, which always fail: a guest in Kit cannot access {resource}",
                remediation="Pass the data as inputs. No change is needed if the module never calls these functions.",
                severity=KitSeverity.Low,
            )


def _limits(inspection: Inspection) -> Iterator[KitFinding]:
    """Problems because of which the module does not run with the default limits, which are settings in Kit."""
    titles = {
        "max_module_bytes": "it exceeds the extension's size limit",
        "max_memory_bytes": "it exceeds the extension's memory limit",
    }
    for each in inspection.findings("kit", LIMITS):
        if each.limit:
            yield KitFinding(
                what=titles[each.limit], why=each.why, remediation=each.remediation, severity=KitSeverity.High
            )


def _size(inspection: Inspection) -> Iterator[KitFinding]:
    if MAX_SIZE_BYTES < inspection.size_bytes <= LIMITS["max_module_bytes"]:
        yield KitFinding(
            what="it is large",
            why=f"it has {inspection.size_bytes:,} bytes; Kit starts slowly with more than {MAX_SIZE_BYTES:,}",
            remediation="Strip it, or split it into several modules.",
            severity=KitSeverity.Medium,
        )


def _memory(inspection: Inspection) -> Iterator[KitFinding]:
    pages = inspection.memory_pages
    if MAX_MEMORY_PAGES < pages <= LIMITS["max_memory_bytes"] // PAGE:
        yield KitFinding(
            what="it requires a large amount of memory",
            why=f"it starts with {pages:,} pages of 64 KiB ({pages // 16:,} MiB), which every call"
            " allocates in addition to the scene",
            remediation="Build it with a smaller initial memory.",
            severity=KitSeverity.Medium,
        )


def _error(what: str, why: str, remediation: str) -> KitFinding:
    return KitFinding(what=what, why=why, remediation=remediation, severity=KitSeverity.Error)
