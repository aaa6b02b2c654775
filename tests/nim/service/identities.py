"""Models that return their input, one for each numeric data type, and sample arrays for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import wasmtime

from portalis.backend.interface.dtypes import DTYPES

NUMBERS = tuple(name for name in DTYPES if name != "BYTES")


def identities(folder: Path) -> list[dict[str, Any]]:
    """Write the modules; returns the models, named ``same_FP32`` and so on, with input ``x`` and output ``y``."""
    models = []
    for name in NUMBERS:
        kind = DTYPES[name].wasm
        text = f'(module (func (export "same") (param $x {kind}) (result {kind}) (local.get $x)))'
        (folder / f"same_{name}.wasm").write_bytes(wasmtime.wat2wasm(text))
        tensor = {"name": "x", "dtype": name, "dims": [-1]}
        interface = {"inputs": [tensor], "outputs": [{**tensor, "name": "y"}]}
        models.append({"name": f"same_{name}", "file": f"same_{name}.wasm", "interface": interface})
    return models


def sample(name: str) -> np.ndarray:
    """Two rows of three numbers of a data type, including its limits (BF16 as bits)."""
    dtype: Any = DTYPES[name].numpy
    if name == "BOOL":
        return np.array([[True, False, True], [False, False, True]])
    if name == "BF16":
        return np.array([[0x0000, 0x3F80, 0xC040], [0x7F7F, 0xFF7F, 0x7F80]], np.uint16)
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return np.array([[limits.max, limits.min, limits.tiny], [np.inf, 0.1, -0.0]], dtype)
    bounds = np.iinfo(dtype)
    return np.array([[bounds.max, bounds.min, 0], [1, 2, 3]], dtype)
