"""Whether a module can be loaded: everything that is known before it is compiled, decided here for all tools alike.

`Program.load` refuses what `problems` finds, so `inspect`, `annotate`, `init`, `package`, Triton's own completion of a
configuration and the service say the same of a module as loading it does. What only the validator sees (proposals in
code, invalid code) is found by compiling, or by `portalis.inspection`, and said in the words of `proposals`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from .. import facts
from ..errors import ModuleError
from ..facts import PAGE
from ..interface.interface import Convention, Interface
from ..limits import Limits
from ..plan.buffers import why_no_allocator
from ..terms import TRITON, Terms
from ..wasm import imports, proposals, segments
from ..wasm.binary import ModuleInfo
from ..wasm.leb128 import Truncated
from ..wasm.sections import MemoryType

_TAGS = 13


class Kind(str, Enum):
    """What a problem is about."""

    IMPORT = "import"
    PROPOSAL = "proposal"
    START = "start"
    MEMORY = "memory"
    TABLE = "table"
    SEGMENT = "segment"
    ALLOCATOR = "allocator"
    SIZE = "size"


@dataclass(frozen=True)
class Problem:
    """Why a module cannot be loaded: `text` is a sentence about "it", and `remedy` says how to build the module.

    Where a higher limit would do, `limit` is its name in `Limits` and `least` the value that it needs. `proposal` is
    the key of one that is used."""

    kind: Kind
    text: str
    remedy: str
    limit: str = ""
    least: int = 0
    proposal: str = ""

    @classmethod
    def of_proposal(cls, proposal: proposals.Proposal, detail: str) -> Problem:
        """The problem of a module that uses `proposal`; `detail` says how."""
        text = f"it {proposals.uses(proposal, detail)}"
        return cls(Kind.PROPOSAL, text, proposal.remedy, proposal=proposal.key)

    def told(self, terms: Terms = TRITON) -> str:
        """The text and the remedy, with a limit in the `terms` of a tool."""
        return f"{self.text}: {self.advice(terms)}"

    def advice(self, terms: Terms = TRITON) -> str:
        """What to do: raise the limit, in the `terms` of a tool, or build the module another way."""
        can_raise = self.limit and terms.limit
        return f"{terms.raised(self.limit, self.least)}, or {self.remedy}" if can_raise else self.remedy


def problems(info: ModuleInfo, interface: Interface | None, limits: Limits) -> list[Problem]:
    """Everything for which the module cannot be loaded and instantiated under `limits`.

    Without an `interface` nothing is said of what it needs: an allocator, a start. Raises ModuleError where that is
    asked of code that cannot be read."""
    return [*of_module(info, interface), *of_limits(info.memories, info.size, limits)]


def of_module(info: ModuleInfo, interface: Interface | None) -> list[Problem]:
    """The problems that no setting changes."""
    found = of_imports(info)
    found += [Problem.of_proposal(*each) for each in _proposals(info)]
    found += _bounds(info)
    with contextlib.suppress(Truncated):  # it is not valid: the validator says where
        found += _segments(info)
    if interface is not None:
        found += _start(info)
        if interface.convention in (Convention.GUFUNC, Convention.DLPACK):
            why = why_no_allocator(info)
            found += [Problem(Kind.ALLOCATOR, f"it {why[0]}", why[1])] if why else []
    return found


def of_imports(info: ModuleInfo) -> list[Problem]:
    """The imports that the host does not provide."""
    return [Problem(Kind.IMPORT, text, remedy) for text, remedy in imports.unprovided(info.imports)]


def of_limits(memories: Sequence[MemoryType], size: int, limits: Limits) -> list[Problem]:
    """The problems that higher limits solve, for a module of `size` bytes."""
    found = []
    if size > limits.max_module_bytes:
        text = f"it has {size} bytes, more than the limit of {limits.max_module_bytes}"
        found.append(Problem(Kind.SIZE, text, "strip it (wasm-strip, -Wl,-s)", "max_module_bytes", size))
    # memories of proposals that the sandbox leaves out are refused whatever the limit
    first = max((each.minimum for each in memories if not each.memory64 and each.page_bytes == PAGE), default=0)
    if first * PAGE > limits.max_memory_bytes:
        text = (
            f"its memory begins with {first} pages of 64 KiB ({first * PAGE} bytes), more than the limit of"
            f" {limits.max_memory_bytes} bytes"
        )
        remedy = "build it with a smaller initial memory (clang -Wl,--initial-memory=, Emscripten: -sINITIAL_MEMORY=)"
        found.append(Problem(Kind.MEMORY, text, remedy, "max_memory_bytes", first * PAGE))
    return found


def refuse(info: ModuleInfo, interface: Interface, limits: Limits, *, where: str, terms: Terms = TRITON) -> None:
    """Raise ModuleError where the module has problems; `where` opens its text."""
    raise_any(problems(info, interface, limits), where=where, terms=terms)


def raise_any(found: Iterable[Problem], *, where: str, terms: Terms = TRITON) -> None:
    """Raise ModuleError with all the problems that were found."""
    text = sentence(found, terms)
    if text:
        raise ModuleError(f"{where} cannot be loaded: {text}")


def sentence(found: Iterable[Problem], terms: Terms = TRITON) -> str:
    """All problems in one sentence; "" for none."""
    return "; ".join(problem.told(terms) for problem in found)


def _proposals(info: ModuleInfo) -> Iterator[tuple[proposals.Proposal, str]]:
    """The proposals that a module's metadata shows, without its code."""
    used = {
        "threads": any(memory.shared for memory in info.memories) and "a shared memory",
        "memory64": (any(memory.memory64 for memory in info.memories) and "a 64-bit memory")
        or (any(table.table64 for table in info.tables) and "a 64-bit table"),
        "custom-page-sizes": any(memory.page_bytes != PAGE for memory in info.memories) and "pages of another size",
        "exceptions": (info.section(_TAGS) or any(i.kind == "tag" for i in info.imports)) and "a tag",
    }
    return ((proposals.BY_KEY[key], detail) for key, detail in used.items() if detail)


def _start(info: ModuleInfo) -> Iterator[Problem]:
    if info.export("_initialize") is not None and info.export("_start") is not None:
        text = "it exports '_initialize' and '_start', so it is neither a reactor nor a command of WASI"
        yield Problem(Kind.START, text, "build it as one of the two (clang: -mexec-model=reactor or command)")


def _bounds(info: ModuleInfo) -> Iterator[Problem]:
    longest = max((table.minimum for table in info.tables), default=0)
    own = f"bytes of an instance's own data, for {len(info.globals)} globals and {len(info.functions)} functions"
    for kind, found, most, what, fewer in (
        (Kind.MEMORY, len(info.memories), facts.MAX_MEMORIES, "memories", ""),
        (Kind.TABLE, len(info.tables), facts.MAX_TABLES, "tables", ""),
        (Kind.TABLE, longest, facts.MAX_TABLE_ELEMENTS, "elements in a table", " functions in tables"),
        (Kind.SIZE, _instance_bytes(info), facts.MAX_INSTANCE_BYTES, own, " globals, exports and functions in tables"),
    ):
        if found > most:
            text = f"it has {found} {what}; the sandbox has room for {most}"
            yield Problem(kind, text, f"build it with fewer{fewer}")


def _instance_bytes(info: ModuleInfo) -> int:
    """What wasmtime needs for an instance, at most: functions count where something refers to them."""
    per_global = facts.GLOBAL_BYTES * len(info.globals) + facts.INSTANCE_BASE_BYTES
    most = per_global + facts.FUNCTION_BYTES * len(info.functions)
    if most <= facts.MAX_INSTANCE_BYTES:
        return most  # the usual case: nothing has to be counted
    exported = sum(export.kind == "func" for export in info.exports)
    try:
        in_tables = sum(segment.size for segment in segments.segments(info, segments.ELEMENTS))
    except Truncated:
        in_tables = 0
    referred = min(exported + in_tables + sum(g.valtype == "funcref" for g in info.globals), len(info.functions))
    return per_global + facts.FUNCTION_BYTES * referred


def _segments(info: ModuleInfo) -> Iterator[Problem]:
    """Active segments that reach beyond the first size of their memory or table: every instance would trap."""
    memories = [memory.minimum * PAGE for memory in info.memories]
    tables = [table.minimum for table in info.tables]
    for what, section, sizes, thing, unit in (
        ("data", segments.DATA, memories, "memory", "bytes"),
        ("element", segments.ELEMENTS, tables, "table", "elements"),
    ):
        for segment in segments.segments(info, section):
            if segment.target is None or segment.at is None or segment.target >= len(sizes):
                continue
            end, size = segment.at + segment.size, sizes[segment.target]
            if end > size:
                text = (
                    f"its {what} segment {segment.index} goes from {segment.at} to {end}, but its {thing} begins with"
                    f" {size} {unit}, so every instance would trap"
                )
                yield Problem(Kind.SEGMENT, text, f"build it with a larger initial {thing}")
                break  # one of each kind says enough
