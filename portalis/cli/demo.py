"""`portalis demo`: runs the examples on a real Triton server, with real inputs."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import PortalisError, UsageError

if TYPE_CHECKING:
    from ..examples.catalog import Example
    from ..tensor_input import Array

CALLS = 30


def demo(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[EXAMPLE]…", help="Names of examples; default: all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Serve the examples on a real Triton, send real inputs over gRPC, and print outputs and latencies.

    Each output is compared with the same computation in NumPy. For two models the speed is compared with the Python
    models that they replace, on the same server.
    """
    from ..tritonserver import TritonServer
    from .demo_speed import compare_with_python, is_compared, write_python_model

    examples = _selected(names or [])
    _note(f"starting Triton with {len(examples)} WebAssembly models")
    with tempfile.TemporaryDirectory(prefix="portalis-demo-") as folder:
        for example in examples:
            _write_model(Path(folder), example)
            if is_compared(example):
                write_python_model(Path(folder), example)
        with TritonServer(folder) as server:
            _note(f"ready: gRPC at {server.grpc_url}, process {server.pid}")
            results = [_show(example, server.grpc_url, quiet=as_json) for example in examples]
            speeds = [compare_with_python(example, server.grpc_url) for example in examples if is_compared(example)]
    _note("Triton has stopped")
    if as_json:
        print(json.dumps({"examples": results, "speed": [speed.to_json() for speed in speeds]}, indent=2))
    elif speeds:
        print("\ncompared with the Python models that they replace, in interleaved rounds on the same server:")
        for speed in speeds:
            print(f"  {speed}")
    wrong = [result["name"] for result in results if not result["agrees"]]
    if wrong:
        raise PortalisError(f"the output differs from the NumPy reference: {', '.join(wrong)}")


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _selected(names: list[str]) -> list[Example]:
    from ..examples.catalog import EXAMPLES

    unknown = sorted(set(names) - set(EXAMPLES))
    if unknown:
        raise UsageError(f"unknown example {', '.join(unknown)}", remediation=f"Choose from {', '.join(EXAMPLES)}.")
    return [example for name, example in EXAMPLES.items() if not names or name in names]


def _write_model(repository: Path, example: Example) -> None:
    """Write a model with a one-line configuration; the rest is completed from the module."""
    version = repository / example.name / "1"
    version.mkdir(parents=True)
    shutil.copyfile(example.module, version / "model.wasm")
    (repository / example.name / "config.pbtxt").write_text('backend: "wasm"\n')


def _show(example: Example, url: str, *, quiet: bool) -> dict[str, Any]:
    from ..tensor_input import shape_text
    from ..triton_client import RemoteModel

    inputs = example.inputs()
    with RemoteModel(url, example.name, timeout_s=60) as model:
        results = [model.infer(inputs) for _ in range(CALLS)]
        datatypes = {spec.name: spec.dtype.name for spec in model.inputs} | results[0].datatypes
    outputs = results[-1].outputs
    first, typical = results[0].seconds, statistics.median(result.seconds for result in results[1:])
    agrees = _agrees(example, inputs, outputs)
    if not quiet:
        print(f"\n{example.name}: {example.about}")
        for arrow, tensors in (("->", inputs), ("<-", outputs)):
            for name, array in tensors.items():
                print(f"  {arrow} {name:<14} {datatypes[name]:<5} {shape_text(array.shape)}")
        for line in example.describe(inputs, outputs):
            print(f"     {line}")
        verdict = "agrees with the reference" if agrees else "DIFFERS from the reference"
        print(f"     {verdict}; {typical * 1000:.2f} ms a call (the first {first * 1000:.2f} ms)")
    return {
        "name": example.name,
        "agrees": agrees,
        "first_ms": round(first * 1000, 3),
        "median_ms": round(typical * 1000, 3),
        "inputs": {name: list(array.shape) for name, array in inputs.items()},
        "outputs": {name: list(array.shape) for name, array in outputs.items()},
    }


def _agrees(example: Example, inputs: dict[str, Array], outputs: dict[str, Array]) -> bool:
    import numpy as np

    relative, absolute = example.tolerances
    expected = example.reference(inputs)
    if set(expected) - set(outputs):
        return False
    for name, want in expected.items():
        got = outputs[name]
        if got.shape != want.shape:
            return False
        if want.dtype.kind == "f":
            if not np.allclose(got, want, rtol=relative, atol=absolute, equal_nan=True):
                return False
        elif not np.array_equal(got, want):
            return False
    return True
