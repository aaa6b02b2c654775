"""The examples: for each its module, real input, a NumPy reference, and how to show a result to a person."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

FOLDER = Path(__file__).resolve().parent
Tensors = Mapping[str, np.ndarray]


@functools.cache
def _reference(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"portalis_example_{name}", FOLDER / name / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Example:
    """One example. Its `reference.py` has ``inputs()``, ``reference(inputs)``, ``describe(inputs, outputs)`` and the
    tolerances ``RTOL`` and ``ATOL`` within which module and reference agree."""

    name: str
    about: str

    @property
    def module(self) -> Path:
        """The prebuilt module."""
        return FOLDER / self.name / f"{self.name}.wasm"

    @property
    def python_model(self) -> Path:
        """The model of Triton's Python backend that does the same work; not every example has one."""
        return FOLDER / self.name / "model.py"

    @property
    def inputs(self) -> Callable[[], dict[str, np.ndarray]]:
        """Makes the real input, batch dimension included."""
        return _reference(self.name).inputs  # type: ignore[no-any-return]

    @property
    def reference(self) -> Callable[[Tensors], dict[str, np.ndarray]]:
        """Computes the outputs with NumPy or plain Python."""
        return _reference(self.name).reference  # type: ignore[no-any-return]

    @property
    def describe(self) -> Callable[[Tensors, Tensors], list[str]]:
        """What went in and came out, in a few lines."""
        return _reference(self.name).describe  # type: ignore[no-any-return]

    @property
    def tolerances(self) -> tuple[float, float]:
        """Relative and absolute tolerance."""
        found = _reference(self.name)
        return found.RTOL, found.ATOL


EXAMPLES: dict[str, Example] = {
    e.name: e
    for e in (
        Example("gelu", "GELU activation; a function of one number (elementwise)"),
        Example("softmax", "row softmax with SIMD (gufunc)"),
        Example("image_preprocess", "a photograph resized and normalised for a classifier (dlpack)"),
        Example("wordpiece", "BERT's tokenizer: texts to ids and mask (dlpack, dynamic shapes)"),
        Example("nms", "non-maximum suppression (dlpack, output size known only to the guest)"),
        Example("text_filter", "e-mail addresses and card numbers blacked out (a WASI command)"),
    )
}
ECHO = Example("echo", "identity (dlpack); what the benchmarks use")
