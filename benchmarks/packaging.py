"""Benchmarks of packaging: complete commands on modules of 1 MB."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.backend.big_module import big_module, section

from .harness import Result, compare

MEGABYTE = 1_000_000
MANY, FEW = 100, 5
FIXED_S = 1.0
HELP_CPU_S = 0.4


def packaging(rounds: int) -> list[Result]:
    """100 modules against 5, and against twice the time of copying and hashing them plus one second."""
    rounds = min(rounds, 5)
    with tempfile.TemporaryDirectory(prefix="portalis-bench-") as folder:
        many, few = _package(Path(folder), "many", MANY), _package(Path(folder), "few", FEW)
        modules = sorted((Path(folder) / "many").glob("*.wasm"))
        _run(many), _run(few)  # one run of each, so that the page cache is warm
        scaling, against_copying = [], []
        for i in range(rounds):
            copying = _copy_and_hash(modules, Path(folder) / f"copy{i}")
            all_of_them = _run(many)
            scaling.append((all_of_them, _run(few)))
            against_copying.append((all_of_them, 2 * copying + FIXED_S))
    return [
        compare(
            "package-scaling",
            f"portalis package --only triton: {MANY} modules of 1 MB / {FEW}",
            scaling,
            unit="s",
            target=MANY / FEW,
        ),
        compare(
            "package-copying",
            f"the same {MANY} modules / twice copying and hashing them, and 1 s",
            against_copying,
            unit="s",
            target=1,
        ),
    ]


def help_start(rounds: int) -> list[Result]:
    """CPU time of ``portalis --help``, against its limit of 0.4 s."""
    command = [sys.executable, "-m", "portalis", "--help"]
    pairs = [(_cpu(command), HELP_CPU_S) for _ in range(rounds)]
    return [compare("help-start", "CPU of `portalis --help` / 0.4 s", pairs, unit="s", target=1)]


def _package(folder: Path, name: str, count: int) -> list[str]:
    """Write `count` different modules and their spec; returns the command that packages them."""
    place = folder / name
    place.mkdir()
    body = big_module(MEGABYTE)
    for i in range(count):
        mark = f"module {i}".encode()
        (place / f"m{i:03}.wasm").write_bytes(body + section(0, b"\x04mark" + mark))
    spec = {
        "package_name": "bench",
        "package_version": "1.0.0",
        "output_directory": "out",
        "wasm_binaries": [f"m{i:03}.wasm" for i in range(count)],
    }
    (place / "spec.json").write_text(json.dumps(spec))
    return [sys.executable, "-m", "portalis", "package", str(place / "spec.json"), "--only", "triton", "--quiet"]


def _run(command: list[str]) -> float:
    """Seconds of one run; the output directory of an earlier run is removed first."""
    shutil.rmtree(Path(command[4]).parent / "out", ignore_errors=True)
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def _copy_and_hash(modules: list[Path], target: Path) -> float:
    """Seconds of the unavoidable work: each module is read, hashed and written once."""
    target.mkdir()
    began = time.perf_counter()
    for module in modules:
        shutil.copyfile(module, target / module.name)
        with (target / module.name).open("rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    seconds = time.perf_counter() - began
    shutil.rmtree(target)
    return seconds


def _cpu(command: list[str]) -> float:
    """CPU seconds, user and system, of one run, from the kernel's accounting of ended child processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
