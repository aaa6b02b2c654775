"""What a registry wants to see before it does anything: its challenge, and the token that answers it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ..bounded import parse_json
from .credentials import Credentials
from .errors import AccessDenied, Untrustworthy
from .redaction import Redactor
from .transport import BOUNDS, Answer, Transport

_LIMIT = 1 << 16  # bytes of a token server's answer
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_CLIENT = "portalis"

Ask = Callable[[Callable[[], Answer], str], Answer]
"""Makes a request as often as the policy has it; takes what makes it once, and what it is for."""


class Authorization:
    """Answers challenges, and remembers what they were answered with, for each repository."""

    def __init__(self, transport: Transport, credentials: Credentials | None, redactor: Redactor, ask: Ask) -> None:
        self._transport = transport
        self._credentials = credentials
        self._redactor = redactor
        self._ask = ask
        self._headers: dict[str, str] = {}
        if credentials is not None:
            redactor.hide(credentials.secret)
            redactor.hide(f"{credentials.username}:{credentials.secret}")

    def header(self, scope: str) -> str:
        """What a request for `scope` is sent with, "" before there was a challenge."""
        return self._headers.get(scope, "")

    def answer(self, refusal: Answer, scope: str) -> None:
        """Have an answer to the challenge of `refusal` for the next request for `scope`. Raises AccessDenied where we
        have none."""
        kind, values = _challenge(refusal.header("WWW-Authenticate"))
        if kind == "bearer" and "realm" in values:
            token = self._token(values, scope)
            self._redactor.hide(token)
            self._headers[scope] = f"Bearer {token}"
            return
        if kind != "basic":
            raise self.denied("refuses, and does not say what it wants to see", refusal.status)
        if self._credentials is None or self._credentials.is_token:
            raise self.denied("wants a name and a password", refusal.status)
        self._headers[scope] = self._basic(self._credentials)

    def denied(self, why: str, status: int) -> AccessDenied:
        """The error of a refusal, with who we said we are."""
        known = self._credentials
        who = "without credentials" if known is None else f"with the credentials of {known.source}"
        host = self._transport.address.host
        return AccessDenied(
            f"{host} {why} ({status}), {who}",
            remediation=f"Log in with `docker login {host}` or `podman login {host}`, or set"
            " PORTALIS_REGISTRY_USERNAME and PORTALIS_REGISTRY_PASSWORD, or hand the password over with"
            " --username NAME --password-stdin. The account"
            " has to be allowed to push there.",
        )

    def _token(self, values: Mapping[str, str], scope: str) -> str:
        known, realm = self._credentials, values["realm"]
        self._transport.check(realm)
        wanted = {"service": values.get("service", ""), "scope": values.get("scope") or scope}
        wanted = {key: value for key, value in wanted.items() if value}
        headers = {"Accept": "application/json"}
        if known is not None and known.is_token:
            form = {"grant_type": "refresh_token", "refresh_token": known.secret, "client_id": _CLIENT, **wanted}
            body = urlencode(form).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            answer = self._ask(
                lambda: self._transport.send("POST", realm, headers=headers, body=body, size=len(body), limit=_LIMIT),
                "asking for a token",
            )
        else:
            if known is not None:
                headers["Authorization"] = self._basic(known)  # the realm is the registry's own choice of a host
                wanted["account"] = known.username
            parts = urlsplit(realm)
            query = urlencode([*parse_qsl(parts.query), *wanted.items()])
            url = urlunsplit(parts._replace(query=query))
            answer = self._ask(lambda: self._no_redirects(url, headers), "asking for a token")
        return self._read(answer)

    def _no_redirects(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Credentials are sent to the realm, and to nobody that the realm names."""
        return self._transport.send("GET", url, headers=headers, limit=_LIMIT, redirects=False)

    def _read(self, answer: Answer) -> str:
        if answer.status in (400, 401, 403):
            raise self.denied("gives no token", answer.status)
        try:
            told = parse_json(answer.body, BOUNDS)
            token = told.get("token") or told.get("access_token")
        except (ValueError, AttributeError):
            token = None
        # a token goes into a header: nothing that would end it may be in it
        if answer.status != 200 or not isinstance(token, str) or re.fullmatch(r"[\x21-\x7e]+", token) is None:
            raise Untrustworthy(
                f"the token server of {self._transport.address.host} answers without a token ({answer.status})",
                remediation="See that the registry's URL is right.",
            )
        return token

    @staticmethod
    def _basic(known: Credentials) -> str:
        return "Basic " + base64.b64encode(f"{known.username}:{known.secret}".encode()).decode()


def _challenge(text: str) -> tuple[str, dict[str, str]]:
    """Scheme (in lower case) and parameters of a WWW-Authenticate header."""
    kind, _, rest = text.strip().partition(" ")
    return kind.lower(), {
        match[1].lower(): re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
        for match in _PARAMETER.finditer(rest[:4096])
    }
