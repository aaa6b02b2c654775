"""How a registry fails, told so that a user can act on it."""

from __future__ import annotations

from ..errors import PortalisError


class RegistryError(PortalisError):
    """A registry did not do what it was asked."""


class Unreachable(RegistryError):
    """A registry does not answer, or only with errors of its own, however often it is asked."""


class AccessDenied(RegistryError):
    """A registry refuses the credentials (401), or what is asked with them (403). Asking again would not help."""


class Untrustworthy(RegistryError):
    """A registry's answer contradicts what was sent, or is of a kind that no registry may give."""


class Interrupted(Exception):
    """A request that came to nothing and may be made again: `Backoff` does, or makes an Unreachable of it. `reached`
    says whether somebody took the connection."""

    def __init__(self, why: str, *, reached: bool, wait_s: float = 0) -> None:
        super().__init__(why)
        self.why = why
        self.reached = reached
        self.wait_s = wait_s
        """For how long the registry wants to be left alone (Retry-After)."""
