"""Authentication at a registry: responds to its challenge with a password, or with a token from its token server."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ..bounded import parse_json
from .credentials import Credentials, Redactor
from .errors import AccessDenied, Untrustworthy
from .transport import RESPONSE_BOUNDS, RegistryResponse, Transport

_MAX_TOKEN_RESPONSE_BYTES = 1 << 16
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_CLIENT = "portalis"

SendWithRetries = Callable[[Callable[[], RegistryResponse], str], RegistryResponse]
"""Calls a function that sends a request, again after an Interrupted; the text describes the request in messages."""


class Authorization:
    """Responds to challenges, and caches the resulting Authorization header for each scope."""

    def __init__(
        self,
        transport: Transport,
        credentials: Credentials | None,
        redactor: Redactor,
        send_with_retries: SendWithRetries,
    ) -> None:
        self._transport = transport
        self._credentials = credentials
        self._redactor = redactor
        self._send_with_retries = send_with_retries
        self._headers: dict[str, str] = {}
        if credentials is not None:
            redactor.hide(credentials.secret)
            redactor.hide(f"{credentials.username}:{credentials.secret}")

    def header(self, scope: str) -> str:
        """The Authorization header of requests for `scope`, "" before the first challenge."""
        return self._headers.get(scope, "")

    def authenticate(self, challenge: RegistryResponse, scope: str) -> None:
        """Set the header for `scope` as the response `challenge` (401) requires. Raises AccessDenied if the credentials
        do not suffice."""
        kind, parameters = _parse_challenge(challenge.header("WWW-Authenticate"))
        if kind == "bearer" and "realm" in parameters:
            token = self._request_token(parameters, scope)
            self._redactor.hide(token)
            self._headers[scope] = f"Bearer {token}"
            return
        if kind != "basic":
            raise self.access_denied(
                "denied access, without a challenge for Basic or Bearer authentication", challenge.status
            )
        if self._credentials is None or self._credentials.is_token:
            raise self.access_denied("requires a user name and a password", challenge.status)
        self._headers[scope] = self._basic(self._credentials)

    def access_denied(self, reason: str, status: int) -> AccessDenied:
        """The error for a response 401 or 403; it names the source of the credentials."""
        credentials = self._credentials
        used = "without credentials" if credentials is None else f"with the credentials of {credentials.source}"
        host = self._transport.address.host
        return AccessDenied(
            f"{host} {reason} ({status}), {used}",
            remediation=f"Log in with `docker login {host}` or `podman login {host}`, or set"
            " PORTALIS_REGISTRY_USERNAME and PORTALIS_REGISTRY_PASSWORD, or pass the password with"
            " --username NAME --password-stdin. The account needs permission to push.",
        )

    def _request_token(self, parameters: Mapping[str, str], scope: str) -> str:
        credentials, realm = self._credentials, parameters["realm"]
        self._transport.check_url(realm)
        query = {"service": parameters.get("service", ""), "scope": parameters.get("scope") or scope}
        query = {key: value for key, value in query.items() if value}
        headers = {"Accept": "application/json"}
        if credentials is not None and credentials.is_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": credentials.secret,
                "client_id": _CLIENT,
                **query,
            }
            body = urlencode(form).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"

            def send() -> RegistryResponse:
                return self._transport.send(
                    "POST", realm, headers=headers, body=body, size=len(body), max_bytes=_MAX_TOKEN_RESPONSE_BYTES
                )
        else:
            if credentials is not None:
                # the registry chooses the realm, which may be on another host
                headers["Authorization"] = self._basic(credentials)
                query["account"] = credentials.username
            parts = urlsplit(realm)
            url = urlunsplit(parts._replace(query=urlencode([*parse_qsl(parts.query), *query.items()])))

            def send() -> RegistryResponse:
                # credentials are sent to the realm only, not to a host that it redirects to
                return self._transport.send(
                    "GET", url, headers=headers, max_bytes=_MAX_TOKEN_RESPONSE_BYTES, redirects=False
                )

        return self._parse_token(self._send_with_retries(send, "requesting a token"))

    def _parse_token(self, response: RegistryResponse) -> str:
        if response.status in (400, 401, 403):
            raise self.access_denied("issued no token", response.status)
        try:
            document = parse_json(response.body, RESPONSE_BOUNDS)
            token = document.get("token") or document.get("access_token")
        except (ValueError, AttributeError):
            token = None
        # the token becomes part of a header, so it must not contain a line break
        if response.status != 200 or not isinstance(token, str) or re.fullmatch(r"[\x21-\x7e]+", token) is None:
            raise Untrustworthy(
                f"the token server of {self._transport.address.host} returned no token ({response.status})",
                remediation="Check the registry URL.",
            )
        return token

    @staticmethod
    def _basic(credentials: Credentials) -> str:
        return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.secret}".encode()).decode()


def _parse_challenge(text: str) -> tuple[str, dict[str, str]]:
    """Scheme (in lower case) and parameters of a WWW-Authenticate header."""
    kind, _, rest = text.strip().partition(" ")
    return kind.lower(), {
        match[1].lower(): re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
        for match in _PARAMETER.finditer(rest[:4096])
    }
