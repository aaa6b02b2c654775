"""GELU in float64 with the exact error function, applied to typical activations of a transformer layer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

RTOL, ATOL = 2e-6, 5e-7
_erf = np.vectorize(math.erf, otypes=[float])


def inputs() -> dict[str, np.ndarray]:
    x = np.linspace(-6, 6, 25, dtype=np.float32)
    return {"x": np.stack([x, np.random.default_rng(0).normal(0, 1.5, 25).astype(np.float32)])}


def reference(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    x = given["x"].astype(np.float64)
    return {"y": (0.5 * x * (1 + _erf(x / math.sqrt(2)))).astype(np.float32) if x.size else given["x"]}


def describe(given: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> list[str]:
    pairs = zip(given["x"][0, 8:17:2], got["y"][0, 8:17:2])
    return ["gelu(x): " + ", ".join(f"{x:.1f} -> {y:.4f}" for x, y in pairs)]
