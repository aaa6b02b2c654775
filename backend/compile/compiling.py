"""How the modules of one program are compiled."""

from __future__ import annotations

from dataclasses import dataclass

import wasmtime

from ..limits import Limits
from ..terms import Terms
from .cache import CompileCache
from .engine import EngineSettings
from .loading import load


@dataclass(frozen=True)
class Compiling:
    """How the modules of one program are compiled, and what errors call them."""

    limits: Limits
    cache: CompileCache | None
    trusted: bool
    name: str
    terms: Terms

    def compile(self, wasm: bytes, settings: EngineSettings, *, own: bool = False) -> wasmtime.Module:
        """The machine code of a module, which is not trusted unless it is our `own`."""
        return load(
            wasm,
            settings,
            self.limits,
            self.cache,
            trusted=own or self.trusted,
            name=self.name,
            terms=self.terms,
            keep_names=own,
        )
