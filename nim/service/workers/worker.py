"""A running worker process, as its supervisor sees it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

from ..peers.channel import Channel
from ..reports import ModelReport


class Worker:
    """A process with its channel, and the state that it has reported."""

    channel: Channel

    def __init__(self, number: int, process: asyncio.subprocess.Process, *, listens_at_once: bool) -> None:
        self.number, self.process, self.listens_at_once = number, process, listens_at_once
        self.models: tuple[ModelReport, ...] | None = None
        """The state of its models; None until it has reported one, which is when it can answer requests."""
        self.listening_since: float | None = None
        """Time (``time.monotonic``) since which it listens; None before."""
        self.may_load = self.quiet = False
        """Whether it may load its models; whether it can stop listening."""

    @property
    def settled(self) -> bool:
        """Whether each model is ready or has failed."""
        return self.models is not None and all(model.ready or model.failure for model in self.models)

    @property
    def served_s(self) -> float | None:
        """Seconds for which it has listened; None if it does not."""
        return None if self.listening_since is None else time.monotonic() - self.listening_since

    def update(self, state: Mapping[str, Any]) -> None:
        """Note the state that the worker has reported."""
        self.models = tuple(ModelReport(**each) for each in state["models"])
        if state["listening"] and self.listening_since is None:
            self.listening_since = time.monotonic()

    def reasons(self) -> dict[str, str]:
        """The reason why a model is not ready, by the names of those that are not."""
        return {
            model.name: f"model '{model.name}' failed: {model.failure}"
            if model.failure
            else f"model '{model.name}' is still loading in worker {self.number}"
            for model in self.models or ()
            if not model.ready
        }

    def grant_loading(self) -> None:
        """Let the worker load its models."""
        if not self.may_load:
            self.may_load = True
            self.channel.notify("load", None)

    def stop(self) -> None:
        """Start the drain of the process, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()

    def kill(self) -> None:
        """End the process immediately."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
