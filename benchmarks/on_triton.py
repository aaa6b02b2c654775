"""Benchmarks on a real Triton, driven by perf_analyzer over gRPC with system shared memory.

A pair is a WebAssembly model and its Python counterpart. Both are measured alternately in the same server. Each has a
copy with dynamic batching and one without; the faster copy counts.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from portalis.examples.catalog import EXAMPLES
from portalis.triton_client import RemoteModel
from portalis.tritonserver import TritonServer

from . import perf, repository
from .harness import Result, better, compare
from .perf import Load
from .repository import Model

KIB = 1024
CONCURRENCIES = (1, 4, 16)
IDENTITY = {"4 KiB": (KIB, (1.4, 1.3, 1.8)), "1 MiB": (256 * KIB, (1.7, 1.7, 1.7))}
BATCHED = (1.6, 3.0, 3.0)  # the identity model with 1 MiB and dynamic batching on both sides
TEXTS = 32


@dataclass(frozen=True)
class Bench:
    """A running server, and the parameters of its measurements."""

    server: TritonServer
    argv: Sequence[str]
    rounds: int
    seconds: float

    def throughput(self, models: Sequence[str], load: Load) -> dict[str, list[float]]:
        """Requests per second of each model, one value per round; the models alternate within a round."""
        found: dict[str, list[float]] = {model: [] for model in models}
        for _ in range(self.rounds):
            for model in models:
                figures = perf.measure([*self.argv], self.server.grpc_url, model, load, self.seconds)
                found[model].append(figures.throughput)
        return found

    def latency(self, models: Sequence[str], load: Load) -> list[tuple[float, ...]]:
        """Average latency of each model in microseconds, one tuple per round."""
        measured = [[perf.measure([*self.argv], self.server.grpc_url, model, load, self.seconds) for model in models]
                    for _ in range(self.rounds)]  # fmt: skip
        return [tuple(figures.latency_us for figures in each) for each in measured]


@contextlib.contextmanager
def serving(models: Sequence[Model], rounds: int, seconds: float) -> Iterator[Bench]:
    """Start a server with `models`. Raises parts.Missing if perf_analyzer is not installed."""
    argv = perf.perf_analyzer()
    with tempfile.TemporaryDirectory(prefix="portalis-bench-") as folder:
        repository.write(Path(folder), models)
        with TritonServer(folder) as server:
            yield Bench(server, argv, rounds, seconds)


def names(name: str, batched: bool = True) -> list[str]:
    """Names of a pair's models: WebAssembly and Python, then the copies with dynamic batching."""
    return [f"{name}{kind}{suffix}" for suffix in ("", "_batched")[: 1 + batched] for kind in ("", "_python")]


def against_python(
    bench: Bench, pair: str, load: Load, target: float, name: str, about: str, batched: float | None = None
) -> list[Result]:
    """Requests per second of a WebAssembly model against its Python model, each in its faster configuration.

    If `batched` is set, it is the target of a second result: both with dynamic batching.
    """
    throughput = bench.throughput(names(pair), load)
    ours = better(throughput[pair], throughput[f"{pair}_batched"])
    theirs = better(*(throughput[n] for n in names(pair)[1::2]))
    about = f"Triton {about}, concurrency {load.concurrency}"
    name = f"{name}-c{load.concurrency}"
    results = [_result(name, f"{about}: wasm / model.py, requests/s", ours, theirs, target)]
    if batched is not None:
        about = f"{about}, dynamic batching on both: wasm / model.py, requests/s"
        pairs = throughput[f"{pair}_batched"], throughput[f"{pair}_python_batched"]
        results.append(_result(f"{name}-batched", about, *pairs, batched))
    return results


def _result(name: str, about: str, ours: Sequence[float], theirs: Sequence[float], target: float) -> Result:
    return compare(name, about, list(zip(ours, theirs, strict=True)), unit="1/s", target=target, at_most=False)


def identity(rounds: int, seconds: float) -> list[Result]:
    """A model that returns its input, so that only the transport of tensors is measured."""
    kept = repository.wasm("identity_instance", repository.identity(), repository.ROWS, isolation="instance")
    results = []
    with serving([*repository.pair("identity"), kept], rounds, seconds) as bench:
        same(bench, "identity", {"x": np.random.default_rng(0).random((3, KIB), np.float32)}, 0)
        for label, (width, targets) in IDENTITY.items():
            for i, concurrency in enumerate(CONCURRENCIES):
                load = perf.rows(width, 1, concurrency)
                name = f"triton-identity-{label.replace(' ', '').lower()}"
                batched = BATCHED[i] if label == "1 MiB" else None
                results += against_python(bench, "identity", load, targets[i], name, f"identity {label}", batched)
        latencies = [(a, b) for a, b in bench.latency(["identity", "identity_instance"], perf.rows(KIB, 1, 1))]
    about = "Triton identity 4 KiB, latency: isolation batch / instance"
    return [*results, compare("triton-isolation", about, latencies, unit="us", target=1.15)]


def softmax(rounds: int, seconds: float) -> list[Result]:
    """Softmax against NumPy in a model.py."""
    results = []
    with serving(repository.pair("softmax"), rounds, seconds) as bench:
        check_softmax(bench)
        for concurrency in CONCURRENCIES:
            load = perf.rows(KIB, 64, concurrency)
            results += against_python(bench, "softmax", load, 1.4, "triton-softmax", "softmax 64x1024")
    return results


def preprocessing(rounds: int, seconds: float) -> list[Result]:
    """The preprocessing examples: images against Pillow and NumPy, text against `tokenizers`."""
    height, width = EXAMPLES["image_preprocess"].inputs()["image"].shape[1:3]
    texts = _texts()
    results = []
    models = [*repository.pair("image_preprocess"), *repository.pair("wordpiece")]
    with serving(models, rounds, seconds) as bench, tempfile.TemporaryDirectory() as folder:
        check_preprocessing(bench)
        data = Path(folder) / "texts.json"
        content = {"content": [text.decode() for text in texts], "shape": [len(texts)]}
        data.write_text(json.dumps({"data": [{"text": content}]}))
        for concurrency in CONCURRENCIES:
            load = Load(f"image:{height},{width},3", 1, concurrency, 4 * 3 * 224 * 224)
            about = "image_preprocess of a photograph"
            results += against_python(bench, "image_preprocess", load, 1.2, "triton-image", about)
            load = Load(f"text:{len(texts)}", 1, concurrency, 64 * KIB, data)
            found = bench.throughput(names("wordpiece", batched=False), load)
            about = (
                f"Triton wordpiece of {len(texts)} texts, concurrency {concurrency}: wasm / tokenizers in a model.py"
            )
            name = f"triton-wordpiece-c{concurrency}"
            results.append(_result(name, about + ", requests/s", found["wordpiece"], found["wordpiece_python"], 1.2))
    return results


def _texts() -> np.ndarray:
    """Distinct sentences."""
    own = EXAMPLES["wordpiece"].inputs()["text"].tolist()
    return np.array([f"{own[i % len(own)].decode()} No. {i}".encode() for i in range(TEXTS)], object)


def check_softmax(bench: Bench) -> None:
    """Check that both softmax models return the same output."""
    x = np.random.default_rng(1).normal(size=(64, KIB)).astype(np.float32)
    same(bench, "softmax", {"x": x}, 2e-5)


def check_preprocessing(bench: Bench) -> None:
    """Check that both models of each preprocessing example agree; Pillow rounds to integer gray levels."""
    same(bench, "image_preprocess", EXAMPLES["image_preprocess"].inputs(), 1.01 / 255 / 0.224)
    same(bench, "wordpiece", {"text": _texts()}, 0)


def same(bench: Bench, pair: str, inputs: dict[str, np.ndarray], tolerance: float) -> None:
    """Check, before the measurement, that both models return the same outputs."""
    answers = []
    for name in (pair, f"{pair}_python"):
        with RemoteModel(bench.server.grpc_url, name, timeout_s=60) as model:
            answers.append(model.infer(inputs).outputs)
    ours, theirs = answers
    assert set(ours) == set(theirs), f"{pair}: the names of the outputs differ"
    for name, wanted in theirs.items():
        np.testing.assert_allclose(ours[name], wanted, rtol=0, atol=tolerance, err_msg=f"{pair}: {name}")
