"""Inputs of the native engine in GPU memory, read through a stand-in for the driver's library."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import ROOT

NATIVE = ROOT / "backend" / "native"
# A driver of one device, whose memory is this process's with every byte of an address added 1; it is used as CUDA demands.
DRIVER = """
#include <stddef.h>
static int ready, pushed;
int cuInit(unsigned flags) { ready = !flags; return FAILS_INIT; }
int cuDeviceGet(int *device, int number) { *device = 40 + number; return !ready || number; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &ready; return device != 40; }
int cuCtxPushCurrent_v2(void *context) { pushed++; return context != &ready; }
int cuCtxPopCurrent_v2(void **context) { *context = NULL; return !pushed--; }
int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t bytes) {
  if (!pushed || !from) return 700;
  for (size_t i = 0; i < bytes; i++) ((char *)to)[i] = ((char *)from)[i] + 1;
  return 0;
}
"""
PROGRAM = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.gpu_read.restype = ctypes.c_char_p
library.gpu_read.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_int64]
for device, data in ((0, b"HAL"), (0, b"HAL"), (1, b"HAL"), (-1, b"HAL"), (99, b"HAL"), (0, None)):
    room = ctypes.create_string_buffer(4)
    why = library.gpu_read(room, data, 3, device)
    print(why.decode() if why else room.value.decode())
"""


def compiled(name: Path, source: Path, *flags: str) -> Path:
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-shared",
        "-fPIC",
        "-I",
        str(NATIVE),
        "-o",
        str(name),
        str(source),
        *flags,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return name


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("reader") / "reader.so", NATIVE / "gpu.c", "-ldl")


def read(reader: Path, folder: Path, driver: str | None, *flags: str) -> list[str]:
    """The results of reading three bytes of the devices 0, 0, 1, -1 and 99, and of a null address."""
    if driver is not None:
        (folder / "driver.c").write_text(driver)
        compiled(folder / "libcuda.so.1", folder / "driver.c", *flags)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    command = [sys.executable, "-c", PROGRAM, str(reader)]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.splitlines()


def test_memory_of_a_device_is_copied(reader: Path, tmp_path: Path) -> None:
    unknown = "its device cannot be used"
    assert read(reader, tmp_path, DRIVER, "-DFAILS_INIT=0") == [
        "IBM",
        "IBM",
        unknown,
        unknown,
        unknown,
        "CUDA cannot copy it",
    ]


@pytest.mark.parametrize(
    ("driver", "why"),
    [
        (DRIVER, "CUDA cannot be initialized"),
        ("int cuInit(unsigned flags) { return 0; }", "libcuda.so.1 lacks functions"),
    ],
)
def test_a_driver_that_cannot_be_used_reports_it(reader: Path, tmp_path: Path, driver: str, why: str) -> None:
    assert read(reader, tmp_path, driver, "-DFAILS_INIT=100") == [why] * 6


@pytest.mark.skipif(bool(ctypes.util.find_library("cuda")), reason="this machine has the driver")
def test_a_host_without_a_driver_reports_it(reader: Path, tmp_path: Path) -> None:
    assert read(reader, tmp_path, None) == ["this host has no libcuda.so.1"] * 6
