"""Checks, before compilation, whether a module can be loaded.

All tools use these checks. So `inspect`, `annotate`, `init`, `package`, Triton's auto-complete and the service report
the same problems as `Program.load`. Errors that only validation finds (proposals used in code, invalid code) come from
the compiler or `portalis.inspection`, with the messages of `proposals`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from ..constants import (
    FUNCTION_BYTES,
    GLOBAL_BYTES,
    INSTANCE_BASE_BYTES,
    MAX_INSTANCE_BYTES,
    MAX_MEMORIES,
    MAX_TABLE_ELEMENTS,
    MAX_TABLES,
    PAGE,
)
from ..errors import ModuleError
from ..interface.interface import Convention, Interface
from ..limits import Limits
from ..plan.buffers import missing_allocator
from ..setting_names import TRITON_NAMES, SettingNames
from ..wasm.binary import ModuleInfo
from ..wasm.imports import unprovided_imports
from ..wasm.leb128 import Truncated
from ..wasm.proposals import PROPOSALS_BY_KEY, Proposal, uses_proposal
from ..wasm.sections import MemoryType
from ..wasm.segments import DATA, ELEMENTS, segments

_TAGS = 13


class LoadProblemKind(str, Enum):
    """The subject of a problem."""

    IMPORT = "import"
    PROPOSAL = "proposal"
    START = "start"
    MEMORY = "memory"
    TABLE = "table"
    SEGMENT = "segment"
    ALLOCATOR = "allocator"
    SIZE = "size"


@dataclass(frozen=True)
class LoadProblem:
    """A reason why a module cannot be loaded.

    `text` is a sentence about "it", the module, and `remedy` a build option that avoids the problem. If a higher limit
    solves it, `limit` is the name in `Limits` and `least` the required value. `proposal` is the key of the WebAssembly
    proposal that the module uses, if that is the problem.
    """

    kind: LoadProblemKind
    text: str
    remedy: str
    limit: str = ""
    least: int = 0
    proposal: str = ""

    @classmethod
    def from_proposal(cls, proposal: Proposal, detail: str) -> LoadProblem:
        """The problem of a module that uses `proposal`; `detail` is the construct that uses it."""
        text = f"it {uses_proposal(proposal, detail)}"
        return cls(LoadProblemKind.PROPOSAL, text, proposal.remedy, proposal=proposal.key)

    def message(self, setting_names: SettingNames = TRITON_NAMES) -> str:
        """The problem and its remediation, which names settings as in `setting_names`."""
        return f"{self.text}: {self.advice(setting_names)}"

    def advice(self, setting_names: SettingNames = TRITON_NAMES) -> str:
        """The remediation: raise the limit, named as in `setting_names`, or build the module differently."""
        can_raise = self.limit and setting_names.limit
        return (
            f"{setting_names.raise_to_advice(self.limit, self.least)}, or {self.remedy}" if can_raise else self.remedy
        )


def load_problems(info: ModuleInfo, interface: Interface | None, limits: Limits) -> list[LoadProblem]:
    """All known problems of loading and instantiating the module under `limits`.

    Without an `interface` its requirements, an allocator and a start function, are not checked. Raises ModuleError if
    they are checked and the code section cannot be read.
    """
    return [*module_problems(info, interface), *limit_problems(info.memories, info.size, limits)]


def module_problems(info: ModuleInfo, interface: Interface | None) -> list[LoadProblem]:
    """The problems that do not depend on limits."""
    found = import_problems(info)
    found += [LoadProblem.from_proposal(*each) for each in _used_proposals(info)]
    found += _bound_problems(info)
    with contextlib.suppress(Truncated):  # the module is invalid: validation reports the location
        found += _segment_problems(info)
    if interface is not None:
        found += _start_problems(info)
        if interface.convention in (Convention.GUFUNC, Convention.DLPACK):
            missing = missing_allocator(info)
            found += [LoadProblem(LoadProblemKind.ALLOCATOR, f"it {missing[0]}", missing[1])] if missing else []
    return found


def import_problems(info: ModuleInfo) -> list[LoadProblem]:
    """The imports that the host does not provide."""
    return [LoadProblem(LoadProblemKind.IMPORT, text, remedy) for text, remedy in unprovided_imports(info.imports)]


def limit_problems(memories: Sequence[MemoryType], size: int, limits: Limits) -> list[LoadProblem]:
    """The problems that higher limits solve, for a module of `size` bytes."""
    found = []
    if size > limits.max_module_bytes:
        text = f"it has {size} bytes, more than the limit of {limits.max_module_bytes}"
        found.append(LoadProblem(LoadProblemKind.SIZE, text, "strip it (wasm-strip, -Wl,-s)", "max_module_bytes", size))
    # memories of disabled proposals are rejected regardless of the limit
    first = max((each.minimum for each in memories if not each.memory64 and each.page_bytes == PAGE), default=0)
    if first * PAGE > limits.max_memory_bytes:
        text = (
            f"its memory begins with {first} pages of 64 KiB ({first * PAGE} bytes), more than the limit of"
            f" {limits.max_memory_bytes} bytes"
        )
        remedy = "build it with a smaller initial memory (clang -Wl,--initial-memory=, Emscripten: -sINITIAL_MEMORY=)"
        found.append(LoadProblem(LoadProblemKind.MEMORY, text, remedy, "max_memory_bytes", first * PAGE))
    return found


def check_loadable(
    info: ModuleInfo, interface: Interface, limits: Limits, *, where: str, setting_names: SettingNames = TRITON_NAMES
) -> None:
    """Raise ModuleError if the module has problems; the message begins with `where`."""
    raise_load_problems(load_problems(info, interface, limits), where=where, setting_names=setting_names)


def raise_load_problems(
    found: Iterable[LoadProblem], *, where: str, setting_names: SettingNames = TRITON_NAMES
) -> None:
    """Raise ModuleError with all the problems, if any."""
    text = problems_sentence(found, setting_names)
    if text:
        raise ModuleError(f"{where} cannot be loaded: {text}")


def problems_sentence(found: Iterable[LoadProblem], setting_names: SettingNames = TRITON_NAMES) -> str:
    """All problems in one sentence, or ""."""
    return "; ".join(problem.message(setting_names) for problem in found)


def _used_proposals(info: ModuleInfo) -> Iterator[tuple[Proposal, str]]:
    """The disabled proposals that the module's metadata uses, each with the construct that uses it."""
    used = {
        "threads": any(memory.shared for memory in info.memories) and "a shared memory",
        "memory64": (any(memory.memory64 for memory in info.memories) and "a 64-bit memory")
        or (any(table.table64 for table in info.tables) and "a 64-bit table"),
        "custom-page-sizes": any(memory.page_bytes != PAGE for memory in info.memories) and "pages of a different size",
        "exceptions": (info.section(_TAGS) or any(i.kind == "tag" for i in info.imports)) and "a tag",
    }
    return ((PROPOSALS_BY_KEY[key], detail) for key, detail in used.items() if detail)


def _start_problems(info: ModuleInfo) -> Iterator[LoadProblem]:
    if info.export("_initialize") is not None and info.export("_start") is not None:
        text = "it exports '_initialize' and '_start', so it is neither a reactor nor a command of WASI"
        yield LoadProblem(
            LoadProblemKind.START, text, "build it as one of the two (clang: -mexec-model=reactor or command)"
        )


def _bound_problems(info: ModuleInfo) -> Iterator[LoadProblem]:
    longest = max((table.minimum for table in info.tables), default=0)
    own = f"bytes of an instance's own data, for {len(info.globals)} globals and {len(info.functions)} functions"
    for kind, found, most, what, fewer in (
        (LoadProblemKind.MEMORY, len(info.memories), MAX_MEMORIES, "memories", ""),
        (LoadProblemKind.TABLE, len(info.tables), MAX_TABLES, "tables", ""),
        (LoadProblemKind.TABLE, longest, MAX_TABLE_ELEMENTS, "elements in a table", " functions in tables"),
        (
            LoadProblemKind.SIZE,
            _instance_bytes(info),
            MAX_INSTANCE_BYTES,
            own,
            " globals, exports and functions in tables",
        ),
    ):
        if found > most:
            text = f"it has {found} {what}; the sandbox allows {most}"
            yield LoadProblem(kind, text, f"build it with fewer{fewer}")


def _instance_bytes(info: ModuleInfo) -> int:
    """An upper bound of wasmtime's data for an instance. A function counts only if it is referred to."""
    per_global = GLOBAL_BYTES * len(info.globals) + INSTANCE_BASE_BYTES
    most = per_global + FUNCTION_BYTES * len(info.functions)
    if most <= MAX_INSTANCE_BYTES:
        return most  # the usual case, without counting
    exported = sum(export.kind == "func" for export in info.exports)
    try:
        in_tables = sum(segment.size for segment in segments(info, ELEMENTS))
    except Truncated:
        in_tables = 0
    referred = min(exported + in_tables + sum(g.valtype == "funcref" for g in info.globals), len(info.functions))
    return per_global + FUNCTION_BYTES * referred


def _segment_problems(info: ModuleInfo) -> Iterator[LoadProblem]:
    """Active segments that exceed the initial size of their memory or table, so that every instance would trap."""
    memories = [memory.minimum * PAGE for memory in info.memories]
    tables = [table.minimum for table in info.tables]
    for what, section, sizes, thing, unit in (
        ("data", DATA, memories, "memory", "bytes"),
        ("element", ELEMENTS, tables, "table", "elements"),
    ):
        for segment in segments(info, section):
            if segment.target is None or segment.at is None or segment.target >= len(sizes):
                continue
            end, size = segment.at + segment.size, sizes[segment.target]
            if end > size:
                text = (
                    f"its {what} segment {segment.index} extends from {segment.at} to {end}, but its {thing} begins"
                    f" with {size} {unit}, so every instance would trap"
                )
                yield LoadProblem(LoadProblemKind.SEGMENT, text, f"build it with a larger initial {thing}")
                break  # one of each kind is enough
