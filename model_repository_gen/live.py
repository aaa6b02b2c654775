"""Loads a model repository on a real Triton server and has every model answer one inference."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from portalis.contracts.output import ValidationResult
from portalis.errors import MissingPart, PortalisError, TritonFailed
from portalis.model_repository_gen.pbtxt import FILE_NAME, read_config
from portalis.model_repository_gen.samples import sample

LIVE = "live"
INFERENCE_TIMEOUT_S = 60.0
Say = Callable[[str], None]


def try_on_triton(repository: Path, models: Sequence[str], say: Say) -> list[ValidationResult]:
    """One result for each of `models`. Where no server can be had, all are invalid with that reason: nobody asked
    for a check that does not check."""
    from portalis.tritonserver import TritonServer

    try:
        with TritonServer(repository, require_all=False) as server:
            states = _states(server.http_url)
            return [_try(server.grpc_url, repository, name, states.get(name, []), say) for name in models]
    except (MissingPart, TritonFailed) as problem:
        return [_result(name, False, f"no server could be asked: {problem}") for name in models]


def _states(http_url: str) -> dict[str, list[dict[str, Any]]]:
    request = urllib.request.Request(f"http://{http_url}/v2/repository/index", data=b"{}", method="POST")
    with urllib.request.urlopen(request, timeout=INFERENCE_TIMEOUT_S) as answer:
        index: list[dict[str, Any]] = json.load(answer)
    states: dict[str, list[dict[str, Any]]] = {}
    for each in index:
        states.setdefault(each["name"], []).append(each)
    return states


def _try(url: str, repository: Path, name: str, states: list[dict[str, Any]], say: Say) -> ValidationResult:
    ready = [each["version"] for each in states if each.get("state") == "READY"]
    reasons = [
        each["reason"] for each in states if each.get("state") != "READY" and each.get("reason", "") != "unloaded"
    ]
    if reasons or not ready:
        return _result(name, False, f"it did not load: {'; '.join(reasons) or 'the server does not say why'}")
    told = []
    for version in ready:
        try:
            told.append(_infer(url, repository, name, version))
        except PortalisError as problem:
            return _result(name, False, f"version {version} loads, and does not answer: {problem}")
    say(f"model {name} answers")
    return _result(name, True, "; ".join(told))


def _infer(url: str, repository: Path, name: str, version: str) -> str:
    from portalis.triton_client import RemoteModel

    with RemoteModel(url, name, version=version, timeout_s=INFERENCE_TIMEOUT_S) as model:
        config = read_config(repository / name / FILE_NAME)
        inputs = sample(config, model.inputs, repository / name)
        answer = model.infer(inputs, sequence_id=int(config.HasField("sequence_batching")))
    tensors = ", ".join(f"{name} {list(array.shape)}" for name, array in answer.outputs.items())
    return f"version {version} loads and answers {tensors} in {answer.seconds * 1000:.1f} ms"


def _result(name: str, valid: bool, report: str) -> ValidationResult:
    return ValidationResult(name=name, check=LIVE, valid=valid, report=report)
