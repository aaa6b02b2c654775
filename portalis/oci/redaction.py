"""Keeps secrets out of what is told: a registry may send back in an error what it was sent."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

HIDDEN = "[hidden]"


class Redactor:
    """Knows the secrets of a session, in every form in which they travel."""

    def __init__(self) -> None:
        self._hidden: set[str] = set()

    def hide(self, secret: str) -> None:
        """`secret` and its usual encodings are never told from now on."""
        raw = secret.encode()
        forms = {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
        forms |= {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
        self._hidden |= {form for form in forms if form}

    def clean(self, text: str) -> str:
        """`text` without them."""
        for secret in sorted(self._hidden, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text
