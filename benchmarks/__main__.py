"""``python -m benchmarks``: runs the benchmarks, prints the table and writes the JSON. Each result is a ratio."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.parts import Missing

from . import before, cost, in_process, on_triton, packaging, service, service_on_perf
from .harness import Result

DEFAULT_JSON = Path("build/bench/bench.json")
WITHOUT_PERF_ANALYZER: dict[str, Callable[[int], list[Result]]] = {
    "elementwise": in_process.elementwise,
    "call-overhead": in_process.call_overhead,
    "echo": in_process.echo,
    "threads": in_process.threads,
    "second-load": in_process.second_load,
    "deadline": in_process.deadline,
    "packaging": packaging.packaging,
    "help-start": packaging.help_start,
    "service": service.service,
    "program-before": before.program,
}
# each benchmark starts its own servers
WITH_PERF_ANALYZER: dict[str, Callable[[int, float], list[Result]]] = {
    "triton-identity": on_triton.identity,
    "triton-softmax": on_triton.softmax,
    "triton-preprocessing": on_triton.preprocessing,
    "triton-cpu": cost.cpu,
    "triton-models": cost.models,
    "triton-before": before.on_triton,
    "service-triton-grpc": service_on_perf.grpc,
    "service-triton-http": service_on_perf.http,
    "service-triton-shm-grpc": service_on_perf.shared_memory_grpc,
    "service-triton-shm-http": service_on_perf.shared_memory_http,
    "service-fastapi": service_on_perf.fastapi,
    "service-workers": service_on_perf.workers,
}


def figure(value: float, unit: str) -> str:
    """`value` with its unit; seconds are scaled to s, ms, us or ns."""
    if unit != "s":
        return f"{value:,.0f} {unit}"
    for scale, name in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if value * scale >= 1:
            return f"{value * scale:,.2f} {name}"
    return f"{value * 1e9:,.0f} ns"


def short(value: float) -> str:
    """A ratio with three significant digits; from 1,000 on, an integer."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(results: list[Result]) -> Table:
    """The results as a table for the terminal."""
    grid = Table(
        title="Both sides are measured alternately in one run; below each ratio: smallest and largest of its pairs"
    )
    for column in ("benchmark", "ours", "theirs", "ratio", "target", "met"):
        grid.add_column(column, justify="left" if column == "benchmark" else "right")
    for r in results:
        bound = f"{'<=' if r.at_most else '>='} {short(r.target)}"
        ratio = f"{short(r.ratio)}\n({short(r.spread[0])} .. {short(r.spread[1])})"
        met = "[green]yes[/]" if r.met else "[red]no[/]"
        grid.add_row(escape(r.about), figure(r.ours, r.unit), figure(r.theirs, r.unit), ratio, bound, met)
    return grid


def machine() -> dict[str, object]:
    """The processor, the number of its cores, and Python's version."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = models[0] if models else platform.processor()
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version()}


def measure(names: list[str], quick: bool, console: Console) -> tuple[list[Result], list[str]]:
    """The results, and the names of the benchmarks that were skipped because a dependency is missing."""
    results, skipped = [], []
    for name in names:
        console.print(f"measuring {name} ...", style="dim")
        try:
            if name in WITH_PERF_ANALYZER:
                results += WITH_PERF_ANALYZER[name](2 if quick else 5, 0.5 if quick else 1.0)
            else:
                results += WITHOUT_PERF_ANALYZER[name](3 if quick else 9)
        except Missing as missing:
            console.print(f"skipped {name}: a dependency is missing: {missing}", style="bold red", markup=False)
            skipped.append(name)
    return results, skipped


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        choices=[*WITHOUT_PERF_ANALYZER, *WITH_PERF_ANALYZER],
        help="run only this benchmark (repeatable)",
    )
    parser.add_argument(
        "--json", type=Path, default=DEFAULT_JSON, help=f"path of the JSON report (default {DEFAULT_JSON})"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, for a rough estimate")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target or a dependency is missed")
    options = parser.parse_args()
    console, start = Console(), time.time()
    results, skipped = measure(options.only or [*WITHOUT_PERF_ANALYZER, *WITH_PERF_ANALYZER], options.quick, console)
    console.print(table(results))
    report = {
        "machine": machine(),
        "seconds": round(time.time() - start),
        "left_out": skipped,
        "results": [r.to_json() for r in results],
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"report: {options.json}")
    return int(options.strict and (bool(skipped) or not all(r.met for r in results)))


if __name__ == "__main__":
    sys.exit(main())
