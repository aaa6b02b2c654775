"""Whether a module can run inside Omniverse Kit (requirements 3.4), with the reason and what to do.

Kit has nothing to offer to a guest but what the runtime inside the extension provides: WASI preview 1 without files
and network, and AssemblyScript's abort. What a module imports decides, not what it says of itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from .extension_toml import LIMITS

if TYPE_CHECKING:
    from ..inspection import Inspection

MAX_SIZE_BYTES = 100 << 20
PAGE_BYTES = 64 << 10
MAX_MEMORY_PAGES = 1024  # 64 MiB
PROVIDED = ("env.abort",)  # AssemblyScript's; not of WASI, but the runtime inside the extension has it
WASI = "wasi_snapshot_preview1"
_HIGH_PAGES = int(LIMITS["max_memory_bytes"]) // PAGE_BYTES
_HIGH_BYTES = int(LIMITS["max_module_bytes"])


class Severity(str, Enum):
    """How much a finding matters. An error keeps the module out; a high warning keeps it from running until a setting
    is changed; the others are to be known."""

    Error = "Error"
    High = "High"
    Medium = "Medium"
    Low = "Low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing about a module: what it is, why it matters in Kit, and what to do."""

    what: str
    why: str
    remediation: str
    severity: Severity

    @property
    def blocks(self) -> bool:
        """Whether the module cannot run in Kit because of this."""
        return self.severity is Severity.Error

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

    findings: tuple[Finding, ...]

    @property
    def compatible(self) -> bool:
        """Whether nothing of it blocks."""
        return not self.blocking

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """What keeps the module out."""
        return tuple(each for each in self.findings if each.blocks)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What does not."""
        return tuple(each for each in self.findings if not each.blocks)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {"compatible": self.compatible, "findings": [each.to_json() for each in self.findings]}


def check(inspection: Inspection) -> Compatibility:
    """Check one module. Nothing of it is run."""
    if inspection.invalid is not None:
        only = _error("it is no valid module", inspection.invalid, "Build it anew.")
        return Compatibility(findings=(only,))
    parts = (_imports, _features, _interface, _outside, _size, _memory)
    return Compatibility(findings=tuple(finding for part in parts for finding in part(inspection)))


def _imports(inspection: Inspection) -> Iterator[Finding]:
    missing = [name for name in inspection.not_wasi if name not in PROVIDED]
    if missing:
        yield _error(
            "it is not WASI compliant",
            f"it imports {', '.join(missing)}, and nothing in Kit provides that",
            "Build it for wasm32-wasi (preview 1) or without imports.",
        )
    provided = [name for name in inspection.not_wasi if name in PROVIDED]
    if provided:
        yield Finding(
            what="it is not purely WASI",
            why=f"it imports {', '.join(provided)}; the runtime inside the extension provides it, other hosts may not",
            remediation="Build it with `--use abort=` (AssemblyScript) to be free of it.",
            severity=Severity.Low,
        )


def _features(inspection: Inspection) -> Iterator[Finding]:
    wide = any(memory.memory64 for memory in inspection.memories)
    if inspection.uses_threads:
        yield _error(
            "it uses threads",
            "it has a shared memory or atomic instructions, which Kit's main loop must not share with a guest",
            "Build it without threads (no -pthread, no -matomics).",
        )
    if wide:
        yield _error(
            "it has a 64-bit memory",
            "the memory64 proposal is left out of the sandbox, as no call convention has 64-bit pointers",
            "Build it for wasm32.",
        )
    unexplained = inspection.refused is not None and not inspection.uses_threads and not wide
    if unexplained and all(name in PROVIDED for name in inspection.not_wasi):
        yield _error("the sandbox does not take it", str(inspection.refused), "Build it without that.")


def _interface(inspection: Inspection) -> Iterator[Finding]:
    if inspection.interface is None:
        yield _error(
            "it cannot be called",
            inspection.no_interface or "its interface is not known",
            "Declare the interface in the spec (wasm_binaries.interface), or write it into the module with"
            " `portalis annotate`.",
        )


def _outside(inspection: Inspection) -> Iterator[Finding]:
    """What WASI has, and a guest in Kit has not."""
    for prefix, thing in (("path_", "files"), ("sock_", "the network")):
        wanted = [each.name for each in inspection.imports if each.module == WASI and each.name.startswith(prefix)]
        if wanted:
            yield Finding(
                what=f"it may want {thing}",
                why=f"it imports {', '.join(wanted)}, which are there and fail: a guest in Kit has no {thing}",
                remediation="Give it what it needs as inputs. If it only links them, nothing has to be done.",
                severity=Severity.Low,
            )


def _size(inspection: Inspection) -> Iterator[Finding]:
    if inspection.size_bytes > _HIGH_BYTES:
        yield Finding(
            what="it is too large for the extension's limit",
            why=f"it has {inspection.size_bytes:,} bytes, and the default of max_module_bytes is {_HIGH_BYTES:,}",
            remediation="Strip it, or split it; else raise the extension's setting max_module_bytes in Kit.",
            severity=Severity.High,
        )
    elif inspection.size_bytes > MAX_SIZE_BYTES:
        yield Finding(
            what="it is large",
            why=f"it has {inspection.size_bytes:,} bytes, and more than {MAX_SIZE_BYTES:,} make Kit start slowly",
            remediation="Strip it, or split it into several modules.",
            severity=Severity.Medium,
        )


def _memory(inspection: Inspection) -> Iterator[Finding]:
    pages = inspection.memory_pages
    told = f"it starts with {pages:,} pages of 64 KiB ({pages // 16:,} MiB)"
    if pages > _HIGH_PAGES:
        yield Finding(
            what="it needs more memory than the extension's limit",
            why=f"{told}, and the default of max_memory_bytes is {_HIGH_PAGES // 16:,} MiB",
            remediation="Build it with a smaller initial memory, or raise the extension's setting max_memory_bytes.",
            severity=Severity.High,
        )
    elif pages > MAX_MEMORY_PAGES:
        yield Finding(
            what="it needs much memory",
            why=f"{told}, which every call takes beside the scene",
            remediation="Build it with a smaller initial memory.",
            severity=Severity.Medium,
        )


def _error(what: str, why: str, remediation: str) -> Finding:
    return Finding(what=what, why=why, remediation=remediation, severity=Severity.Error)
