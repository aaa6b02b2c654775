"""Fuzzes the native executor until it is stopped, or for some seconds: ``python -m tests.native.fuzzing SECONDS``.

Half of the time goes to the reader of plans, half to the adapter that lies. What is found new is kept in ``build/fuzz``, and
what fails there as ``crash-…``; ``--seeds`` has the seeds under ``tests/native/seeds`` written anew from it, minimised.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from tests.native import build
from tests.parts.compilers import clang
from tests.parts.lookup import ROOT

SEEDS = Path(__file__).parent / "seeds"
CORPUS = ROOT / "build" / "fuzz"
LONGEST = {"plan": 4096, "adapter": 512}
"""The fuzzers, and of how many bytes their inputs are at most."""
MAX_SEEDS, MAX_SEED_BYTES = 64, 32 << 10  # of each


def command(folder: Path, name: str, *options: str) -> list[str]:
    """The argv of a fuzzer; inputs that fail are written to the present folder."""
    return [str(folder / f"fuzz_{name}"), f"-max_len={LONGEST[name]}", "-timeout=20", *options]


def seeds(folder: Path, name: str) -> list[str]:
    """The directories with initial inputs: inputs kept from earlier runs, and plans of the planner."""
    return [str(SEEDS / name), *([str(folder / "wasm" / "plans")] if name == "plan" else [])]


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the native executor.")
    parser.add_argument("seconds", type=int, nargs="?", default=600)
    parser.add_argument("--seeds", action="store_true", help="write tests/native/seeds anew from build/fuzz")
    arguments = parser.parse_args()
    folder = build.built(clang())
    failed = 0
    for name in LONGEST:
        corpus = CORPUS / name
        corpus.mkdir(parents=True, exist_ok=True)
        if arguments.seeds:
            _minimise(folder, name, corpus)
            continue
        found = [str(corpus), *seeds(folder, name)]
        limit = f"-max_total_time={max(1, arguments.seconds // len(LONGEST))}"
        run = command(folder, name, limit, f"-artifact_prefix={corpus}-", "-print_final_stats=1", *found)
        failed |= subprocess.run(run, env=build.environment(), check=False).returncode
    return int(failed != 0)


def _minimise(folder: Path, name: str, corpus: Path) -> None:
    """Select the fewest inputs that reach the same code as all of them."""
    shutil.rmtree(SEEDS / name, ignore_errors=True)
    (SEEDS / name).mkdir(parents=True)
    run = command(folder, name, "-merge=1", str(SEEDS / name), str(corpus))
    subprocess.run(run, env=build.environment(), check=True)
    count, left = 0, MAX_SEED_BYTES
    for seed in sorted((SEEDS / name).iterdir(), key=lambda path: (-path.stat().st_size, path.name)):
        if count == MAX_SEEDS or seed.stat().st_size > left:
            seed.unlink()
            continue
        count, left = count + 1, left - seed.stat().st_size


if __name__ == "__main__":
    sys.exit(main())
