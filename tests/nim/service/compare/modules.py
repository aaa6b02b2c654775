"""The modules that both servers serve, under the same names: as Triton's model repository, and as models of a service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.backend import guests
from tests.backend.guests import tensor
from tests.backend.triton import models

# the two outputs are the two inputs, in the other order
SWAP = "".join(
    f"({store} offset={40 * (1 - i) + field} (local.get $out) ({load} offset={40 * i + field} (local.get $in)))"
    for i in (0, 1)
    for field, store, load in (
        (0, "i32.store", "i32.load"),
        (12, "i32.store", "i32.load"),
        (20, "i32.store", "i32.load"),
    )
)
ECHOES = ("BOOL", "UINT8", "INT8", "INT64", "UINT64", "FP16", "BF16", "FP64", "BYTES")


def modules() -> Iterator[tuple[str, bytes]]:
    """The names and the modules."""
    yield "add", guests.wasm(guests.ADD)
    yield "counted", guests.wasm(guests.ADD)
    for dtype in ECHOES:
        body = models.BYTES_ECHO if dtype == "BYTES" else guests.ECHO_BODY
        yield (
            f"echo_{dtype.lower()}",
            guests.dlpack(body, inputs=[tensor("x", dtype)], outputs=[tensor("y", dtype)], batch=8),
        )
    described = {"entry": "sum", "convention": "gufunc", "signature": "(n)->()", "max_batch_size": 8}
    yield "sum", guests.wasm(guests.SUM, {**described, "inputs": [tensor("x")], "outputs": [tensor("s", dims=())]})
    yield (
        "optional",
        guests.dlpack(
            models.OPTIONAL,
            inputs=[tensor("x", dims=(1,)), tensor("o", dims=(1,), optional=True)],
            outputs=[tensor("y", dims=(1,))],
        ),
    )
    yield "fixed", guests.echo(dims=(3,))
    yield "rank3", guests.echo("INT64", (-1, 2, -1))
    yield (
        "swap",
        guests.dlpack(
            f"{SWAP} (i32.const 0)",
            inputs=[tensor("a", dims=(4,)), tensor("b", "INT32")],
            outputs=[tensor("c", "INT32"), tensor("d", dims=(4,))],
            batch=4,
        ),
    )
    yield "trap", guests.when_asked("unreachable")
    yield "refuse", guests.when_asked("(return (i32.const 7))")


CONTROLLED = ("add", "fixed", "swap")
"""The modules of servers whose models are controlled by clients."""
GARBAGE = b"\0asm garbage"
ENSEMBLES = {"ens": ("fixed", 3), "misfit": ("fixed", 4), "depends": ("garbage", 3)}
"""Ensembles of one step: its model, and the size of the tensors."""
_CONFIG = """platform: "ensemble"
input [{{ name: "x" data_type: TYPE_FP32 dims: [{size}] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [{size}] }}]
ensemble_scheduling {{ step [{{ model_name: "{step}" model_version: -1
  input_map {{ key: "x" value: "x" }} output_map {{ key: "y" value: "y" }} }}] }}
"""


def controlled_modules() -> Iterator[tuple[str, bytes]]:
    """The names and the modules of servers whose models are controlled; one of them cannot be loaded."""
    yield from (each for each in modules() if each[0] in CONTROLLED)
    yield "garbage", GARBAGE


def write_controlled_repository(folder: Path) -> None:
    """Write the controlled modules and the ensembles as models of a Triton."""
    for name, module in controlled_modules():
        models.write(folder, name, module)
    for name, (step, size) in ENSEMBLES.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(_CONFIG.format(step=step, size=size), encoding="utf-8")


def write_controlled_service(folder: Path) -> dict[str, Any]:
    """Write the controlled modules to the directory of a service; returns the settings of the service."""
    for name, module in controlled_modules():
        (folder / f"{name}.wasm").write_bytes(module)
    ensembles = [
        {
            "name": name,
            "inputs": [{"name": "x", "data_type": "FP32", "dims": [size]}],
            "outputs": [{"name": "y", "data_type": "FP32", "dims": [size]}],
            "steps": [{"model_name": step, "input_map": {"x": "x"}, "output_map": {"y": "y"}}],
        }
        for name, (step, size) in ENSEMBLES.items()
    ]
    models = [{"name": name, "file": f"{name}.wasm"} for name, _ in controlled_modules()]
    return {"models": models, "ensembles": ensembles, "model_control": "explicit"}


def write_repository(folder: Path) -> None:
    """Write the modules as models of a Triton."""
    for name, module in modules():
        models.write(folder, name, module)


def write_service(folder: Path) -> list[dict[str, Any]]:
    """Write the modules to the directory of a service; returns the models for its ``service.json``."""
    for name, module in modules():
        (folder / f"{name}.wasm").write_bytes(module)
    return [{"name": name, "file": f"{name}.wasm"} for name, _ in modules()]
