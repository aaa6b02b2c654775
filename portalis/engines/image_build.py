"""A build on an engine: its log line by line as it comes, and an end to it when its time is over."""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .build_context import pack
from .image import BuildTimedOut, EngineFailed
from .log_text import lines, sentence
from .sdk import ANSWER_TIMEOUT_S, TROUBLE, cause

# what pip writes when it reaches no index, or finds no package there
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
    """Build the context in `folder` as `reference`. Returns the log; EngineFailed and BuildTimedOut have it too."""
    log: list[str] = []
    late = threading.Event()
    try:
        with tempfile.TemporaryFile() as archive:
            pack(folder, archive)
            archive.seek(0)
            with _deadline(client, timeout_s, late):
                steps = client.build(
                    fileobj=archive,
                    custom_context=True,
                    tag=reference,
                    buildargs=dict(arguments),
                    network_mode=network,
                    rm=True,
                    forcerm=True,
                    decode=True,
                    timeout=timeout_s + ANSWER_TIMEOUT_S,
                )
                failure = _follow(steps, log, on_line)
    except TROUBLE as problem:
        failure = cause(problem)
    if late.is_set():
        raise BuildTimedOut(
            f"building {reference} took longer than {timeout_s:g} s and was given up",
            remediation="Raise container_config.build_timeout, or see in the log what takes so long.",
            log=log,
        )
    if failure:
        raise EngineFailed(f"building {reference} failed: {failure}", remediation=_remedy(log, network), log=log)
    return log


def _remedy(log: Sequence[str], network: str | None) -> str:
    """What to do about a build that failed, by what its log ends with."""
    end = "\n".join(log[-20:])
    if _PIP.search(end) is None:
        return "See the end of the build's log above."
    if network == "none":
        return "Put the wheels that pip names into the folder of container_config.wheelhouse."
    return "See what pip says above: it needs a package index, or a folder of wheels as container_config.wheelhouse."


@contextlib.contextmanager
def _deadline(client: Any, timeout_s: float, late: threading.Event) -> Iterator[None]:
    """Sets `late` and ends every answer that is being read when the time is over; the engine stops a build that
    nobody reads."""
    answers: list[Any] = []

    def end() -> None:
        late.set()
        for answer in answers:
            with contextlib.suppress(ValueError, RuntimeError, OSError):
                answer.raw.shutdown()

    def keep(answer: Any, *_: Any, **__: Any) -> None:
        answers.append(answer)

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    client.hooks["response"].append(keep)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        client.hooks["response"].remove(keep)
        if late.is_set():
            for answer in answers:
                answer.close()


def _follow(steps: Iterator[Mapping[str, Any]], log: list[str], on_line: Callable[[str], None]) -> str:
    """Read a build's log to its end. Returns the engine's own word on its failure, "" for none."""
    failure = ""
    for step in steps:
        failure = sentence(str(step.get("error", failure)))
        text = str(step.get("stream") or step.get("error") or "")
        for line in lines(text):
            log.append(line)
            on_line(line)
    return failure
