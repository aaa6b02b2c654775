"""Two servers that run at the same time with equal models; perf_analyzer measures them alternately."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client

from . import perf
from .harness import Result, compare
from .perf import Load, Transport


@dataclass(frozen=True)
class Endpoint:
    """A model of a running server; `url` is ``host:port`` of the protocol that is measured."""

    url: str
    model: str


@dataclass(frozen=True)
class Measurement:
    """The parameters of a measurement: the argv of perf_analyzer, the number of pairs, and the seconds of each side."""

    argv: list[str]
    rounds: int
    seconds: float


@dataclass(frozen=True)
class Pair:
    """The same model on both sides, and the transport that reaches both."""

    ours: Endpoint
    theirs: Endpoint
    transport: Transport

    def check_equal(self, x: np.ndarray) -> None:
        """Check, before a measurement, that both sides return the same ``y`` for `x`."""
        ours, theirs = (infer(side, self.transport, x) for side in (self.ours, self.theirs))
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, err_msg=f"{self.ours} and {self.theirs} differ")

    def compare(self, name: str, about: str, load: Load, target: float, by: Measurement) -> Result:
        """Requests per second of both sides, measured alternately (A B A B)."""
        pairs = []
        for _ in range(by.rounds):
            ours, theirs = (
                perf.measure(by.argv, side.url, side.model, load, by.seconds, self.transport).throughput
                for side in (self.ours, self.theirs)
            )
            pairs.append((ours, theirs))
        name, about = f"{name}-c{load.concurrency}", f"{about}, concurrency {load.concurrency}"
        return compare(name, about, pairs, unit="1/s", target=target, at_most=False)


def infer(endpoint: Endpoint, transport: Transport, x: np.ndarray) -> np.ndarray:
    """The output ``y`` for the FP32 input `x`, with the client of the transport's protocol; not in shared memory."""
    module: Any = grpc_client if transport.protocol == "grpc" else http_client
    tensor, options = module.InferInput("x", list(x.shape), "FP32"), {}
    if transport.tensor_format == "json":
        tensor.set_data_from_numpy(x, binary_data=False)
        outputs = [module.InferRequestedOutput("y", binary_data=False)]
        options = {"headers": {"content-type": "application/json"}}  # FastAPI requires it; perf_analyzer sends it
    else:
        tensor.set_data_from_numpy(x)
        outputs = [module.InferRequestedOutput("y")]
    with module.InferenceServerClient(endpoint.url) as client:
        return np.asarray(client.infer(endpoint.model, [tensor], outputs=outputs, **options).as_numpy("y"))


def write_data(folder: Path, x: np.ndarray) -> Path:
    """Write `x` as the data of a `Load`: the random elements of perf_analyzer include NaN, which JSON lacks."""
    data = folder / "data.json"
    data.write_text(f'{{"data": [{{"x": {x.ravel().tolist()}}}]}}')
    return data
