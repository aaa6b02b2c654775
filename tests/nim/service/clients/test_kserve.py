"""KServe's Python client against the service, in the environment of that client."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import parts
from tests.running.waiting import PATIENCE_S

from .target import Target

SUM = list(range(1, 17))
DIFFERENCE = list(range(-1, 15))
BOTH = {"OUTPUT0": SUM, "OUTPUT1": DIFFERENCE}
REQUESTS = ("INT32 False", "INT32 True", "BYTES False", "BYTES True")


@pytest.fixture(scope="module")
def results(service_target: Target) -> dict[str, Any]:
    program = Path(__file__).with_name("kserve_program.py")
    command = [str(parts.kserve()), str(program), f"http://{service_target.http}", service_target.grpc]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.service
def test_inference_over_http(results: dict[str, Any]) -> None:
    found = results["http"]
    assert {name: found[name] for name in REQUESTS} == dict.fromkeys(REQUESTS, BOTH)
    assert found["dict"] == BOTH and found["one output"] == {"OUTPUT1": DIFFERENCE}


@pytest.mark.service
def test_inference_over_grpc(results: dict[str, Any]) -> None:
    found = results["grpc"]
    assert {name: found[name] for name in REQUESTS} == dict.fromkeys(REQUESTS, BOTH)


@pytest.mark.service
def test_health(results: dict[str, Any]) -> None:
    for found in results.values():
        assert [found["live"], found["ready"], found["model ready"]] == [True, True, True]
    assert results["http"]["unknown model ready"] is False


@pytest.mark.service
def test_errors_have_the_message_of_the_service(results: dict[str, Any]) -> None:
    found = results["http"]
    assert found["unknown model"]["error"] == "HTTPStatusError" and "unknown" in found["unknown model"]["text"]
    assert found["wrong inputs"]["error"] == "HTTPStatusError" and "400 Bad Request" in found["wrong inputs"]["text"]
    assert "unknown" in results["grpc"]["unknown model"]["text"]


@pytest.mark.service
def test_the_first_version_of_the_protocol_is_refused(results: dict[str, Any]) -> None:
    refused = results["http"]["v1"]
    assert refused["error"] == "HTTPStatusError" and "/v2/models/{name}/infer" in refused["text"], refused
