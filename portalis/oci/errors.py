"""Errors of registries, and the exception that requests a retry."""

from __future__ import annotations

from ..errors import PortalisError


class RegistryError(PortalisError):
    """A registry responded with an error, or cannot be used."""


class Unreachable(RegistryError):
    """A registry could not be reached, or failed with server errors, on every try."""


class AccessDenied(RegistryError):
    """A registry rejected the credentials (401) or the request (403). A retry would not help."""


class Untrustworthy(RegistryError):
    """A response contradicts what was sent, or violates the protocol."""


class Interrupted(Exception):
    """A request failed in a way that can be retried: see `Backoff`, which raises Unreachable after the last try."""

    def __init__(self, reason: str, *, reached: bool, wait_s: float = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reached = reached
        """Whether a connection was established."""
        self.wait_s = wait_s
        """The delay that the registry requests (Retry-After), in seconds."""
