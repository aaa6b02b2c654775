"""Triton's own client examples, unchanged, in processes of their own.

``python -m tests.nim.service.clients.original_examples`` prints their results against a real Triton and the service.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests import parts

from .original_servers import service_target, triton_target
from .runs import Run, all_runs
from .target import Target

TIMEOUT_S: Final = 120
# the example without an option for the address: the clients that it creates get it here
_ADDRESSED: Final = """
import functools, runpy, sys
import tritonclient.grpc, tritonclient.http
http, grpc, *sys.argv = sys.argv[1:]
def create(kind, address, **options):
    return kind(**{**options, "url": address})
for module, address in ((tritonclient.http, http), (tritonclient.grpc, grpc)):
    module.InferenceServerClient = functools.partial(create, module.InferenceServerClient, address)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# examples that print nothing at the end, or only on some paths
_QUIET: Final = {
    "simple_http_infer_client",
    "simple_http_async_infer_client",
    "simple_http_health_metadata",
    "simple_grpc_health_metadata",
    "memory_growth_test",
    "reuse_infer_objects_client",
}


def run_original(folder: Path, run: Run, target: Target) -> str:
    """Run an example of the directory `folder` with its options; returns "" or why it failed: the end of its output."""
    address = target.grpc if "grpc" in f"{run.example} {run.options}" else target.http
    options = run.options.split()
    file = str(folder / f"{run.example}.py")
    if run.example == "memory_growth_test":
        command = ["-c", _ADDRESSED, target.http, target.grpc, file, *options]
    else:
        command = [file, *options, "-u", address]
    if "image_client" in run.example:
        command.append(str(target.images))
    environment = os.environ | {"PYTHONPATH": str(folder / "lib")}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, timeout=TIMEOUT_S, check=False
    )
    output = (done.stdout + done.stderr).strip()
    if done.returncode == 0 and (run.example in _QUIET or "PASS" in done.stdout):
        return ""
    return f"exit status {done.returncode}: ...{output[-500:]}"


def main() -> None:
    """Print a row for each run: the example, and "yes" or the reason for both servers."""
    folder = parts.triton_client_examples()
    rows: dict[str, list[str]] = {}
    for servers in (triton_target, service_target):
        with servers() as find:
            for run in all_runs():
                target = find(run)
                rows.setdefault(run.name, []).append(run_original(folder, run, target) or "yes")
                print(f"{servers.__name__} {run.name}: {rows[run.name][-1]}", flush=True)
    for name, results in rows.items():
        print(" | ".join((name, *(result.splitlines()[-1] for result in results))))


if __name__ == "__main__":
    main()
