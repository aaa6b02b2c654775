"""`portalis demo`, which `make demo` runs."""

from __future__ import annotations

import json

import pytest

from portalis.cli.demo_speed import Speed
from tests import parts
from tests.running.waiting import PATIENCE_S

from .conftest import Cli

EXAMPLES = {"gelu", "softmax", "image_preprocess", "wordpiece", "nms", "text_filter"}


@pytest.mark.triton
def test_every_example_agrees_with_its_reference_on_a_real_server(cli: Cli) -> None:
    parts.tritonserver()
    done = cli("demo", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    results = {result["name"]: result for result in report["examples"]}
    assert set(results) == EXAMPLES
    assert all(result["agrees"] for result in results.values())
    assert all(0 < result["median_ms"] < 1000 * PATIENCE_S for result in results.values())
    assert [(speed["name"], speed["shape"]) for speed in report["speed"]] == [
        ("softmax", [64, 1024]),
        ("image_preprocess", [1, 300, 451, 3]),
    ]
    assert all(0 < speed["wasm_ms"] < 1000 * PATIENCE_S and speed["python_ms"] > 0 for speed in report["speed"])


@pytest.mark.triton
def test_it_shows_inputs_and_outputs(cli: Cli) -> None:
    parts.tritonserver()
    done = cli("demo", "gelu")
    assert done.returncode == 0, done.stderr
    assert "-> x" in done.stdout
    assert "<- y" in done.stdout
    assert "agrees with the reference" in done.stdout
    assert "ms a call" in done.stdout
    assert "model.py" not in done.stdout  # gelu has no Python model to compare
    assert "Triton has stopped" in done.stderr


def test_an_unknown_example_is_an_error_that_lists_the_examples(cli: Cli) -> None:
    done = cli("demo", "fibonacci")
    assert done.returncode == 2
    assert "unknown example fibonacci" in done.stderr
    assert "wordpiece" in done.stderr


@pytest.mark.parametrize(
    ("python_s", "verdict"),
    [(0.003, "1.5 times as fast as the Python model"), (0.0019, "no faster here"), (0.002, "no faster here")],
)
def test_the_comparison_states_only_the_measured_speed(python_s: float, verdict: str) -> None:
    speed = Speed("softmax", (64, 1024), 0.002, python_s)
    assert str(speed) == (
        f"softmax of 64 x 1024: 2.00 ms in the server, {python_s * 1000:.2f} ms with NumPy in a model.py: {verdict}"
    )
