"""Guests of the benchmarks: the identity model and the Extism plugins."""

from __future__ import annotations

import numpy as np
import pytest
import wasmtime

from benchmarks import plugins  # noqa: TID251
from benchmarks.repository import identity  # noqa: TID251
from portalis.backend import Program
from tests import parts

INTERFACE = {
    "inputs": [{"name": "x", "dtype": "FP32", "dims": [-1]}],
    "outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}],
    "max_batch_size": 64,
}


@pytest.mark.parametrize("isolation", ["batch", "instance", "request"])
def test_the_identity_returns_its_input(isolation: str) -> None:
    rng = np.random.default_rng(0)
    with Program.load(identity(), interface=INTERFACE, isolation=isolation, cache=None) as program:
        for shape in ((1, 1024), (64, 1024), (1, 256 * 1024), (3, 1), (2, 0)):
            x = rng.random(shape, np.float32)
            np.testing.assert_array_equal(program.run({"x": x})["y"], x)


def test_the_identity_serves_more_data_than_fits_into_its_memory() -> None:
    x = np.arange(1 << 20, dtype=np.float32).reshape(1, -1)  # 4 MiB; a guest can have 256 MiB
    with Program.load(identity(), interface=INTERFACE, isolation="instance", cache=None) as program:
        for _ in range(150):
            y = program.run({"x": x})["y"]
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize(("a", "b"), [(1.5, 2.25), (-0.0, 0.0), (1e38, 1e38), (np.inf, -np.inf), (3e-45, 0)])
def test_the_plugin_adds_two_numbers(a: float, b: float) -> None:
    extism = parts.extism()
    plugin = extism.Plugin(bytes(wasmtime.wat2wasm(plugins.ADD)))
    pair = np.array([a, b], np.float32)
    with np.errstate(all="ignore"):
        wanted = pair[:1] + pair[1:]
    np.testing.assert_array_equal(np.frombuffer(plugin.call("add", pair.tobytes()), np.float32), wanted)


def test_the_plugin_echoes_multiples_of_eight_bytes() -> None:
    extism = parts.extism()
    plugin = extism.Plugin(bytes(wasmtime.wat2wasm(plugins.ECHO)))
    rng = np.random.default_rng(2)
    for size in (0, 8, 16, 4096, 1 << 20):
        data = rng.bytes(size)
        assert bytes(plugin.call("echo", data)) == data


@pytest.mark.parametrize("text", [plugins.ADD, plugins.ECHO])
def test_a_plugin_imports_only_the_kernel_of_extism(text: str) -> None:
    module = wasmtime.Module(wasmtime.Engine(), text)
    assert {wanted.module for wanted in module.imports} == {"extism:host/env"}
