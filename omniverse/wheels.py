"""Provides the wheels of NumPy and Wasmtime for a Kit's Python: from a directory, the cache, or pip.

Portalis pins the SHA-256 of each wheel. A wheel with a different digest is rejected, regardless of its source.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.tags import Tag
from packaging.version import Version

from ..atomic_files import replacing
from ..digests import sha256_hex
from ..pins import Pin, format_pins, select_pins
from ..wheel_files import runs_on, wheel_files

NAMES = ("numpy", "wasmtime")
TIMEOUT_S = 300.0
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")
_LINUX = re.compile(r"any|(many)?linux\w*_x86_64")


class NoWheels(Exception):
    """Wheels are unavailable, with the reason and a `remediation`."""

    def __init__(self, message: str, remediation: str) -> None:
        super().__init__(message)
        self.remediation = remediation


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledWheel:
    """One wheel with the pinned digest."""

    name: str
    version: str
    data: bytes


def get_wheels(
    python: str, wheelhouse: Path | None, report: Callable[[str], None], cache: Path | None = None
) -> list[BundledWheel]:
    """The wheels of `NAMES` for a Python version such as ``3.12`` on 64-bit Linux. Raises NoWheels."""
    pins = select_pins(*NAMES)
    if wheelhouse is not None:
        found = _find_wheels(wheelhouse, pins, python)
        if len(found) < len(pins):
            missing_pins = ", ".join(str(pin) for pin in pins if pin.name not in found)
            raise NoWheels(
                f"{wheelhouse} lacks the pinned wheels for Python {python} on 64-bit Linux: {missing_pins}",
                f"Fill it with `{command_line(python)}`.",
            )
        return [found[pin.name] for pin in pins]
    directory = _cache() if cache is None else cache
    found = _find_wheels(directory, pins, python)
    missing = [pin for pin in pins if pin.name not in found]
    if missing:
        report(f"downloading {' and '.join(map(str, missing))} for Python {python}")
        found |= _download(missing, python, directory)
    return [found[pin.name] for pin in pins]


def command_line(python: str, folder: str = "DIRECTORY") -> str:
    """The pip command that downloads the wheels to `folder`, for messages."""
    return shlex.join(["pip", *_arguments(python, folder), *map(str, select_pins(*NAMES))])


def _arguments(python: str, folder: str) -> list[str]:
    platforms = [option for each in PLATFORMS for option in ("--platform", each)]
    return [
        *("download", "--dest", folder, "--no-deps", "--only-binary=:all:", "--implementation", "cp"),
        *("--python-version", python, *platforms),
    ]


def _download(pins: Sequence[Pin], python: str, cache: Path) -> dict[str, BundledWheel]:
    with tempfile.TemporaryDirectory(prefix="portalis-wheels-") as folder:
        requirements = Path(folder, "pins.txt")
        requirements.write_text(format_pins(pins), encoding="utf-8")
        options = ["--require-hashes", "--no-input", "--disable-pip-version-check", "--quiet", "-r", str(requirements)]
        command = [sys.executable, "-m", "pip", *_arguments(python, folder), *options]
        reason = _run(command, folder)
        found = _find_wheels(Path(folder), pins, python)
        if len(found) < len(pins):
            missing_pins = ", ".join(str(pin) for pin in pins if pin.name not in found)
            raise NoWheels(
                f"cannot download {missing_pins} for Python {python}: {reason or 'pip downloaded a different file'}",
                f"Fill a directory with `{command_line(python)}` on a machine with a package index, and set"
                " omniverse_config.wheelhouse to it; or set omniverse_config.prebundle to false.",
            )
        for path in sorted(Path(folder).glob("*.whl")):
            _store(path, cache)
    return found


def _run(command: Sequence[str], folder: str) -> str:
    """Run pip; returns the reason of a failure, or an empty string."""
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"pip did not end within {TIMEOUT_S:g} s"
    except OSError as error:
        return f"{command[0]} cannot be run: {error.strerror}"
    output = done.stderr.decode(errors="replace").strip().splitlines()
    errors = [line for line in output if line.startswith("ERROR")] or output[-1:]
    return "" if done.returncode == 0 else "; ".join(errors[:3]) or f"pip exited with status {done.returncode}"


def _store(path: Path, cache: Path) -> None:
    """Write a wheel to the cache in one step. A cache that cannot be written is ignored."""
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(cache / path.name, mode=0o600) as temporary:
            temporary.write_bytes(path.read_bytes())
    except OSError:
        return


def _cache() -> Path:
    configured = os.environ.get("PORTALIS_CACHE_DIR")
    base = (
        Path(configured)
        if configured
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portalis"
    )
    return base / "wheels"


def _find_wheels(folder: Path, pins: Iterable[Pin], python: str) -> dict[str, BundledWheel]:
    """The wheels of `pins` in the directory, by name. Files with a different digest are ignored."""
    by_name, found = {pin.name: pin for pin in pins}, dict[str, BundledWheel]()
    for file in wheel_files(folder):
        pin = by_name.get(file.name)
        if pin is None or file.version != Version(pin.version) or not fits(file.tags, python):
            continue
        data = file.path.read_bytes()
        if sha256_hex(data) in pin.hashes:
            found[pin.name] = BundledWheel(name=pin.name, version=pin.version, data=data)
    return found


def fits(tags: Iterable[Tag], python: str) -> bool:
    """Whether this Python on 64-bit Linux accepts a wheel with these tags (PEP 425)."""
    major, _, minor = python.partition(".")
    return runs_on(tags, (int(major), int(minor)), _LINUX)
