"""Whether a module can run inside Omniverse Kit (requirements 3.4), with the reason and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..inspection import Inspection

MAX_SIZE_BYTES = 100 << 20
MAX_MEMORY_PAGES = 1024  # of 64 KiB: 64 MiB
PROVIDED = ("env.abort",)  # AssemblyScript's; not of WASI, but the runtime inside the extension has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing about a module. With `blocks` it cannot run in Kit; else it is worth a warning."""

    what: str
    why: str
    remediation: str
    blocks: bool

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


def check(inspection: Inspection) -> Compatibility:
    """Check one module."""
    return Compatibility(findings=(*_blocking(inspection), *_warnings(inspection)))


def _blocking(inspection: Inspection) -> Iterator[Finding]:
    if inspection.invalid is not None:
        yield _blocks("it is no valid module", inspection.invalid, "Build it anew.")
        return
    missing = [name for name in inspection.not_wasi if name not in PROVIDED]
    if missing:
        yield _blocks(
            "it is not WASI compliant",
            f"it imports {', '.join(missing)}, and nothing in Kit provides that",
            "Build it for wasm32-wasi (preview 1) or without imports.",
        )
    if inspection.uses_threads:
        yield _blocks(
            "it uses threads",
            "it has a shared memory or atomic instructions, which Kit's main loop must not share with a guest",
            "Build it without threads (no -pthread, no -matomics).",
        )
    elif inspection.refused is not None and not missing:
        yield _blocks("the sandbox does not take it", inspection.refused, "Build it without that.")
    if inspection.interface is None:
        yield _blocks(
            "it cannot be called",
            inspection.no_interface or "its interface is not known",
            "Declare the interface in the spec (wasm_binaries.interface), or write it into the module with"
            " `portalis annotate`.",
        )


def _warnings(inspection: Inspection) -> Iterator[Finding]:
    if inspection.size_bytes > MAX_SIZE_BYTES:
        yield _warns(
            "it is large",
            f"it has {inspection.size_bytes:,} bytes, and more than {MAX_SIZE_BYTES:,} make Kit start slowly",
            "Strip it, or split it into several modules.",
        )
    if inspection.memory_pages > MAX_MEMORY_PAGES:
        yield _warns(
            "it needs much memory",
            f"it starts with {inspection.memory_pages:,} pages of 64 KiB ({inspection.memory_pages // 16:,} MiB), which"
            " every call takes beside the scene",
            "Build it with a smaller initial memory.",
        )
    provided = [name for name in inspection.not_wasi if name in PROVIDED]
    if provided:
        yield _warns(
            "it is not purely WASI",
            f"it imports {', '.join(provided)}; the runtime inside the extension provides it, other hosts may not",
            "Build it with `--use abort=` (AssemblyScript) to be free of it.",
        )


def _blocks(what: str, why: str, remediation: str) -> Finding:
    return Finding(what=what, why=why, remediation=remediation, blocks=True)


def _warns(what: str, why: str, remediation: str) -> Finding:
    return Finding(what=what, why=why, remediation=remediation, blocks=False)
