"""What is known of a module once it is inspected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..backend import Interface
from ..backend.binary import Export, FuncType, Import, MemoryType
from .features import FeatureSearch


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A module's properties. ``memory_pages`` are pages of 64 KiB; ``invalid`` is the validator's message, or None;
    ``refused`` says why the sandbox does not take a valid module; ``interface`` is None where ``no_interface`` says
    why.

    `features`, and with it `uses_simd` and `to_json`, reads the file again at the first access: several passes, where
    all the rest took one. An invalid module is said to use no feature.
    """

    name: str
    size_bytes: int
    sha256: str
    exports: tuple[Export, ...]
    imports: tuple[Import, ...]
    memories: tuple[MemoryType, ...]
    tables: int
    start: bool
    custom_sections: tuple[tuple[str, int], ...]
    wasi_compliant: bool
    not_wasi: tuple[str, ...]
    stateless: bool
    invalid: str | None
    refused: str | None
    interface: Interface | None
    no_interface: str | None
    uses_threads: bool
    search: FeatureSearch = field(repr=False, compare=False)

    @property
    def features(self) -> tuple[str, ...]:
        """The proposals that the module does not validate without, sorted.

        Raises ModuleError where the file is gone or has changed since it was inspected.
        """
        return self.search.find()

    @property
    def uses_simd(self) -> bool:
        """Whether the module uses 128-bit vectors. Raises as `features` does."""
        return "simd" in self.features

    @property
    def memory_pages(self) -> int:
        """The pages that the module starts with."""
        return sum(memory.minimum for memory in self.memories)

    def to_json(self) -> dict[str, Any]:
        """For machines. Raises as `features` does."""
        return {
            "name": self.name,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "valid": self.invalid is None,
            "invalid": self.invalid,
            "refused": self.refused,
            "exports": [{"name": e.name, "kind": e.kind, "type": _type_json(e.type)} for e in self.exports],
            "imports": [
                {"module": i.module, "name": i.name, "kind": i.kind, "type": _type_json(i.type)} for i in self.imports
            ],
            "memory_pages": self.memory_pages,
            "memories": [_type_json(memory) for memory in self.memories],
            "tables": self.tables,
            "start_function": self.start,
            "custom_sections": [{"name": name, "size_bytes": size} for name, size in self.custom_sections],
            "features": list(self.features),
            "wasi_compliant": self.wasi_compliant,
            "not_wasi": list(self.not_wasi),
            "stateless": self.stateless,
            "interface": self.interface.to_json() if self.interface else None,
            "interface_source": self.interface.source if self.interface else None,
            "no_interface": self.no_interface,
        }


def _type_json(kind: object) -> dict[str, Any] | None:
    if isinstance(kind, FuncType):
        return {"params": list(kind.params), "results": list(kind.results)}
    if isinstance(kind, MemoryType):
        limits = {"minimum": kind.minimum, "maximum": kind.maximum}
        return {**limits, "shared": kind.shared, "memory64": kind.memory64}
    return None if kind is None else {"type": str(kind)}
