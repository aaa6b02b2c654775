"""`portalis demo`: compares models with the Python models that they replace, in interleaved rounds on one server."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ..examples.catalog import Example
    from ..tensor_input import Array
    from ..triton_client import RemoteModel

SUFFIX = "_python"
# the libraries of these Python models are installed with the demo; the tokenizer's is not
PEERS = {"softmax": "NumPy", "image_preprocess": "Pillow and NumPy"}
ROUNDS, CALLS = 7, 20


@dataclass(frozen=True)
class Speed:
    """Time of a request in the server, in seconds: medians of the rounds."""

    name: str
    shape: tuple[int, ...]
    ours_s: float
    theirs_s: float

    @property
    def ratio(self) -> float:
        """Speed relative to the Python model."""
        return self.theirs_s / self.ours_s

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        compared = f"{self.ratio:.1f} times as fast as the Python model" if self.ratio >= 1.05 else "no faster here"
        theirs = f"{self.theirs_s * 1000:.2f} ms with {PEERS[self.name]} in a model.py"
        return f"{self.name} of {size}: {self.ours_s * 1000:.2f} ms in the server, {theirs}: {compared}"

    def to_json(self) -> dict[str, object]:
        """The JSON object for ``--json``."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "wasm_ms": round(self.ours_s * 1000, 3),
            "python_ms": round(self.theirs_s * 1000, 3),
            "ratio": round(self.ratio, 2),
        }


def is_compared(example: Example) -> bool:
    """Whether the example has a Python model to compare with."""
    return example.name in PEERS


def write_python_model(repository: Path, example: Example) -> None:
    """Write the Python model, which completes its own configuration."""
    folder = repository / f"{example.name}{SUFFIX}"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_bytes(example.python_model.read_bytes())
    (folder / "config.pbtxt").write_text('backend: "python"\n')


def compare_with_python(example: Example, url: str) -> Speed:
    """Measure both models in interleaved rounds with the same requests. The time in the client is not included."""
    from ..triton_client import RemoteModel

    inputs = _inputs(example)
    with (
        RemoteModel(url, example.name, timeout_s=60) as ours,
        RemoteModel(url, f"{example.name}{SUFFIX}", timeout_s=60) as theirs,
    ):
        _server_seconds(ours, inputs), _server_seconds(theirs, inputs)
        pairs = [(_server_seconds(ours, inputs), _server_seconds(theirs, inputs)) for _ in range(ROUNDS)]
    shape = next(iter(inputs.values())).shape
    return Speed(example.name, shape, *(statistics.median(side) for side in zip(*pairs, strict=True)))


def _inputs(example: Example) -> dict[str, Array]:
    if example.name != "softmax":
        return example.inputs()
    import numpy as np

    return {"x": np.random.default_rng(0).normal(size=(64, 1024)).astype(np.float32)}


def _server_seconds(model: RemoteModel, inputs: Mapping[str, Array]) -> float:
    """The average time of a request in the server, in seconds."""
    count, seconds = model.served()
    for _ in range(CALLS):
        model.infer(inputs)
    count_after, seconds_after = model.served()
    return (seconds_after - seconds) / (count_after - count)
