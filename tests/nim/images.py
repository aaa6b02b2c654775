"""The image that tests of engines share: the softmax example, built offline on the local base image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from portalis.engines.build_context import BuildContext
from portalis.engines.container_engine import ContainerEngine
from portalis.engines.image import Image
from portalis.examples.catalog import EXAMPLES
from portalis.nim.service.settings import ModelSettings
from portalis.nim.service_context import ImageLabels, build_context
from portalis.spec.container import ContainerConfiguration
from tests import parts
from tests.running.waiting import PATIENCE_S

REFERENCE = "portalis-test/softmax:1.2.3"
AWKWARD = 'a "quoted" $HOME \\ and\na second line'
CONFIG = ContainerConfiguration(
    base_image=parts.BASE_IMAGE,
    wheelhouse=parts.WHEELHOUSE,
    labels={"awkward": AWKWARD},
    environment_vars={"AWKWARD": AWKWARD},
    memory_limit="512Mi",
    cpu_limit="1500m",
)
X = np.array([[1.0, 2.0, -3.0], [0.5, 0.5, 80.0]], dtype=np.float32)
REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": X.ravel().tolist()}]}


def context() -> BuildContext:
    return build_context(
        CONFIG,
        models=[(ModelSettings(name="softmax", file="softmax.wasm"), EXAMPLES["softmax"].module)],
        labels=ImageLabels(package="demo", version="1.2.3"),
    )


def build(engine: ContainerEngine, folder: Path, on_line: Callable[[str], None]) -> Image:
    """Build the context in `folder` without a network."""
    arguments = context().arguments
    return engine.build(
        folder, REFERENCE, arguments=arguments, network="none", timeout_s=6 * PATIENCE_S, on_line=on_line
    )


def check_answer(answer: Any) -> None:
    """Check that the service's `answer` to `REQUEST` equals NumPy's result."""
    powers = np.exp(X - X.max(axis=1, keepdims=True))
    (output,) = answer["outputs"]
    np.testing.assert_allclose(
        np.reshape(output["data"], (2, 3)), powers / powers.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-7
    )
