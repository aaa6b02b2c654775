"""Loads a model repository on a real Triton server and has every model answer one inference."""

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
from ..naming import shell_trouble
from .pbtxt import CONFIG_FILE, ModelConfig, read_config
from .samples import describe_sample, sample_request, sequence_id

LIVE = "live"
LOAD_TIMEOUT_S = 300.0
INFERENCE_TIMEOUT_S = 60.0
# what Triton says to a single request for a model that answers any number of times, an ensemble of such a one included
STREAMS = "decoupled transaction policy"
# these only read: the runtime that they share lies in the server's folder of backends
_READ_ONLY = frozenset({"wasm", "ensemble"})
Say = Callable[[str], None]

# what to do, by what failed
_SERVER = "Look at the server's log with `portalis serve`, or package without --validate live."
_LOAD = "Change what the reason names, triton_config in the spec or the module, and package again."
_MADE_UP = (
    "The sample is made up. If the module is right to refuse it, give a real one as triton_config.warmup in the spec:"
    " Triton and this check then send that. Else fix the module."
)
_WARM = "Fix the module, or give another sample as triton_config.warmup in the spec."
_ENSEMBLE = (
    "The sample is made up, and an ensemble has no warm-up that could give a real one. If a step is right to refuse it,"
    " package with --validate static, and try the ensemble with `portalis serve` and `portalis infer`."
)


class Verdict(ValidationResult):
    """A `ValidationResult` and what to do about it: that depends on what the model was sent and on what failed.

    The remedy goes into the error that is made of it, so the list of results does not repeat it."""

    remediation: str = Field(default="", exclude=True)


class SampleRefused(PortalisError):
    """A model did not answer the sample that it was sent."""


def validate_on_triton(
    repository: Path, models: Sequence[str], say: Say, *, backends: Path | None = None
) -> list[Verdict]:
    """One result for each of `models`. Where no server can be had, all are invalid with that reason: nobody asked
    for a check that does not check. `backends` is the server's folder of backends; portalis's own by default."""
    from ..tritonserver import TritonServer

    try:
        # One by one: Triton 2.51 crashes now and then when several models fail to load at once.
        with (
            _without_blanks(repository) as place,
            TritonServer(place, backend_directory=backends, model_control="explicit") as server,
        ):
            return [_try(server.http_url, server.grpc_url, place, name, say) for name in models]
    except (MissingPart, TritonFailed, UsageError) as problem:
        remedy = problem.remediation or _SERVER
        why = f"no server could be asked: {problem}"
        return [
            Verdict(name=name, check=LIVE, valid=False, tried=False, report=why, remediation=remedy) for name in models
        ]


@contextlib.contextmanager
def validation_copy(repository: Path, platforms: Collection[str]) -> Iterator[Path]:
    """The folder that a server is to see: `repository` itself where none of its `platforms` writes, else a copy beside
    it, which is removed afterwards (by the next run where this one is killed: it lies in the staging folder)."""
    if _READ_ONLY.issuperset(platforms):
        yield repository
        return
    with tempfile.TemporaryDirectory(prefix=".tried-", dir=repository.parent) as folder:
        copy = Path(folder) / repository.name
        shutil.copytree(repository, copy)
        yield copy


@contextlib.contextmanager
def _without_blanks(repository: Path) -> Iterator[Path]:
    """`repository`, or a link to it where its path has what Triton cannot take (see `naming.shell_trouble`)."""
    if shell_trouble(str(repository.absolute())) is None:
        yield repository
        return
    with tempfile.TemporaryDirectory(prefix="portalis-live-") as folder:
        link = Path(folder) / "models"
        link.symlink_to(repository.absolute())
        yield link


def _try(http_url: str, grpc_url: str, repository: Path, name: str, say: Say) -> Verdict:
    try:
        ready, reasons = _load(http_url, grpc_url, name)
    except (OSError, HTTPException) as problem:
        return _failed(name, f"the server does not answer: {problem}", _SERVER)
    if reasons or not ready:
        why = "; ".join(_plain(reason, repository) for reason in reasons) or "the server does not say why"
        return _failed(name, f"it did not load: {why}", _LOAD)
    told = []
    for version in ready:
        try:
            told.append(_infer(grpc_url, repository, name, version))
        except PortalisError as problem:
            if STREAMS not in problem.message:
                remedy = problem.remediation if isinstance(problem, SampleRefused) else _SERVER
                why = _plain(problem.message.removeprefix(f"model {name!r} at {grpc_url}: "), repository)
                return _failed(name, f"version {version} loads, and does not answer: {why}", remedy)
            told.append(f"version {version} loads; it answers in streams, which was not tried")
    say(f"model {name} is tried")
    return Verdict(name=name, check=LIVE, valid=True, report="; ".join(told))


def _plain(reason: str, repository: Path) -> str:
    """Without Python's backtrace, and without a folder that will have moved when somebody reads it."""
    return reason.split("\n\nAt:", maxsplit=1)[0].replace(f"{repository}/", "").strip()


def _load(http_url: str, grpc_url: str, name: str) -> tuple[list[str], list[str]]:
    """The versions of the model that are ready, and why others are not. Raises OSError and HTTPException."""
    from ..triton_client import load_model

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
    from ..triton_client import RemoteModel

    config: ModelConfig = read_config(repository / name / CONFIG_FILE)
    with RemoteModel(url, name, version=version, timeout_s=INFERENCE_TIMEOUT_S) as model:
        inputs = sample_request(config, model.inputs, repository / name)
        try:
            answer = model.infer(inputs, sequence_id=sequence_id(config))
        except PortalisError as problem:
            if problem.remediation:
                raise  # no server: nothing was refused
            why, line, backtrace = problem.message.partition("\n")
            why += f"; it was sent {describe_sample(config, model.inputs, inputs)}"
            raise SampleRefused(why + line + backtrace, remediation=_remedy(config)) from None
    tensors = ", ".join(f"{name} {list(array.shape)}" for name, array in answer.outputs.items())
    return f"version {version} loads and answers {tensors} in {answer.seconds * 1000:.1f} ms"


def _remedy(config: ModelConfig) -> str:
    if config.HasField("ensemble_scheduling"):
        return _ENSEMBLE
    return _WARM if config.model_warmup else _MADE_UP


def _failed(name: str, report: str, remedy: str) -> Verdict:
    return Verdict(name=name, check=LIVE, valid=False, report=report, remediation=remedy)
