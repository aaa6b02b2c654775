"""Credentials for a registry, and their removal from messages."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

HIDDEN = "[hidden]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user name and a password, or an identity token, which is exchanged for access tokens. The secret is not part of
    the representation."""

    username: str = ""
    secret: str = field(repr=False)
    is_token: bool = False
    """Whether the secret is an identity token."""
    source: str
    """The source of the credentials, for messages."""


class Redactor:
    """Removes the secrets of a session from text: a registry can repeat in an error what it received."""

    def __init__(self) -> None:
        self._hidden: set[str] = set()

    def hide(self, secret: str) -> None:
        """Add `secret` and its usual encodings to the texts that are removed."""
        raw = secret.encode()
        forms = {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
        forms |= {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
        self._hidden |= {form for form in forms if form}

    def redact(self, text: str) -> str:
        """`text` with ``[hidden]`` in place of each secret."""
        for secret in sorted(self._hidden, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text
