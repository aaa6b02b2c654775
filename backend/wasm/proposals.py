"""The proposals of WebAssembly that the sandbox leaves out: how wasmtime names each, and what to build without.

``docs/abi.md`` lists them for people; `engine.engine_config` switches them off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Proposal:
    """`key` as in `portalis inspect`, `called` in a sentence, `words` that only messages about it have, `remedy`."""

    key: str
    called: str
    words: str
    remedy: str

    @property
    def name(self) -> str:
        """Its name in a sentence, after "uses"."""
        return f"the WebAssembly proposal {self.called}" if self.words else self.called


_NO_EXCEPTIONS = "build it without WebAssembly exceptions (-fno-exceptions, or -fno-wasm-exceptions)"
_NO_THREADS = "build it without threads (no -pthread, no -matomics)"
_LINEAR = "build it from a language that compiles to linear memory, or with such a backend of its compiler"

# In this order: the words of the first ones contain those of later ones.
DISABLED_PROPOSALS = (
    Proposal(
        "legacy-exceptions", "legacy exception handling", r"legacy[_ ]exceptions (feature|support)", _NO_EXCEPTIONS
    ),
    Proposal("exceptions", "exception handling", r"exceptions? (proposal|support|refs not)", _NO_EXCEPTIONS),
    Proposal(
        "shared-everything-threads", "shared-everything threads", r"shared-everything-threads proposal", _NO_THREADS
    ),
    Proposal("threads", "threads", r"\bthreads (must be|support)", _NO_THREADS),
    Proposal(
        "memory64",
        "memory64 (64-bit memories)",
        r"\bmemory64 (must be|support)",
        "build it for wasm32 (no -mwasm64 or -sMEMORY64)",
    ),
    Proposal(
        "custom-page-sizes",
        "custom page sizes",
        r"custom page sizes proposal",
        "build it with pages of 64 KiB (clang without -Wl,--page-size=)",
    ),
    Proposal("stack-switching", "stack switching", r"stack switching (is|support|must)", "build it without coroutines"),
    Proposal("memory-control", "memory control", r"memory control support", "build it without memory.discard"),
    Proposal(
        "function-references",
        "typed function references",
        r"function[- ]references (proposal|required|support)",
        "build it without typed references (call_indirect instead of call_ref)",
    ),
    Proposal(
        "gc",
        "garbage collection (GC)",
        r"\bgc (feature|proposal|support)|`gc` proposal|locally defined global",
        _LINEAR,
    ),
)
_OTHER = re.compile(
    r"(proposal|support|feature) (is )?(not enabled|must be enabled|required)|must be enabled|is disabled"
)
_QUOTED = re.compile(r"`(?!gc`)[^`]*`")  # names that are the module's own
UNKNOWN_PROPOSAL = Proposal("unknown", "a WebAssembly proposal", "", "build it for WebAssembly 2.0, without it")
PROPOSALS_BY_KEY = {proposal.key: proposal for proposal in (*DISABLED_PROPOSALS, UNKNOWN_PROPOSAL)}


def proposal_in_message(message: str) -> Proposal | None:
    """The proposal that wasmtime's `message` about a module wants, or None where it is about something else."""
    own = _QUOTED.sub("", message)
    found = next((each for each in DISABLED_PROPOSALS if re.search(each.words, own, re.IGNORECASE)), None)
    return found or (UNKNOWN_PROPOSAL if _OTHER.search(own) else None)


def uses_proposal(proposal: Proposal, detail: str) -> str:
    """What a module does that uses `proposal`, without its subject; `detail` is what the reader or wasmtime said."""
    return f"uses {proposal.name}, which the sandbox leaves out ({detail})"


def refusal_text(proposal: Proposal, detail: str) -> str:
    """Why a module that uses `proposal` is not loaded and what to do, without its name."""
    return f"cannot be loaded: it {uses_proposal(proposal, detail)}: {proposal.remedy}"
