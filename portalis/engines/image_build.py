"""Builds an image on an engine: forwards the log line by line, and aborts the build at its time limit."""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .build_context import write_context_tar
from .errors import BuildTimedOut, EngineFailed
from .log_text import log_lines, log_sentence
from .sdk import ENGINE_ERRORS, RESPONSE_TIMEOUT_S, engine_cause

# pip's messages if it cannot reach an index, or finds no matching package there
_PIP = re.compile(r"No matching distribution|Could not find a version|connection broken by|Max retries exceeded")


def run_build(
    client: Any,
    folder: Path,
    reference: str,
    *,
    arguments: Mapping[str, str],
    timeout_s: float,
    network: str | None,
    on_line: Callable[[str], None],
) -> list[str]:
    """Build the context in `folder` as `reference`. Returns the log. Raises EngineFailed or BuildTimedOut, which
    contain the log too."""
    log: list[str] = []
    timed_out = threading.Event()
    try:
        with tempfile.TemporaryFile() as archive:
            write_context_tar(folder, archive)
            archive.seek(0)
            with _deadline(client, timeout_s, timed_out):
                steps = client.build(
                    fileobj=archive,
                    custom_context=True,
                    tag=reference,
                    buildargs=dict(arguments),
                    network_mode=network,
                    rm=True,
                    forcerm=True,
                    decode=True,
                    timeout=timeout_s + RESPONSE_TIMEOUT_S,
                )
                failure = _follow(steps, log, on_line)
    except ENGINE_ERRORS as error:
        failure = engine_cause(error)
    if timed_out.is_set():
        raise BuildTimedOut(
            f"building {reference} took longer than {timeout_s:g} s and was aborted",
            remediation="Increase container_config.build_timeout, or find the slow step in the log.",
            log=log,
        )
    if failure:
        raise EngineFailed(f"building {reference} failed: {failure}", remediation=_remediation(log, network), log=log)
    return log


def _remediation(log: Sequence[str], network: str | None) -> str:
    """The remediation of a failed build, according to the last lines of its log."""
    end = "\n".join(log[-20:])
    if _PIP.search(end) is None:
        return "See the end of the build's log above."
    if network == "none":
        return "Put the wheels that pip names into the directory of container_config.wheelhouse."
    return (
        "See pip's messages above: it needs a package index, or a directory of wheels in container_config.wheelhouse."
    )


@contextlib.contextmanager
def _deadline(client: Any, timeout_s: float, timed_out: threading.Event) -> Iterator[None]:
    """Set `timed_out` and shut down every response that is being read once the time is over. The engine stops a build
    when its client disconnects."""
    responses: list[Any] = []

    def disconnect() -> None:
        timed_out.set()
        for response in responses:
            with contextlib.suppress(ValueError, RuntimeError, OSError):
                response.raw.shutdown()

    def add(response: Any, *_: Any, **__: Any) -> None:
        responses.append(response)

    timer = threading.Timer(timeout_s, disconnect)
    timer.daemon = True
    client.hooks["response"].append(add)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        client.hooks["response"].remove(add)
        if timed_out.is_set():
            for response in responses:
                response.close()


def _follow(steps: Iterator[Mapping[str, Any]], log: list[str], on_line: Callable[[str], None]) -> str:
    """Read a build's messages to their end. Returns the engine's error message, "" if the build succeeded."""
    failure = ""
    for step in steps:
        failure = log_sentence(str(step.get("error", failure)))
        text = str(step.get("stream") or step.get("error") or "")
        for line in log_lines(text):
            log.append(line)
            on_line(line)
    return failure
