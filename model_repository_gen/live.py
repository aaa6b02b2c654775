"""Loads a model repository on a real Triton server and has every model answer one inference."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path

from portalis.contracts.output import ValidationResult
from portalis.errors import MissingPart, PortalisError, TritonFailed
from portalis.model_repository_gen.pbtxt import FILE_NAME, ModelConfig, read_config
from portalis.model_repository_gen.samples import sample, sequence_id

LIVE = "live"
LOAD_TIMEOUT_S = 300.0
INFERENCE_TIMEOUT_S = 60.0
# what Triton says to a single request for a model that answers any number of times, an ensemble of such a one included
STREAMS = "decoupled transaction policy"
Say = Callable[[str], None]


def try_on_triton(
    repository: Path, models: Sequence[str], say: Say, *, backends: Path | None = None
) -> list[ValidationResult]:
    """One result for each of `models`. Where no server can be had, all are invalid with that reason: nobody asked
    for a check that does not check. `backends` is the server's folder of backends; portalis's own by default."""
    from portalis.tritonserver import TritonServer

    try:
        # One by one: Triton 2.51 crashes now and then when several models fail to load at once.
        with TritonServer(repository, backend_directory=backends, model_control="explicit") as server:
            return [_try(server.http_url, server.grpc_url, repository, name, say) for name in models]
    except (MissingPart, TritonFailed) as problem:
        why = f"no server could be asked: {problem}"
        return [ValidationResult(name=name, check=LIVE, valid=False, tried=False, report=why) for name in models]


def _try(http_url: str, grpc_url: str, repository: Path, name: str, say: Say) -> ValidationResult:
    try:
        ready, reasons = _load(http_url, grpc_url, name)
    except (OSError, HTTPException) as problem:
        return _result(name, False, f"the server does not answer: {problem}")
    if reasons or not ready:
        why = "; ".join(_plain(reason, repository) for reason in reasons) or "the server does not say why"
        return _result(name, False, f"it did not load: {why}")
    told = []
    for version in ready:
        try:
            told.append(_infer(grpc_url, repository, name, version))
        except PortalisError as problem:
            if STREAMS not in problem.message:
                why = _plain(problem.message.removeprefix(f"model {name!r} at {grpc_url}: "), repository)
                return _result(name, False, f"version {version} loads, and does not answer: {why}")
            told.append(f"version {version} loads; it answers in streams, which was not tried")
    say(f"model {name} is tried")
    return _result(name, True, "; ".join(told))


def _plain(reason: str, repository: Path) -> str:
    """Without Python's backtrace, and without a folder that will have moved when somebody reads it."""
    return reason.split("\n\nAt:", maxsplit=1)[0].replace(f"{repository}/", "").strip()


def _load(http_url: str, grpc_url: str, name: str) -> tuple[list[str], list[str]]:
    """The versions of the model that are ready, and why others are not. Raises OSError and HTTPException."""
    from portalis.triton_client import load_model

    try:
        load_model(grpc_url, name, timeout_s=LOAD_TIMEOUT_S)
        refused = []
    except PortalisError as problem:
        refused = [problem.message]
    request = urllib.request.Request(f"http://{http_url}/v2/repository/index", data=b"{}", method="POST")
    with urllib.request.urlopen(request, timeout=INFERENCE_TIMEOUT_S) as answer:
        states = [each for each in json.load(answer) if each["name"] == name]
    ready = [each["version"] for each in states if each.get("state") == "READY"]
    # the index also has the versions that nobody asked for: they say "unloaded", or nothing
    others = [each.get("reason", "") for each in states if each.get("state") != "READY"]
    return ready, [each for each in others if each not in ("", "unloaded")] or refused


def _infer(url: str, repository: Path, name: str, version: str) -> str:
    from portalis.triton_client import RemoteModel

    config: ModelConfig = read_config(repository / name / FILE_NAME)
    with RemoteModel(url, name, version=version, timeout_s=INFERENCE_TIMEOUT_S) as model:
        inputs = sample(config, model.inputs, repository / name)
        answer = model.infer(inputs, sequence_id=sequence_id(config))
    tensors = ", ".join(f"{name} {list(array.shape)}" for name, array in answer.outputs.items())
    return f"version {version} loads and answers {tensors} in {answer.seconds * 1000:.1f} ms"


def _result(name: str, valid: bool, report: str) -> ValidationResult:
    return ValidationResult(name=name, check=LIVE, valid=valid, report=report)
