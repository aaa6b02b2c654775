"""Retries of requests: when to try again and when to stop. Delays grow, and are random so that clients do not retry in
step."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import Interrupted, Unreachable

MAX_RETRY_AFTER_S = 60.0
"""Maximum delay that a registry can request, in seconds."""


@dataclass(slots=True, kw_only=True)
class Backoff:
    """The policy for retries: at most `max_tries` tries of a request. The n-th delay, in seconds, is drawn from 0 to
    ``first_wait_s * 2**n``, and is at most `max_wait_s`."""

    max_tries: int = 12
    max_tries_unreached: int = 4
    """Maximum number of tries before any connection was established: the address may be wrong, or the registry down."""
    first_wait_s: float = 0.5
    max_wait_s: float = 20.0
    random: random.Random = field(default_factory=random.Random)
    sleep: Callable[[float], None] = field(default_factory=lambda: time.sleep)
    on_retry: Callable[[str], None] = lambda _: None
    """Receives the reason for each retry, without secrets."""
    reached: bool = False

    def retries(self, what: str) -> Retries:
        """Count the tries of one request; `what` describes it in messages."""
        return Retries(self, what)


class Retries:
    """The tries of one request."""

    def __init__(self, policy: Backoff, what: str) -> None:
        self._policy = policy
        self._what = what
        self._failures = 0

    def wait_or_raise(self, error: Interrupted, *, progressed: bool = False) -> None:
        """Wait before the next try. If the failed try `progressed` beyond all earlier tries, the count restarts. Raises
        Unreachable after the last try."""
        policy = self._policy
        policy.reached = policy.reached or error.reached
        self._failures = 1 if progressed else self._failures + 1
        if self._failures >= (
            policy.max_tries if policy.reached else min(policy.max_tries, policy.max_tries_unreached)
        ):
            tries = f"{self._failures} tries" if self._failures > 1 else "1 try"
            raise Unreachable(
                f"{self._what}: {error.reason} ({tries})",
                remediation="Make sure that the registry is running and can be reached from this machine, then publish"
                " again: publishing resumes where it stopped.",
            ) from None
        policy.on_retry(f"{self._what}: {error.reason}; retrying")
        drawn = policy.random.uniform(0, min(policy.max_wait_s, policy.first_wait_s * 2**self._failures))
        policy.sleep(max(drawn, min(error.wait_s, MAX_RETRY_AFTER_S)))
