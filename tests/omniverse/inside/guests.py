"""Programs of small guests, as in an extension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wasmtime

from portalis.omniverse.inside.programs import Programs
from tests.parts import ROOT

ADVANCE = "(param f32 f32 f32) (result f32) local.get 0 local.get 1 local.get 2 f32.mul f32.add"
TRAP = "(param f32) (result f32) unreachable"
SPIN = "(param f32) (result f32) (loop (br 0)) f32.const 0"


def elementwise(body: str, inputs: Sequence[str], dtype: str = "FP32") -> tuple[bytes, dict[str, Any]]:
    """A guest with an export ``f`` of this body, and its interface."""
    tensors = [{"name": each, "dtype": dtype, "dims": [-1]} for each in inputs]
    interface = {
        "convention": "elementwise",
        "inputs": tensors,
        "outputs": [{"name": "y", "dtype": dtype, "dims": [-1]}],
    }
    return bytes(wasmtime.wat2wasm(f'(module (func (export "f") {body}))')), interface


def programs(
    folder: Path,
    guests: Mapping[str, tuple[bytes, dict[str, Any]]] | None = None,
    examples: Sequence[str] = (),
    limits: Mapping[str, Any] | None = None,
) -> Programs:
    """`guests` and `examples` as programs."""
    table: dict[str, Any] = {}
    for name, (data, interface) in (guests or {}).items():
        (folder / f"{name}.wasm").write_bytes(data)
        table[name] = {"file": f"{name}.wasm", "entry": "f", "interface": {"entry": "f", **interface}}
    for name in examples:
        path = ROOT / "examples" / name / f"{name}.wasm"
        entry = {"gelu": "gelu", "softmax": "softmax", "text_filter": "_start"}.get(name, "portalis_infer")
        table[name] = {"file": str(path), "entry": entry, "interface": {}}
    return Programs(folder, table, limits or {})


class Heard:
    """A log that records its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, text: str) -> None:
        self.lines.append(text)
