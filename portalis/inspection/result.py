"""The result of an inspection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import wasm_backend
from ..backend import Interface, Limits
from ..backend.compile.loadable import LoadProblem, limit_problems, problems_sentence
from ..backend.setting_names import NAMES_BY_TOOL
from ..backend.triton.engine_selection import Engine, native_obstacle
from ..backend.wasm.binary import Export, FuncType, Import, MemoryType
from ..backend.wasm.imports import WASI, provides
from .features import FeatureSearch


def is_wasi(imported: Import) -> bool:
    """Whether an import is a function of WASI preview 1 with its type there."""
    return imported.module == WASI and provides(imported)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A reason why the runtime does not load a module, and what to do about it with the settings of one tool.

    `kind` is a `backend.compile.loadable.LoadProblemKind`. `limit` is the name of the limit to raise, `proposal` the
    key of the proposal that the module uses.
    """

    kind: str
    why: str
    remediation: str
    limit: str = ""
    proposal: str = ""

    @classmethod
    def from_problem(cls, problem: LoadProblem, tool: str) -> Finding:
        """`problem` with the setting names of a tool of `backend.setting_names`."""
        advice = problem.advice(NAMES_BY_TOOL[tool])
        return cls(
            kind=problem.kind.value,
            why=problem.text,
            remediation=f"{advice[:1].upper()}{advice[1:]}.",
            limit=problem.limit,
            proposal=problem.proposal,
        )

    def __str__(self) -> str:
        return f"{self.why}. {self.remediation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """The value of ``wasm.engine`` with which a module runs in Triton, ``native`` or ``python``, and the reason."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A module's properties.

    ``memory_pages`` are pages of 64 KiB. ``invalid`` is the validator's message, or None. ``unloadable`` are problems
    that prevent the sandbox from loading a valid module, regardless of its settings. ``interface`` is None if
    ``no_interface`` has the reason.

    The first access to `features`, `uses_simd` or `to_json` reads the file again and takes several passes over it; all
    other properties took one. An invalid module has no features.
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
    not_wasi: tuple[str, ...]
    stateless: bool
    invalid: str | None
    unloadable: tuple[LoadProblem, ...]
    interface: Interface | None
    no_interface: str | None
    uses_threads: bool
    search: FeatureSearch = field(repr=False, compare=False)

    def problems(self, limits: Mapping[str, Any] | None = None) -> tuple[LoadProblem, ...]:
        """All problems that prevent the runtime from loading a valid module under `limits`, by name; default limits
        for the others."""
        if self.invalid is not None:
            return ()
        return (*self.unloadable, *limit_problems(self.memories, self.size_bytes, Limits(**(limits or {}))))

    def findings(self, tool: str, limits: Mapping[str, Any] | None = None) -> tuple[Finding, ...]:
        """The `problems` with the setting names of a tool."""
        return tuple(Finding.from_problem(problem, tool) for problem in self.problems(limits))

    def unservable_reason(self, tool: str) -> str | None:
        """The reason why the module cannot be served unchanged and under the default limits, or None."""
        problems = problems_sentence(self.problems(), NAMES_BY_TOOL[tool])
        return self.invalid or problems or self.no_interface

    @property
    def refused(self) -> str | None:
        """The reason why the runtime does not load a valid module under its default limits, or None."""
        return problems_sentence(self.problems(), NAMES_BY_TOOL["inspect"]) or None

    @property
    def engine(self) -> EngineChoice | None:
        """The default engine of the module in Triton; None if the runtime does not load it."""
        if self.interface is None or self.invalid or self.refused:
            return None
        why = native_obstacle(self.interface)
        machines = wasm_backend.machines()
        if why is None and not machines:
            why = "this portalis was installed without the native libraries"
        if why is not None:
            return EngineChoice(name=Engine.PYTHON.value, why=why)
        where = f"on Linux ({', '.join(machines)}); python elsewhere, or where wasm.engine is python"
        return EngineChoice(name=Engine.NATIVE.value, why=where)

    @property
    def beyond_wasi(self) -> tuple[str, ...]:
        """The imports outside WASI that the host provides."""
        return tuple(f"{i.module}.{i.name}" for i in self.imports if provides(i) and not is_wasi(i))

    @property
    def wasi_compliant(self) -> bool:
        """Whether all imports are functions of WASI preview 1 with their types there."""
        return not self.not_wasi

    @property
    def features(self) -> tuple[str, ...]:
        """The proposals without which the module is not valid, sorted.

        Raises ModuleError if the file has changed since the inspection, or cannot be read.
        """
        return self.search.find()

    @property
    def uses_simd(self) -> bool:
        """Whether the module uses 128-bit vectors. Raises as `features` does."""
        return "simd" in self.features

    @property
    def memory_pages(self) -> int:
        """The initial size of all memories, in pages."""
        return sum(memory.minimum for memory in self.memories)

    def to_json(self) -> dict[str, Any]:
        """The inspection as JSON. Raises as `features` does."""
        engine = self.engine
        return {
            "name": self.name,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "valid": self.invalid is None,
            "invalid": self.invalid,
            "refused": self.refused,
            "problems": [
                {"kind": each.kind, "why": each.why, "remediation": each.remediation, "limit": each.limit or None}
                for each in self.findings("inspect")
            ],
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
            "engine": None if engine is None else {"name": engine.name, "why": engine.why},
        }


def _type_json(kind: object) -> dict[str, Any] | None:
    if isinstance(kind, FuncType):
        return {"params": list(kind.params), "results": list(kind.results)}
    if isinstance(kind, MemoryType):
        limits = {"minimum": kind.minimum, "maximum": kind.maximum}
        return {**limits, "shared": kind.shared, "memory64": kind.memory64}
    return None if kind is None else {"type": str(kind)}
