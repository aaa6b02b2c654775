"""The examples: each has a module, realistic input, a reference implementation, and a readable form of its results."""

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
    """An example and its `reference.py`.

    `reference.py` defines ``inputs()``, ``reference(inputs)``, ``describe(inputs, outputs)``, and the tolerances
    ``RTOL`` and ``ATOL`` within which the module and the reference must agree.
    """

    name: str
    about: str

    @property
    def module(self) -> Path:
        """The path of the prebuilt module."""
        return FOLDER / self.name / f"{self.name}.wasm"

    @property
    def python_model(self) -> Path:
        """The path of an equivalent model.py for Triton's Python backend. Some examples have none."""
        return FOLDER / self.name / "model.py"

    @property
    def inputs(self) -> Callable[[], dict[str, np.ndarray]]:
        """A function that returns realistic input, including the batch dimension."""
        return _reference(self.name).inputs  # type: ignore[no-any-return]

    @property
    def reference(self) -> Callable[[Tensors], dict[str, np.ndarray]]:
        """A function that computes the outputs with NumPy or plain Python."""
        return _reference(self.name).reference  # type: ignore[no-any-return]

    @property
    def describe(self) -> Callable[[Tensors, Tensors], list[str]]:
        """A function that describes inputs and outputs in a few lines of text."""
        return _reference(self.name).describe  # type: ignore[no-any-return]

    @property
    def tolerances(self) -> tuple[float, float]:
        """Relative and absolute tolerance between the module and the reference."""
        module = _reference(self.name)
        return module.RTOL, module.ATOL


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
ECHO = Example("echo", "identity (dlpack), used by the benchmarks")
