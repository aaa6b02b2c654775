"""The build backend: setuptools, which first builds missing native files with Zig.

The adapter and the native libraries are missing in source archives from which binaries were removed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]
ZIG = "ziglang==0.17.1"
ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("libtriton_wasm.so", "libwasm_core.so")
BUILT = ("adapter/adapter.wasm", *(f"lib/{each}/{name}" for each in ("aarch64", "x86_64") for name in LIBRARIES))


def missing() -> list[str]:
    """Names of the native files that are missing."""
    return [name for name in BUILT if not (ROOT / "backend" / name).is_file()]


def _build() -> None:
    if missing():
        subprocess.run([ROOT / ".ci" / "native"], env={**os.environ, "PYTHON": sys.executable}, check=True)


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Requirements that must be installed before `build_wheel`."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *([ZIG] if missing() else [])]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """Requirements that must be installed before `build_editable`."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *([ZIG] if missing() else [])]


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build the wheel; returns its file name."""
    _build()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build a wheel that refers to this source tree; returns its file name."""
    _build()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
