"""Requests to one registry, with authentication and retries."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .. import __version__
from ..bounded import parse_json
from .address import Address
from .authorization import Authorization
from .backoff import Backoff
from .credentials import Credentials, Redactor
from .errors import Interrupted, RegistryError
from .transport import MAX_RESPONSE_BYTES, RESPONSE_BOUNDS, Body, RegistryResponse, Transport

_MAX_ERROR_CHARS = 300  # of a registry's error message


class Session:
    """A session with a registry. Close it, or use it with ``with``."""

    def __init__(
        self, address: Address, credentials: Credentials | None = None, backoff: Backoff | None = None
    ) -> None:
        self.address = address
        self.backoff = backoff or Backoff()
        self.redactor = Redactor()
        self.transport = Transport(address, agent=f"portalis/{__version__}")
        self._authorization = Authorization(self.transport, credentials, self.redactor, self._send_with_retries)

    def url(self, repository: str, rest: str) -> str:
        """The URL of ``<repository>/<rest>``."""
        return f"{self.address.base_url}/v2/{repository}/{rest}"

    def request(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        what: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> RegistryResponse:
        """Send a request that can be repeated. `what` describes it in messages. Raises the errors of `request_once`,
        with Unreachable in place of Interrupted."""
        return self._send_with_retries(
            lambda: self.request_once(
                method,
                url,
                repository,
                headers=headers,
                body=body,
                size=0 if body is None else len(body),
                max_bytes=max_bytes,
            ),
            what,
        )

    def request_once(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        size: int = 0,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> RegistryResponse:
        """Send a request, a second time after a challenge. Raises AccessDenied for 401 and 403, Interrupted for errors
        that can be retried, and RegistryError."""
        scope = f"repository:{repository}:pull,push"

        def send() -> RegistryResponse:
            return self.transport.send(
                method,
                url,
                headers=headers or {},
                authorization=self._authorization.header(scope),
                body=body,
                size=size,
                max_bytes=max_bytes,
            )

        response = send()
        if response.status == 401 and self.transport.is_own(response.url):
            self._authorization.authenticate(response, scope)
            response = send()
        if response.status in (401, 403):
            target = f" to {self.address.reference(repository)}" if response.status == 403 else ""
            raise self._authorization.access_denied(
                f"denied access{target}{self._error_text(response)}", response.status
            )
        self.backoff.reached = True
        return response

    def unexpected_response(self, what: str, response: RegistryResponse, remediation: str = "") -> RegistryError:
        """The error for a response that cannot be handled, with the registry's own message."""
        return RegistryError(
            f"{what}: {self.address.host} responded with {response.status}{self._error_text(response)}",
            remediation=remediation or "See the registry's log, or contact its operator.",
        )

    def _error_text(self, response: RegistryResponse) -> str:
        """The first error in a response, in parentheses and without secrets; "" if it contains none."""
        try:
            error = parse_json(response.body, RESPONSE_BOUNDS)["errors"][0]
            text = ": ".join(str(error[key]) for key in ("code", "message") if error.get(key))
        except (ValueError, LookupError, TypeError, AttributeError):
            return ""
        return f" ({self.redactor.redact(text)[:_MAX_ERROR_CHARS]})" if text else ""

    def _send_with_retries(self, send: Callable[[], RegistryResponse], what: str) -> RegistryResponse:
        retries = self.backoff.retries(what)
        while True:
            try:
                return send()
            except Interrupted as error:
                retries.wait_or_raise(error)

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
