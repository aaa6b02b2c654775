"""`portalis demo`: what `make demo` shows."""

from __future__ import annotations

import json

import pytest

from tests import parts
from tests.running.waiting import PATIENCE_S

from .conftest import Cli

EXAMPLES = {"gelu", "softmax", "image_preprocess", "wordpiece", "nms", "text_filter"}


@pytest.mark.triton
def test_every_example_agrees_with_its_reference_on_a_real_server(cli: Cli) -> None:
    parts.tritonserver()
    done = cli("demo", "--json")
    assert done.returncode == 0, done.stderr
    results = {result["name"]: result for result in json.loads(done.stdout)["examples"]}
    assert set(results) == EXAMPLES
    assert all(result["agrees"] for result in results.values())
    assert all(0 < result["median_ms"] < 1000 * PATIENCE_S for result in results.values())


@pytest.mark.triton
def test_it_shows_what_went_in_and_what_came_out(cli: Cli) -> None:
    parts.tritonserver()
    done = cli("demo", "gelu")
    assert done.returncode == 0, done.stderr
    assert "-> x" in done.stdout
    assert "<- y" in done.stdout
    assert "agrees with the reference" in done.stdout
    assert "ms a call" in done.stdout
    assert "Triton has stopped" in done.stderr


def test_an_example_that_is_not_there_is_named_with_those_that_are(cli: Cli) -> None:
    done = cli("demo", "fibonacci")
    assert done.returncode == 2
    assert "there is no example fibonacci" in done.stderr
    assert "wordpiece" in done.stderr
