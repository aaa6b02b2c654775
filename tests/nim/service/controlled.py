"""A service whose models clients load and unload, with models that multiply a number."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.backend import guests
from tests.backend.guests import tensor as declared

from .serving import Client, serving, tensor

TIMES = "(f32.store (i32.load (local.get $out)) (f32.mul (f32.const {factor}) (f32.load (i32.load (local.get $in)))))"


def times(factor: int, dims: tuple[int, ...] = (1,)) -> bytes:
    """A module that multiplies a number."""
    body = TIMES.format(factor=factor) + " (i32.const 0)"
    return guests.dlpack(body, inputs=[declared("x", dims=dims)], outputs=[declared("y", dims=dims)])


def request(value: float = 3) -> bytes:
    return json.dumps({"inputs": [tensor("x", np.array([value], np.float32))]}).encode()


class Controlled:
    """A service whose models can be changed, and requests to it."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.client, self.folder = client, folder

    def write(self, name: str, module: bytes) -> None:
        """Replace the file of a module at once: a load must never see half of it."""
        new = self.folder / f"{name}.new"
        new.write_bytes(module)
        new.replace(self.folder / f"{name}.wasm")

    def control(self, action: str, name: str, **parameters: Any) -> tuple[int, str]:
        body = json.dumps({"parameters": parameters}).encode() if parameters else b""
        status, document = self.client.send(f"/v2/repository/models/{name}/{action}", body)
        return status, document["error"] if document else ""

    def load(self, name: str, **parameters: Any) -> tuple[int, str]:
        return self.control("load", name, **parameters)

    def unload(self, name: str, **parameters: Any) -> tuple[int, str]:
        return self.control("unload", name, **parameters)

    def infer(self, name: str, value: float = 3) -> Any:
        """The result, or the status and error text."""
        status, document = self.client.send(f"/v2/models/{name}/infer", request(value))
        return document["outputs"][0]["data"][0] if status == 200 else (status, document["error"])

    def states(self) -> dict[str, Any]:
        _, index = self.client.send("/v2/repository/index", b"")
        return {each["name"]: (each.get("state"), each.get("reason")) for each in index}

    def ready(self) -> bool:
        return self.client.get("/v2/health/ready")[0] == 200


def ensemble(name: str, *steps: str) -> dict[str, Any]:
    tensors = ["x", *(f"t{i}" for i in range(1, len(steps))), "y"]
    return {
        "name": name,
        "inputs": [{"name": "x", "data_type": "FP32", "dims": [1]}],
        "outputs": [{"name": "y", "data_type": "FP32", "dims": [1]}],
        "steps": [
            {"model_name": step, "input_map": {"x": tensors[i]}, "output_map": {"y": tensors[i + 1]}}
            for i, step in enumerate(steps)
        ],
    }


@contextlib.contextmanager
def controlled_service(folder: Path) -> Iterator[Controlled]:
    """A service with four modules and two ensembles; one of the modules is loaded."""
    names = ("times", "other", "step", "inner")
    ensembles = [ensemble("chain", "step", "nested"), ensemble("nested", "inner", "step")]
    for name in names:
        (folder / f"{name}.wasm").write_bytes(times(2))
    models = [{"name": name, "file": f"{name}.wasm"} for name in names]
    with serving(folder, models, ensembles=ensembles, model_control="explicit", load_models=["times"]) as client:
        client.wait_ready()
        yield Controlled(client, folder)
