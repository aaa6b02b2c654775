"""The wheels of NumPy and Wasmtime for a Kit's Python: from a folder, from the cache, or downloaded with pip.

A wheel is known by its SHA-256, which portalis pins: wherever it comes from, it is that file or it is not taken.
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
    """Why there are no wheels; `remediation` says what to do."""

    def __init__(self, message: str, remediation: str) -> None:
        super().__init__(message)
        self.remediation = remediation


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledWheel:
    """One wheel, whose bytes are the pinned ones."""

    name: str
    version: str
    data: bytes


def get_wheels(
    python: str, wheelhouse: Path | None, say: Callable[[str], None], cache: Path | None = None
) -> list[BundledWheel]:
    """A wheel of each of `NAMES` for this Python, such as ``3.12``, on 64-bit Linux. Raises NoWheels."""
    wanted = select_pins(*NAMES)
    if wheelhouse is not None:
        found = _found(wheelhouse, wanted, python)
        if len(found) < len(wanted):
            lacks = ", ".join(str(pin) for pin in wanted if pin.name not in found)
            raise NoWheels(
                f"{wheelhouse} has not the pinned wheel for Python {python} on 64-bit Linux of {lacks}",
                f"Fill it with `{command_line(python)}`.",
            )
        return [found[pin.name] for pin in wanted]
    kept = _cache() if cache is None else cache
    found = _found(kept, wanted, python)
    missing = [pin for pin in wanted if pin.name not in found]
    if missing:
        say(f"downloading {' and '.join(map(str, missing))} for Python {python}")
        found |= _download(missing, python, kept)
    return [found[pin.name] for pin in wanted]


def command_line(python: str, folder: str = "FOLDER") -> str:
    """What a person types to fill a folder with the wheels."""
    return shlex.join(["pip", *_arguments(python, folder), *map(str, select_pins(*NAMES))])


def _arguments(python: str, folder: str) -> list[str]:
    platforms = [word for each in PLATFORMS for word in ("--platform", each)]
    return [
        *("download", "--dest", folder, "--no-deps", "--only-binary=:all:", "--implementation", "cp"),
        *("--python-version", python, *platforms),
    ]


def _download(wanted: Sequence[Pin], python: str, kept: Path) -> dict[str, BundledWheel]:
    with tempfile.TemporaryDirectory(prefix="portalis-wheels-") as folder:
        pins = Path(folder, "pins.txt")
        pins.write_text(format_pins(wanted), encoding="utf-8")
        options = ["--require-hashes", "--no-input", "--disable-pip-version-check", "--quiet", "-r", str(pins)]
        command = [sys.executable, "-m", "pip", *_arguments(python, folder), *options]
        why = _run(command, folder)
        found = _found(Path(folder), wanted, python)
        if len(found) < len(wanted):
            lacks = ", ".join(str(pin) for pin in wanted if pin.name not in found)
            raise NoWheels(
                f"{lacks} cannot be downloaded for Python {python}: {why or 'pip brought another file'}",
                f"Fill a folder with `{command_line(python)}` where there is a package index, and name it in"
                " omniverse_config.wheelhouse; or set omniverse_config.prebundle to false.",
            )
        for path in sorted(Path(folder).glob("*.whl")):
            _keep(path, kept)
    return found


def _run(command: Sequence[str], folder: str) -> str:
    """Why it failed; empty where it did not."""
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"pip did not end within {TIMEOUT_S:g} s"
    except OSError as error:
        return f"{command[0]} cannot be run: {error.strerror}"
    said = done.stderr.decode(errors="replace").strip().splitlines()
    told = [line for line in said if line.startswith("ERROR")] or said[-1:]
    return "" if done.returncode == 0 else "; ".join(told[:3]) or f"pip ended with {done.returncode}"


def _keep(path: Path, kept: Path) -> None:
    """Put a wheel into the cache, whole or not at all. A cache that cannot be written is none."""
    try:
        kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(kept / path.name, mode=0o600) as temporary:
            temporary.write_bytes(path.read_bytes())
    except OSError:
        return


def _cache() -> Path:
    named = os.environ.get("PORTALIS_CACHE_DIR")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portalis"
    return base / "wheels"


def _found(folder: Path, wanted: Iterable[Pin], python: str) -> dict[str, BundledWheel]:
    """Those of `wanted` in the folder, by name. A file with the name of a wheel and other bytes is none."""
    pins, found = {pin.name: pin for pin in wanted}, dict[str, BundledWheel]()
    for file in wheel_files(folder):
        pin = pins.get(file.name)
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
