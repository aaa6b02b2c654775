"""A cache of compiled guests in ``build/guests``, keyed by the compiler's version and the content of the sources."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.parts import ROOT
from tests.running import session

CACHE = ROOT / "build" / "guests"


def compiled(name: str, compiler: Sequence[str], sources: Iterable[Path], build: Callable[[Path], object]) -> Path:
    """The path of a compiled module, from the cache if possible.

    Args:
        name: the name of the module. Different builds of the same sources need different names.
        compiler: the argv that prints the compiler's version.
        sources: all files that the module depends on, and the file with the compiler's flags. A directory stands for all
            files in it.
        build: writes the module to the path that it receives. Called only if the cache has no module for this compiler
            and these sources.
    """
    module = CACHE / f"{name}-{_key(compiler, sources)}.wasm"
    with session.lock(module.name):
        if not module.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            partial = module.with_suffix(f".{os.getpid()}.part")
            build(partial)
            partial.replace(module)
    return module


def _key(compiler: Sequence[str], sources: Iterable[Path]) -> str:
    digest = hashlib.sha256(_version(tuple(compiler)))
    for source in sources:
        files = [path for path in source.rglob("*") if "__pycache__" not in path.parts] if source.is_dir() else [source]
        for file in sorted(path for path in files if path.is_file()):
            content = file.read_bytes()
            digest.update(f"\n{file.relative_to(ROOT)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


@functools.cache
def _version(command: tuple[str, ...]) -> bytes:
    return subprocess.run(command, capture_output=True, check=True).stdout
