"""Which proposals a module uses: those that it does not validate without."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from ..backend import ModuleError
from ..backend.wasm.module_file import read_file
from ..digests import sha256_hex
from .validator import ALL, PROPOSALS, all_without, problem, with_bases

# What wasmtime's messages call a proposal, in words; the first that occurs counts, so the longer ones come first.
_CALLED = (
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
    """Finds the features of the file at `path` when they are asked for, once. They are those of the contents whose
    digest is `sha256`; `known` where they need no search."""

    def __init__(self, path: Path, sha256: str, *, known: tuple[str, ...] | None) -> None:
        self._path = path.absolute()
        self._sha256 = sha256
        self._lock = threading.Lock()
        self._found: tuple[str, ...] | None = known

    def find(self) -> tuple[str, ...]:
        """The features, sorted. Raises ModuleError where the file has other contents by now, or none."""
        with self._lock:
            if self._found is None:
                module = read_file(self._path)
                if sha256_hex(module) != self._sha256:
                    raise ModuleError(f"{self._path} has changed since it was inspected: inspect it again")
                self._found = features(module)
            return self._found


def features(module: bytes | memoryview) -> tuple[str, ...]:
    """The features of a valid module, sorted.

    A pass costs as much as the module is long, but a pass that fails ends at the first use of what is missing. So what
    `module` may use is gathered from failing passes, until one succeeds; nothing beyond that needs to be tried. A
    wrong guess costs time only: each feature found is one without which the module was seen to fail.
    """
    enough = _enough(module)
    return tuple(sorted(name for name in PROPOSALS if enough - all_without(name) and needs(module, name)))


def needs(module: bytes | memoryview, proposal: str) -> bool:
    """Whether a valid `module` uses `proposal`: it is not valid without it and what is built upon it."""
    return problem(module, all_without(proposal)) is not None


def _enough(module: bytes | memoryview) -> frozenset[str]:
    """Proposals with which `module` is valid, few where that can be told."""
    on: frozenset[str] = frozenset()
    while (why := problem(module, on)) is not None:
        missing = _named(why)
        if missing is None or missing in on:
            missing = next(
                (name for name in PROPOSALS if name not in on and problem(module, with_bases(on | {name})) != why), None
            )
        if missing is None:
            return ALL
        on = with_bases(on | {missing})
    return on


def _named(why: str) -> str | None:
    words = re.sub("[^a-z0-9]+", " ", f" {why.lower()} ")
    return next((proposal for called, proposal in _CALLED if f" {called} " in words), None)
