"""When to ask again, and when to give up: waits grow, and are drawn at random so that clients do not march in step."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import Interrupted, Unreachable

MOST_WAIT_S = 60.0  # however long a registry wants to be left alone


@dataclass(slots=True, kw_only=True)
class Backoff:
    """How often a request is made at most, and how long to wait between (seconds): the n-th wait is drawn from 0 to
    ``first_s * 2**n``, at most `most_s`."""

    tries: int = 12
    tries_unreached: int = 4
    """… where nobody has taken a connection so far: then the address is wrong, or the registry is down."""
    first_s: float = 0.5
    most_s: float = 20.0
    random: random.Random = field(default_factory=random.Random)
    sleep: Callable[[float], None] = field(default_factory=lambda: time.sleep)
    on_retry: Callable[[str], None] = lambda _: None
    """Is told why something is tried again, without secrets."""
    reached: bool = False

    def attempt(self, what: str) -> Attempt:
        """The tries of one request; `what` is it, for the error."""
        return Attempt(self, what)


class Attempt:
    """Counts the tries of one request."""

    def __init__(self, policy: Backoff, what: str) -> None:
        self._policy = policy
        self._what = what
        self._failures = 0

    def failed(self, problem: Interrupted, *, advanced: bool = False) -> None:
        """Wait for the next try. `advanced` says that this one came further than all before, which begins the count
        anew. Raises Unreachable when there were enough."""
        policy = self._policy
        policy.reached = policy.reached or problem.reached
        self._failures = 1 if advanced else self._failures + 1
        if self._failures >= (policy.tries if policy.reached else min(policy.tries, policy.tries_unreached)):
            tries = f"{self._failures} tries" if self._failures > 1 else "1 try"
            raise Unreachable(
                f"{self._what}: {problem.why} ({tries})",
                remediation="See that the registry runs and can be reached from here, then publish again: it goes on"
                " where it stopped.",
            ) from None
        policy.on_retry(f"{self._what}: {problem.why}; trying again")
        drawn = policy.random.uniform(0, min(policy.most_s, policy.first_s * 2**self._failures))
        policy.sleep(max(drawn, min(problem.wait_s, MOST_WAIT_S)))
