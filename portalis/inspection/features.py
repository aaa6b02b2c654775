"""Finds the proposals that a module uses: those without which it is not valid."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from ..backend import ModuleError
from ..backend.wasm.module_file import read_file
from ..digests import sha256_hex
from .validator import ALL, PROPOSALS, all_without, validation_error, with_bases

# Names of proposals in wasmtime's messages. The first match counts, so longer names come first.
_NAMES_IN_MESSAGES = (
    ("relaxed simd", "relaxed-simd"),
    ("simd", "simd"),
    ("threads", "threads"),
    ("memory64", "memory64"),
    ("tail calls", "tail-call"),
    ("function references", "function-references"),
    ("gc", "gc"),
    ("locally defined global", "gc"),
    ("reference types", "reference-types"),
    ("multiple tables", "reference-types"),
    ("bulk memory", "bulk-memory"),
    ("multi value", "multi-value"),
    ("multiple memories", "multi-memory"),
    ("multi memory", "multi-memory"),
    ("exceptions", "exceptions"),
    ("exception handling", "exceptions"),
    ("wide arithmetic", "wide-arithmetic"),
)


class FeatureSearch:
    """Finds the features of a file at the first request.

    `sha256` is the digest of the content that was inspected. `known` are the features if no search is needed.
    """

    def __init__(self, path: Path, sha256: str, *, known: tuple[str, ...] | None) -> None:
        self._path = path.absolute()
        self._sha256 = sha256
        self._lock = threading.Lock()
        self._found: tuple[str, ...] | None = known

    def find(self) -> tuple[str, ...]:
        """The features, sorted. Raises ModuleError if the file has changed since the inspection, or cannot be read."""
        with self._lock:
            if self._found is None:
                module = read_file(self._path)
                if sha256_hex(module) != self._sha256:
                    raise ModuleError(f"{self._path} has changed since it was inspected: inspect it again")
                self._found = features(module)
            return self._found


def features(module: bytes | memoryview) -> tuple[str, ...]:
    """The features of a valid module, sorted.

    The time of a validation grows with the module's size, but a validation that fails ends at the first use of a
    missing proposal. So proposals are added, one for each failure, until the module is valid; only these are
    candidates. A wrong candidate costs time only: each is confirmed by a validation without it, which must fail.
    """
    enough = _enough(module)
    return tuple(sorted(name for name in PROPOSALS if enough - all_without(name) and needs(module, name)))


def needs(module: bytes | memoryview, proposal: str) -> bool:
    """Whether a valid `module` uses `proposal`: it is invalid without this proposal and those that depend on it."""
    return validation_error(module, all_without(proposal)) is not None


def _enough(module: bytes | memoryview) -> frozenset[str]:
    """Proposals that suffice for `module` to be valid: few if wasmtime's messages name the missing ones, else `ALL`."""
    on: frozenset[str] = frozenset()
    while (why := validation_error(module, on)) is not None:
        missing = _named(why)
        if missing is None or missing in on:
            untried = (name for name in PROPOSALS if name not in on)
            missing = next((n for n in untried if validation_error(module, with_bases(on | {n})) != why), None)
        if missing is None:
            return ALL
        on = with_bases(on | {missing})
    return on


def _named(why: str) -> str | None:
    words = re.sub("[^a-z0-9]+", " ", f" {why.lower()} ")
    return next((proposal for name, proposal in _NAMES_IN_MESSAGES if f" {name} " in words), None)
