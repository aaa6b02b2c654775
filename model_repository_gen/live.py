"""Live validation: loads a model repository on a real Triton server and sends each model one request."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Collection, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

from pydantic import Field

from ..contracts.output import ValidationResult
from ..errors import MissingPart, PortalisError, TritonFailed, UsageError
from ..naming import shell_problem
from .pbtxt import CONFIG_FILE, ModelConfig, read_config
from .samples import describe_sample, sample_request, sequence_id

LIVE = "live"
LOAD_TIMEOUT_S = 300.0
INFERENCE_TIMEOUT_S = 60.0
# part of Triton's response to a unary request for a decoupled model, or for an ensemble of such models
_DECOUPLED = "decoupled transaction policy"
# their models write no files: the runtime that they share is in the server's directory of backends
_READ_ONLY = frozenset({"wasm", "ensemble"})
Progress = Callable[[str], None]

# remediations, by the step that failed
_SERVER = "Read the server's log with `portalis serve`, or package without --validate live."
_LOAD = "Fix the cause in the spec's triton_config or in the module, and package again."
_GENERATED = (
    "The sample was generated. If the module rejects it for a good reason, set a real one as triton_config.warmup in"
    " the spec: Triton and this check then send that sample. Otherwise fix the module."
)
_WARMUP = "Fix the module, or set another sample as triton_config.warmup in the spec."
_ENSEMBLE = (
    "The sample was generated, and an ensemble cannot have a warm-up sample instead. If a step rejects it for a good"
    " reason, package with --validate static, and test the ensemble with `portalis serve` and `portalis infer`."
)


class Verdict(ValidationResult):
    """A `ValidationResult` with a remediation, which depends on the sample that was sent and on the step that failed.

    The remediation is part of the error that is created from the result, so the list of results omits it."""

    remediation: str = Field(default="", exclude=True)


class SampleRefused(PortalisError):
    """A model returned an error for the sample."""


def validate_on_triton(
    repository: Path, models: Sequence[str], progress: Progress, *, backends: Path | None = None
) -> list[Verdict]:
    """Validate each model on a real server; one result per model.

    If no server is available, every result is invalid with that reason, because live validation was requested.
    `backends` is the server's directory of backends; the default is portalis's own.
    """
    from ..tritonserver import TritonServer

    try:
        # Models are loaded one at a time: Triton 2.51 sometimes crashes if several fail to load at the same time.
        with (
            _safe_path(repository) as path,
            TritonServer(path, backend_directory=backends, model_control="explicit") as server,
        ):
            return [_validate(server.http_url, server.grpc_url, path, name, progress) for name in models]
    except (MissingPart, TritonFailed, UsageError) as problem:
        remediation = problem.remediation or _SERVER
        reason = f"no Triton server is available: {problem}"
        return [
            Verdict(name=name, check=LIVE, valid=False, tried=False, report=reason, remediation=remediation)
            for name in models
        ]


@contextlib.contextmanager
def validation_copy(repository: Path, platforms: Collection[str]) -> Iterator[Path]:
    """The directory for a server: `repository` itself if no backend of its `platforms` writes files, else a copy.

    Some backends write next to the models: Python writes its bytecode there, and a custom backend can write any file,
    but the packaged repository must not change. The copy is next to `repository`, in the staging directory, and is
    removed afterwards; if this process is killed, the next run removes it.
    """
    if _READ_ONLY.issuperset(platforms):
        yield repository
        return
    with tempfile.TemporaryDirectory(prefix=".tried-", dir=repository.parent) as folder:
        copy = Path(folder) / repository.name
        shutil.copytree(repository, copy)
        yield copy


@contextlib.contextmanager
def _safe_path(repository: Path) -> Iterator[Path]:
    """`repository`, or a link to it if its path has characters that Triton does not accept (`naming.shell_problem`)."""
    if shell_problem(str(repository.absolute())) is None:
        yield repository
        return
    with tempfile.TemporaryDirectory(prefix="portalis-live-") as folder:
        link = Path(folder) / "models"
        link.symlink_to(repository.absolute())
        yield link


def _validate(http_url: str, grpc_url: str, repository: Path, name: str, progress: Progress) -> Verdict:
    try:
        ready, reasons = _load(http_url, grpc_url, name)
    except (OSError, HTTPException) as problem:
        return _failed(name, f"the server does not respond: {problem}", _SERVER)
    if reasons or not ready:
        reason = "; ".join(_shorten(each, repository) for each in reasons) or "the server reports no reason"
        return _failed(name, f"it did not load: {reason}", _LOAD)
    reports = []
    for version in ready:
        try:
            reports.append(_infer(grpc_url, repository, name, version))
        except PortalisError as problem:
            if _DECOUPLED not in problem.message:
                remediation = problem.remediation if isinstance(problem, SampleRefused) else _SERVER
                reason = _shorten(problem.message.removeprefix(f"model {name!r} at {grpc_url}: "), repository)
                return _failed(name, f"version {version} loads but returns an error: {reason}", remediation)
            reports.append(f"version {version} loads; streaming responses were not tested")
    progress(f"validated model {name} on Triton")
    return Verdict(name=name, check=LIVE, valid=True, report="; ".join(reports))


def _shorten(reason: str, repository: Path) -> str:
    """`reason` without Python's backtrace, and without the path of a directory that the package will not have."""
    return reason.split("\n\nAt:", maxsplit=1)[0].replace(f"{repository}/", "").strip()


def _load(http_url: str, grpc_url: str, name: str) -> tuple[list[str], list[str]]:
    """The versions of the model that are ready, and the reasons why others are not. Raises OSError, HTTPException."""
    from ..triton_client import load_model

    try:
        load_model(grpc_url, name, timeout_s=LOAD_TIMEOUT_S)
        errors = []
    except PortalisError as problem:
        errors = [problem.message]
    request = urllib.request.Request(f"http://{http_url}/v2/repository/index", data=b"{}", method="POST")
    with urllib.request.urlopen(request, timeout=INFERENCE_TIMEOUT_S) as response:
        states = [each for each in json.load(response) if each["name"] == name]
    ready = [each["version"] for each in states if each.get("state") == "READY"]
    # the index also lists versions that were not requested: their reason is "unloaded", or empty
    others = [each.get("reason", "") for each in states if each.get("state") != "READY"]
    return ready, [each for each in others if each not in ("", "unloaded")] or errors


def _infer(url: str, repository: Path, name: str, version: str) -> str:
    from ..triton_client import RemoteModel

    config: ModelConfig = read_config(repository / name / CONFIG_FILE)
    with RemoteModel(url, name, version=version, timeout_s=INFERENCE_TIMEOUT_S) as model:
        inputs = sample_request(config, model.inputs, repository / name)
        try:
            result = model.infer(inputs, sequence_id=sequence_id(config))
        except PortalisError as problem:
            if problem.remediation:
                raise  # the server failed, not the model
            reason, line, backtrace = problem.message.partition("\n")
            reason += f"; it was sent {describe_sample(config, model.inputs, inputs)}"
            raise SampleRefused(reason + line + backtrace, remediation=_remediation(config)) from None
    tensors = ", ".join(f"{name} {list(array.shape)}" for name, array in result.outputs.items())
    return f"version {version} loads and returns {tensors} in {result.seconds * 1000:.1f} ms"


def _remediation(config: ModelConfig) -> str:
    if config.HasField("ensemble_scheduling"):
        return _ENSEMBLE
    return _WARMUP if config.model_warmup else _GENERATED


def _failed(name: str, report: str, remediation: str) -> Verdict:
    return Verdict(name=name, check=LIVE, valid=False, report=report, remediation=remediation)
