"""Requests to one registry: made again where that helps, with credentials where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .. import __version__
from ..bounded import parse_json
from .address import Address
from .authorization import Authorization
from .backoff import Backoff
from .credentials import Credentials
from .errors import Interrupted, RegistryError
from .redaction import Redactor
from .transport import ANSWER_LIMIT, BOUNDS, Answer, Body, Transport

_TOLD = 300  # characters of a registry's own words


class Session:
    """A conversation with a registry. Close it, or use it with ``with``."""

    def __init__(
        self, address: Address, credentials: Credentials | None = None, backoff: Backoff | None = None
    ) -> None:
        self.address = address
        self.backoff = backoff or Backoff()
        self.redactor = Redactor()
        self.transport = Transport(address, agent=f"portalis/{__version__}")
        self._authorization = Authorization(self.transport, credentials, self.redactor, self._repeated)

    def url(self, repository: str, rest: str) -> str:
        """The URL of ``<repository>/<rest>``."""
        return f"{self.address.base}/v2/{repository}/{rest}"

    def ask(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        what: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = ANSWER_LIMIT,
    ) -> Answer:
        """Make a request that may be made more than once. Raises what `once` raises, with Unreachable for
        Interrupted."""
        return self._repeated(
            lambda: self.once(
                method,
                url,
                repository,
                headers=headers,
                body=body,
                size=0 if body is None else len(body),
                limit=limit,
            ),
            what,
        )

    def once(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        size: int = 0,
        limit: int = ANSWER_LIMIT,
    ) -> Answer:
        """Make a request; a challenge is answered, once. Raises AccessDenied for 401 and 403, Interrupted for what may
        be tried again, and RegistryError."""
        scope = f"repository:{repository}:pull,push"

        def send() -> Answer:
            return self.transport.send(
                method,
                url,
                headers=headers or {},
                authorization=self._authorization.header(scope),
                body=body,
                size=size,
                limit=limit,
            )

        answer = send()
        if answer.status == 401 and self.transport.is_own(answer.url):
            self._authorization.answer(answer, scope)
            answer = send()
        if answer.status in (401, 403):
            place = f" {self.address.reference(repository)}" if answer.status == 403 else ""
            raise self._authorization.denied(
                f"refuses access{place and ' to'}{place}{self._told(answer)}", answer.status
            )
        self.backoff.reached = True
        return answer

    def refused(self, what: str, answer: Answer, remediation: str = "") -> RegistryError:
        """The error for an answer that nothing can be done with, with the registry's own words."""
        return RegistryError(
            f"{what}: {self.address.host} answers {answer.status}{self._told(answer)}",
            remediation=remediation or "See the registry's log, or ask who runs it.",
        )

    def _told(self, answer: Answer) -> str:
        """What the registry says of an error, without secrets that it may have sent back."""
        try:
            told = parse_json(answer.body, BOUNDS)["errors"][0]
            text = ": ".join(str(told[key]) for key in ("code", "message") if told.get(key))
        except (ValueError, LookupError, TypeError, AttributeError):
            return ""
        return f" ({self.redactor.clean(text)[:_TOLD]})" if text else ""

    def _repeated(self, send: Callable[[], Answer], what: str) -> Answer:
        attempt = self.backoff.attempt(what)
        while True:
            try:
                return send()
            except Interrupted as problem:
                attempt.failed(problem)

    def close(self) -> None:
        """End the connections."""
        self.transport.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
