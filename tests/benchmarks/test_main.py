"""`python -m benchmarks`: its figures, its table, its options."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import __main__ as bench  # noqa: TID251
from benchmarks.harness import Result, compare  # noqa: TID251
from tests import parts

MET = compare("met", "met [red]1[/]", [(0.001, 0.002), (0.001, 0.004)], unit="s", target=1)
MISSED = compare("missed", "missed", [(1.0, 30_000.0)], unit="1/s", target=2000, at_most=False)


def table_text(results: list[Result]) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(bench.table(results))
    return capture.get()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1234.5, "1/s", "1,234 1/s"),
        (402.4, "us", "402 us"),
        (12.345, "s", "12.35 s"),
        (1, "s", "1.00 s"),
        (0.5, "s", "500.00 ms"),
        (0.001, "s", "1.00 ms"),
        (0.000_25, "s", "250.00 us"),
        (1.5e-6, "s", "1.50 us"),
        (1.5e-7, "s", "150 ns"),
        (0, "s", "0 ns"),
        (7200, "s", "7,200.00 s"),
    ],
)
def test_a_figure_has_a_unit_of_its_magnitude(value: float, unit: str, text: str) -> None:
    assert bench.figure(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0500, "0.05"),
        (0.7912, "0.791"),
        (8, "8"),
        (1.7, "1.7"),
        (999.4, "999"),
        (2000, "2,000"),
        (19_853.2, "19,853"),
    ],
)
def test_a_ratio_has_three_significant_digits_or_is_an_integer(value: float, text: str) -> None:
    assert bench.short(value) == text


def test_the_table_shows_figures_ratio_spread_target_and_whether_it_was_met() -> None:
    lines = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in table_text([MET, MISSED]).splitlines()
        if "│" in line
    ]
    assert lines == [
        ["met [red]1[/]", "1.00 ms", "3.00 ms", "0.375", "<= 1", "yes"],
        ["", "", "", "(0.25 .. 0.5)", "", ""],
        ["missed", "1 1/s", "30,000 1/s", "3.33e-05", ">= 2,000", "no"],
        ["", "", "", "(3.33e-05 .. 3.33e-05)", "", ""],
    ]


def test_a_table_without_results_has_its_header() -> None:
    assert "benchmark" in table_text([])


def test_the_report_describes_the_machine() -> None:
    found = bench.machine()
    assert set(found) == {"cpu", "cores", "python"}
    assert (found["cores"], found["python"]) == (os.cpu_count(), ".".join(map(str, sys.version_info[:3])))
    assert json.loads(json.dumps(found)) == found


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Replace all benchmarks by fakes; returns the list of (name, rounds) that were run."""
    ran: list[tuple[str, int]] = []

    def make(name: str, result: Result) -> None:
        def run(rounds: int) -> list[Result]:
            ran.append((name, rounds))
            return [result]

        monkeypatch.setitem(bench.WITHOUT_PERF_ANALYZER, name, run)

    for name in bench.WITHOUT_PERF_ANALYZER:
        make(name, MET)
    make("threads", MISSED)

    def on_triton(name: str) -> None:
        def run(rounds: int, seconds: float) -> list[Result]:
            ran.append((f"{name} {seconds}", rounds))
            return [MET]

        monkeypatch.setitem(bench.WITH_PERF_ANALYZER, name, run)

    for name in bench.WITH_PERF_ANALYZER:
        on_triton(name)
    return ran


def run(monkeypatch: pytest.MonkeyPatch, report: Path, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--json", str(report), *options])
    return bench.main()


def test_without_options_every_benchmark_runs(
    fake: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report = tmp_path / "new" / "folder" / "report.json"
    assert run(monkeypatch, report) == 0
    without = [(name, 9) for name in bench.WITHOUT_PERF_ANALYZER]
    assert fake == [*without, *((f"{name} 1.0", 5) for name in bench.WITH_PERF_ANALYZER)]
    written = json.loads(report.read_text())
    assert set(written) == {"machine", "seconds", "left_out", "results"}
    assert written["machine"] == bench.machine()
    assert written["left_out"] == []
    order = [MISSED if name == "threads" else MET for name in (*bench.WITHOUT_PERF_ANALYZER, *bench.WITH_PERF_ANALYZER)]
    assert written["results"] == [result.to_json() for result in order]


def test_quick_runs_fewer_rounds(fake: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path / "r.json", "--quick", "--only", "echo", "--only", "triton-cpu")
    assert fake == [("echo", 3), ("triton-cpu 0.5", 2)]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--only", "echo"), 0),
        (("--only", "threads"), 0),
        (("--only", "echo", "--strict"), 0),
        (("--only", "threads", "--strict"), 1),
        (("--only", "echo", "--only", "threads", "--strict"), 1),
    ],
)
def test_strict_fails_where_a_target_is_missed(
    fake: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    options: tuple[str, ...],
    code: int,
) -> None:
    report = tmp_path / "r.json"
    assert run(monkeypatch, report, *options) == code
    out = capsys.readouterr().out.replace("\n", "")
    assert f"report: {report}" in out
    assert [name for name, _ in fake] == [option for option in options if not option.startswith("--")]


def test_a_missing_dependency_skips_one_benchmark_and_keeps_the_others(
    fake: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def missing(rounds: int) -> list[Result]:
        raise parts.Missing("Extism: `pip install extism`")

    monkeypatch.setitem(bench.WITHOUT_PERF_ANALYZER, "echo", missing)
    report = tmp_path / "r.json"
    assert run(monkeypatch, report, "--only", "echo", "--only", "elementwise") == 0
    assert "skipped echo: a dependency is missing: Extism: `pip install extism`" in capsys.readouterr().out
    assert fake == [("elementwise", 9)]
    written = json.loads(report.read_text())
    assert (written["left_out"], len(written["results"])) == (["echo"], 1)
    assert run(monkeypatch, report, "--only", "echo", "--strict") == 1


def test_an_unknown_benchmark_is_rejected_with_the_choices(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=parts.ROOT)
    assert done.returncode == 2
    assert "invalid choice: 'nothing'" in done.stderr
    assert all(name in done.stderr for name in (*bench.WITHOUT_PERF_ANALYZER, *bench.WITH_PERF_ANALYZER))


def test_a_fast_benchmark_runs_from_the_command_line(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    command = [sys.executable, "-m", "benchmarks", "--only", "elementwise", "--quick", "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=parts.ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "measuring elementwise ..." in done.stdout
    results = json.loads(report.read_text())["results"]
    assert [result["name"] for result in results] == ["elementwise-numpy", "elementwise-calls"]
    for result in results:
        assert result["ours"] > 0 and result["theirs"] > 0
        low, high = result["spread"]
        assert low <= result["ratio"] <= high
        bound = result["ratio"] <= result["target"] if result["at_most"] else result["ratio"] >= result["target"]
        assert result["met"] is bound
