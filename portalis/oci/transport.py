"""One HTTP request to a registry, without a second try: what is sent where, and how much of an answer is read."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Protocol, cast
from urllib.parse import urljoin, urlsplit

from ..bounded import Bounds
from ..errors import MissingPart
from .address import Address, is_loopback
from .errors import Interrupted, RegistryError, Untrustworthy
from .protocol import is_not_tls, plain_expected, speaks_tls, tls_expected

try:
    import urllib3
    from urllib3.exceptions import HTTPError, LocationParseError, SSLError
except ImportError:
    raise MissingPart("urllib3 is not installed", remediation="pip install 'portalis[publish]'") from None

CONNECT_S, READ_S, WHOLE_ANSWER_S = 15.0, 300.0, 120.0  # a registry checks a large blob before it answers
ANSWER_LIMIT = 4 << 20  # bytes; registries themselves take no larger manifest
BOUNDS = Bounds(max_bytes=ANSWER_LIMIT, max_values=100_000)
_BLOCK = 1 << 16
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class Reader(Protocol):
    """A body that is sent piece by piece."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, none at the end."""


Body = bytes | Callable[[], Reader] | None
"""Bytes, or what opens them anew for each try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back. `url` is where it came from, after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    def header(self, name: str) -> str:
        """A header, "" where it is not there."""
        return self.headers.get(name, "")


class Transport:
    """Connections of one registry. Close it, or use it with ``with``."""

    def __init__(self, address: Address, *, agent: str) -> None:
        self.address = address
        self._agent = agent
        self._pool = _pool(address)
        self._answered = False

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        authorization: str = "",
        body: Body = None,
        size: int = 0,
        limit: int = ANSWER_LIMIT,
        redirects: bool = True,
    ) -> Answer:
        """Ask once. `authorization` goes to the registry's own host only, and redirects are followed for reading only.

        Raises Interrupted for what may be tried again (connections that break, answers of 408, 429 and 5xx),
        Untrustworthy for answers beyond `limit` bytes and redirects where none may be, RegistryError where TLS fails.
        """
        for _ in range(_MOST_REDIRECTS + 1):
            self.check(url)
            answer = self._once(method, url, headers, authorization, body, size, limit)
            if answer.status not in _REDIRECTS:
                return answer
            target = joined(url, answer.header("Location"))
            if method not in ("GET", "HEAD") or not redirects:
                raise Untrustworthy(
                    f"{self.address.host} redirects a {method} to {_shown(target)}",
                    remediation="If that is where the registry is now, name it.",
                )
            url = target
        raise Untrustworthy(
            f"{self.address.host} redirects without an end", remediation=f"Ask whoever runs {self.address.host}."
        )

    def is_own(self, url: str) -> bool:
        """Whether `url` is at the registry itself, the only place where credentials go."""
        return urlsplit(url)[:2] == urlsplit(self.address.base)[:2]

    def check(self, url: str) -> None:
        """Raise Untrustworthy for a URL that the registry may not send us to: one without TLS, unless the registry
        itself is spoken to without, and the URL is its own or on this machine too."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise _no_url(url) from None
        if parts.scheme == "https" and parts.hostname:
            return
        own = urlsplit(self.address.base)
        together = is_loopback(parts.hostname or "") and is_loopback(own.hostname or "")
        if parts.scheme == "http" and own.scheme == "http" and (self.is_own(url) or together):
            return
        raise Untrustworthy(
            f"{self.address.host} sends us to {_shown(url)}, where there is no TLS",
            remediation="Nothing was sent there. Ask who runs the registry.",
        )

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: str,
        body: Body,
        size: int,
        limit: int,
    ) -> Answer:
        sent = {"User-Agent": self._agent, "Accept-Encoding": "identity", **headers}
        if authorization and self.is_own(url):
            sent["Authorization"] = authorization
        if body is not None:
            sent["Content-Length"] = str(size)
        try:
            got = self._pool.request(
                method,
                url,
                body=cast("IO[bytes]", body()) if callable(body) else body,
                headers=sent,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,  # so that no answer grows by being unpacked
                timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S),
            )
            try:
                content = b"" if method == "HEAD" else self._read(got, limit)
            finally:
                got.close()  # an answer that was not read to its end must not be the next one's beginning
        except SSLError as problem:
            raise plain_expected(self.address) if is_not_tls(problem) else self._distrusted(problem) from None
        except LocationParseError:
            raise _no_url(url) from None
        except (HTTPError, OSError) as problem:
            if not _never_connected(problem) and self._needs_tls(url):
                raise tls_expected(self.address) from None
            raise Interrupted(f"{_host(url)}: {_cause(problem)}", reached=not _never_connected(problem)) from None
        if got.status == 400 and self._needs_tls(url):
            raise tls_expected(self.address)
        self._answered = True
        if got.status in _BUSY:
            wait = got.headers.get("Retry-After", "")
            raise Interrupted(
                f"{_host(url)} answers {got.status}", reached=True, wait_s=int(wait) if wait.isdecimal() else 0
            )
        return Answer(status=got.status, headers=got.headers, body=content, url=url)

    def _read(self, got: urllib3.BaseHTTPResponse, limit: int) -> bytes:
        end, found = time.monotonic() + WHOLE_ANSWER_S, bytearray()
        while block := got.read(_BLOCK):
            found += block
            if len(found) > limit or time.monotonic() > end:
                raise Untrustworthy(
                    f"{self.address.host} answers with more than {limit} bytes, or without an end",
                    remediation="The rest was not read. See that the URL is that of a registry.",
                )
        return bytes(found)

    def _needs_tls(self, url: str) -> bool:
        """Whether the registry was asked over plain HTTP and speaks TLS; servers answer 400 then, or break off."""
        asked = self.address.plain_http and self.is_own(url) and not self._answered
        return asked and speaks_tls(self.address.base)

    def _distrusted(self, problem: SSLError) -> RegistryError:
        return RegistryError(
            f"no secure connection to {self.address.host}: {problem}",
            remediation="Have its certificate signed by an authority that this machine knows, or name one's file in"
            " SSL_CERT_FILE.",
        )

    def close(self) -> None:
        """End the connections."""
        self._pool.clear()

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def joined(url: str, location: str) -> str:
    """Where a Location header of an answer from `url` points to. Raises Untrustworthy."""
    try:
        return urljoin(url, location)
    except ValueError:
        raise _no_url(location) from None


def _no_url(text: str) -> Untrustworthy:
    return Untrustworthy(
        f"the registry sends us to {_shown(text)!r}, which is no URL", remediation="Ask whoever runs the registry."
    )


def _pool(address: Address) -> urllib3.PoolManager:
    """Through the proxy that the environment names, if any. Certificates are checked, by urllib3's own defaults."""
    parts = urlsplit(address.base)
    proxy = urllib.request.getproxies().get(parts.scheme)
    host = parts.hostname or ""
    if not proxy or is_loopback(host) or urllib.request.proxy_bypass(host):
        return urllib3.PoolManager(cert_reqs="CERT_REQUIRED")
    found = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    login = f"{found.username or ''}:{found.password or ''}" if found.username else None
    headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
    return urllib3.ProxyManager(
        found._replace(netloc=found.netloc.rpartition("@")[2]).geturl(),
        proxy_headers=headers,
        cert_reqs="CERT_REQUIRED",
    )


def _shown(url: str) -> str:
    """`url` without what is behind its path, where there may be secrets."""
    return url.partition("?")[0][:200]


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _never_connected(problem: BaseException) -> bool:
    return isinstance(problem, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))


def _cause(problem: BaseException) -> str:
    """What went wrong at the bottom, without the layers of the libraries."""
    while problem.__cause__ or problem.__context__:
        problem = problem.__cause__ or problem.__context__ or problem
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return str(problem) or type(problem).__name__
