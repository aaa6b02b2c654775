"""WebAssembly proposals that the sandbox disables: their names in wasmtime's messages, and build options to avoid them.

``docs/abi.md`` lists them for users; `engine.engine_config` disables them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Proposal:
    """A disabled proposal.

    `key` is its name in `portalis inspect`, `called` its name in a sentence, `words` a pattern that matches only
    wasmtime's messages about it, and `remedy` a build option that avoids it.
    """

    key: str
    called: str
    words: str
    remedy: str

    @property
    def name(self) -> str:
        """The name in a sentence, after "uses"."""
        return f"the WebAssembly proposal {self.called}" if self.words else self.called


_NO_EXCEPTIONS = "build it without WebAssembly exceptions (-fno-exceptions, or -fno-wasm-exceptions)"
_NO_THREADS = "build it without threads (no -pthread, no -matomics)"
_LINEAR = "build it from a language, or with a compiler backend, that uses linear memory"

# The order matters: patterns of later proposals also match messages about earlier ones.
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
_QUOTED = re.compile(r"`(?!gc`)[^`]*`")  # names from the module
UNKNOWN_PROPOSAL = Proposal("unknown", "a WebAssembly proposal", "", "build it for WebAssembly 2.0, without it")
PROPOSALS_BY_KEY = {proposal.key: proposal for proposal in (*DISABLED_PROPOSALS, UNKNOWN_PROPOSAL)}


def proposal_in_message(message: str) -> Proposal | None:
    """The proposal that a module needs according to wasmtime's `message`; None if the message has a different cause."""
    text = _QUOTED.sub("", message)
    found = next((each for each in DISABLED_PROPOSALS if re.search(each.words, text, re.IGNORECASE)), None)
    return found or (UNKNOWN_PROPOSAL if _OTHER.search(text) else None)


def uses_proposal(proposal: Proposal, detail: str) -> str:
    """The statement, without its subject, that a module uses `proposal`; `detail` is the reader's or wasmtime's
    text."""
    return f"uses {proposal.name}, which the sandbox disables ({detail})"


def refusal_text(proposal: Proposal, detail: str) -> str:
    """The reason why a module that uses `proposal` cannot be loaded, with the remediation, without its subject."""
    return f"cannot be loaded: it {uses_proposal(proposal, detail)}: {proposal.remedy}"
