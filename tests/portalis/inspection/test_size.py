"""Modules of any size and shape are inspected in the memory of their file, and with bounded work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from portalis.backend.wasm.binary import read_module
from portalis.backend.wasm.leb128 import Reader
from portalis.inspection import inspect_module
from tests.backend.big_module import big_module, leb, module, section, sized, vector
from tests.parts import ROOT
from tests.running.waiting import PATIENCE_S

MEGABYTE = 1 << 20
FUNCTION_TYPE = b"\x60\x01\x7d\x01\x7d"
IDENTITY = b"\x00\x20\x00\x0b"
SIMD = b"\x00\xfd\x0c" + bytes(16) + b"\x1a\x20\x00\x0b"  # i32x4.const, drop
SMALL = module([FUNCTION_TYPE], [0], [b"\x01f\x00\x00"], [IDENTITY])

# Inspects a file and prints the result, with the peak of the process's own memory above what was used before.
PROGRAM = """
import json, sys, threading, time
from pathlib import Path
from portalis.backend import ModuleError
from portalis.inspection import inspect_module

def private() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon", "RssShmem")))

inspect_module(Path(sys.argv[1])).features
before = peak = private()
done = threading.Event()

def watch() -> None:
    global peak
    while not done.wait(0.005):
        peak = max(peak, private())

watcher = threading.Thread(target=watch)
watcher.start()
started = time.process_time()
try:
    found = inspect_module(Path(sys.argv[2]))
    measurement = {name: getattr(found, name) for name in ("sha256", "invalid", "refused", "no_interface", "features")}
    measurement["exports"] = len(found.exports)
except ModuleError as error:
    measurement = {"error": str(error)}
took = time.process_time() - started
done.set()
watcher.join()
print(json.dumps({**measurement, "cpu_seconds": took, "private_bytes": max(peak, private()) - before}))
"""


def measured(path: Path) -> dict[str, Any]:
    """The output of PROGRAM for a file, in a separate process."""
    small = path.with_name("small.wasm")
    small.write_bytes(SMALL)
    command = [sys.executable, "-c", PROGRAM, str(small), str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    measurement: dict[str, Any] = json.loads(done.stdout)
    return measurement


def custom(name: bytes, payload: bytes) -> bytes:
    return section(0, leb(len(name)) + name + payload)


def huge(code_bytes: int, data_bytes: int, last: bytes = IDENTITY) -> bytes:
    """A module with code of many functions, `last` behind them, and one data segment."""
    pattern = big_module(MEGABYTE)
    code = next(s for s in read_module(pattern).sections if s.number == 10)
    reader = Reader(pattern, code.start, code.end)
    count = reader.unsigned()
    bodies = pattern[reader.at : code.end]
    times = -(-code_bytes // len(bodies))
    functions = times * count + 1
    return b"".join(
        (
            b"\0asm\1\0\0\0",
            section(1, vector([FUNCTION_TYPE])),
            section(3, leb(functions) + bytes(functions)),
            section(5, b"\x01\x00" + leb(data_bytes // 65536 + 1)),
            section(7, vector([b"\x01f\x00\x00", b"\x06memory\x02\x00"])),
            section(10, leb(functions) + bodies * times + sized(last)),
            section(11, b"\x01\x00\x41\x00\x0b" + leb(data_bytes) + bytes(data_bytes)),
        )
    )


@pytest.mark.parametrize(
    ("last", "features", "invalid"),
    [(IDENTITY, [], None), (SIMD, ["simd"], None), (b"\x00\x20\x07\x0b", [], "unknown local 7")],
    ids=["plain", "simd at the end", "invalid at the end"],
)
@pytest.mark.bulk
def test_a_module_of_150_megabytes_is_inspected_in_one_copy_of_it(
    tmp_path: Path, last: bytes, features: list[str], invalid: str | None
) -> None:
    path = tmp_path / "huge.wasm"
    path.write_bytes(huge(75 * MEGABYTE, 75 * MEGABYTE, last))
    assert path.stat().st_size > 149 * MEGABYTE
    measurement = measured(path)
    assert measurement["features"] == features
    assert (invalid or "") in (measurement["invalid"] or "")
    assert (measurement["invalid"] is None) == (invalid is None)
    assert measurement["exports"] == 2
    assert measurement["private_bytes"] < path.stat().st_size + 24 * MEGABYTE
    assert measurement["cpu_seconds"] < 60


def test_a_huge_module_is_made_of_what_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "module.wasm"
    for last, uses_simd in ((IDENTITY, False), (SIMD, True)):
        path.write_bytes(huge(2 * MEGABYTE, 3 * MEGABYTE, last))
        wasmtime.Module.validate(wasmtime.Engine(), path.read_bytes())
        assert 5 * MEGABYTE < path.stat().st_size < 6 * MEGABYTE
        assert inspect_module(path).uses_simd == uses_simd


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a custom section of 100 MB": (lambda: SMALL + custom(b"junk", bytes(100 * MEGABYTE)), ""),
    "100 MB of garbage names": (lambda: SMALL + custom(b"name", b"\xff\x01" * (50 * MEGABYTE)), ""),
    "as many names as are read": (lambda: SMALL + custom(b"name", b"\x07\0" * (2 * MEGABYTE - 8)), ""),
    "100 MB of descriptions": (lambda: SMALL + custom(b"portalis", b"{}" * (50 * MEGABYTE)), "at most 8,388,608 are"),
    "as many descriptions as are read": (lambda: SMALL + custom(b"portalis", b"{}" * 4_000_000), "several entries"),
    "a hundred thousand tensors": (lambda: SMALL + custom(b"portalis", _tensors(100_000)), "at most 128 are allowed"),
    "a million sections": (lambda: SMALL + b"\0\1\0" * 1_000_000, "more than 100,000 sections"),
    "as many sections as are read": (lambda: SMALL + b"\0\1\0" * 99_000, ""),
    "long names of sections": (lambda: SMALL + custom(b"n" * 100_000, b"") * 1000, "take more than 16,777,216 bytes"),
    "160,000 exports": (lambda: _exports(160_000), "exports 160000 functions that could be the entry"),
    "500,000 exports": (lambda: _exports(500_000), "type size exceeds the limit"),
    "more than a million exports": (lambda: _exports(1_000_001), "a section of 1,000,001 items is too long"),
    "a million functions": (
        lambda: module([FUNCTION_TYPE], [0] * 1_000_000, [b"\x01f\x00\x00"], [IDENTITY] * 1_000_000),
        "",
    ),
    "deeply nested blocks": (
        lambda: module(
            [FUNCTION_TYPE],
            [0],
            [b"\x01f\x00\x00"],
            [b"\0" + b"\2\x40" * 2_000_000 + b"\x0b" * 2_000_000 + b"\x20\0\x0b"],
        ),
        "",
    ),
}


def _tensors(count: int) -> bytes:
    tensors = [{"name": f"x{number}", "dtype": "FP32", "dims": [1]} for number in range(count)]
    return json.dumps({"entry": "f", "convention": "elementwise", "inputs": tensors, "outputs": tensors[:1]}).encode()


def _exports(count: int) -> bytes:
    return module([FUNCTION_TYPE], [0], [b"\x07%07d\x00\x00" % number for number in range(count)], [IDENTITY])


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.bulk
def test_a_hostile_module_ends_soon_and_takes_bounded_memory(tmp_path: Path, name: str) -> None:
    make, message = HOSTILE[name]
    path = tmp_path / "hostile.wasm"
    path.write_bytes(make())
    measurement = measured(path)
    problems = [measurement.get(key) or "" for key in ("error", "invalid", "refused", "no_interface")]
    assert any(message in problem for problem in problems) if message else not any(problems)
    assert measurement["cpu_seconds"] < 60
    assert measurement["private_bytes"] < 768 * MEGABYTE
