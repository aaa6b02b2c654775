"""Whether a module can run inside Omniverse Kit (requirements 3.4), with the reason and what to do.

Kit has nothing to offer to a guest but what the runtime inside the extension provides: WASI preview 1 without files
and network, and AssemblyScript's abort. What a module imports decides, not what it says of itself.
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
    """How much a finding matters. An error keeps the module out; a high warning keeps it from running until a setting
    is changed; the others are to be known."""

    Error = "Error"
    High = "High"
    Medium = "Medium"
    Low = "Low"


@dataclass(frozen=True, slots=True, kw_only=True)
class KitFinding:
    """One thing about a module: what it is, why it matters in Kit, and what to do."""

    what: str
    why: str
    remediation: str
    severity: KitSeverity

    @property
    def blocks(self) -> bool:
        """Whether the module cannot run in Kit because of this."""
        return self.severity is KitSeverity.Error

    def to_json(self) -> dict[str, str]:
        """For machines."""
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
    """All that was found in one module."""

    findings: tuple[KitFinding, ...]

    @property
    def compatible(self) -> bool:
        """Whether nothing of it blocks."""
        return not self.blocking

    @property
    def blocking(self) -> tuple[KitFinding, ...]:
        """What keeps the module out."""
        return tuple(each for each in self.findings if each.blocks)

    @property
    def warnings(self) -> tuple[KitFinding, ...]:
        """What does not."""
        return tuple(each for each in self.findings if not each.blocks)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {"compatible": self.compatible, "findings": [each.to_json() for each in self.findings]}


def check_kit_compatibility(inspection: Inspection) -> Compatibility:
    """Check one module. Nothing of it is run."""
    if inspection.invalid is not None:
        only = _error("it is no valid module", inspection.invalid, "Build it anew.")
        return Compatibility(findings=(only,))
    parts = (_unloadable, _imports, _interface, _outside, _limits, _size, _memory)
    return Compatibility(findings=tuple(finding for part in parts for finding in part(inspection)))


def _unloadable(inspection: Inspection) -> Iterator[KitFinding]:
    """What the runtime in the extension refuses to load, whatever its settings, in its words."""
    for each in inspection.findings("kit"):
        if not each.limit:
            what = _TITLES.get(each.proposal or each.kind, "the sandbox does not take it")
            yield _error(what, each.why, each.remediation)


_TITLES = {
    "import": "it is not WASI compliant",
    "threads": "it uses threads",
    "memory64": "it has a 64-bit memory",
    "allocator": "it cannot be given tensors",
    "segment": "it cannot be instantiated",
}


def _imports(inspection: Inspection) -> Iterator[KitFinding]:
    own = inspection.beyond_wasi
    if own:
        yield KitFinding(
            what="it is not purely WASI",
            why=f"it imports {', '.join(own)}; the runtime inside the extension provides it, other hosts may not",
            remediation="Build it with `--use abort=` (AssemblyScript) to be free of it.",
            severity=KitSeverity.Low,
        )


def _interface(inspection: Inspection) -> Iterator[KitFinding]:
    if inspection.interface is None:
        yield _error(
            "it cannot be called",
            inspection.no_interface or "its interface is not known",
            "Declare the interface in the spec (wasm_binaries.interface), or write it into the module with"
            " `portalis annotate`.",
        )


def _outside(inspection: Inspection) -> Iterator[KitFinding]:
    """What WASI has, and a guest in Kit has not."""
    for prefix, thing in (("path_", "files"), ("sock_", "the network")):
        wanted = [each.name for each in inspection.imports if each.module == WASI and each.name.startswith(prefix)]
        if wanted:
            yield KitFinding(
                what=f"it may want {thing}",
                why=f"it imports {', '.join(wanted)}, which are there and fail: a guest in Kit has no {thing}",
                remediation="Give it what it needs as inputs. If it only links them, nothing has to be done.",
                severity=KitSeverity.Low,
            )


def _limits(inspection: Inspection) -> Iterator[KitFinding]:
    """What the extension's limits, which are settings in Kit, keep from running."""
    titles = {
        "max_module_bytes": "it is too large for the extension's limit",
        "max_memory_bytes": "it needs more memory than the extension's limit",
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
            why=f"it has {inspection.size_bytes:,} bytes, and more than {MAX_SIZE_BYTES:,} make Kit start slowly",
            remediation="Strip it, or split it into several modules.",
            severity=KitSeverity.Medium,
        )


def _memory(inspection: Inspection) -> Iterator[KitFinding]:
    pages = inspection.memory_pages
    if MAX_MEMORY_PAGES < pages <= LIMITS["max_memory_bytes"] // PAGE:
        yield KitFinding(
            what="it needs much memory",
            why=f"it starts with {pages:,} pages of 64 KiB ({pages // 16:,} MiB), which every call takes beside the"
            " scene",
            remediation="Build it with a smaller initial memory.",
            severity=KitSeverity.Medium,
        )


def _error(what: str, why: str, remediation: str) -> KitFinding:
    return KitFinding(what=what, why=why, remediation=remediation, severity=KitSeverity.Error)
