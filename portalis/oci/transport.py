"""Sends single HTTP requests to a registry, without retries: which hosts receive what, and how much of a response is
read."""

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

_CONNECT_TIMEOUT_S = 15.0
_READ_TIMEOUT_S = 300.0  # a registry verifies a large blob before it responds
_RESPONSE_TIMEOUT_S = 120.0  # of the whole body
MAX_RESPONSE_BYTES = 4 << 20
"""Maximum size of a response. Registries reject larger manifests."""
RESPONSE_BOUNDS = Bounds(max_bytes=MAX_RESPONSE_BYTES, max_values=100_000)
_BLOCK_BYTES = 1 << 16
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_RETRIED = (408, 425, 429, 500, 502, 503, 504)


class BodyReader(Protocol):
    """A request body that is read in blocks."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, empty at the end."""


Body = bytes | Callable[[], BodyReader] | None
"""Bytes, or a function that opens the body, once for each try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryResponse:
    """An HTTP response. `url` is the URL that returned it, after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    def header(self, name: str) -> str:
        """The value of a header, "" if it is missing."""
        return self.headers.get(name, "")


class Transport:
    """HTTP connections to one registry. Close it, or use it with ``with``."""

    def __init__(self, address: Address, *, agent: str) -> None:
        self.address = address
        self._agent = agent
        self._pool = _pool(address)
        self._responded = False

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        authorization: str = "",
        body: Body = None,
        size: int = 0,
        max_bytes: int = MAX_RESPONSE_BYTES,
        redirects: bool = True,
    ) -> RegistryResponse:
        """Send a request once. `authorization` is sent to the registry's own host only; only GET and HEAD follow
        redirects.

        Raises Interrupted for errors that can be retried (broken connections, responses 408, 425, 429 and 5xx),
        Untrustworthy for responses larger than `max_bytes` and redirects that are not allowed, RegistryError if TLS
        fails.
        """
        for _ in range(_MAX_REDIRECTS + 1):
            self.check_url(url)
            response = self._send_once(method, url, headers, authorization, body, size, max_bytes)
            if response.status not in _REDIRECTS:
                return response
            target = join_url(url, response.header("Location"))
            if method not in ("GET", "HEAD") or not redirects:
                raise Untrustworthy(
                    f"{self.address.host} redirects a {method} to {_without_query(target)}",
                    remediation="If the registry has moved there, use that address.",
                )
            url = target
        raise Untrustworthy(
            f"{self.address.host} sends more than {_MAX_REDIRECTS} redirects",
            remediation=f"Contact the operator of {self.address.host}.",
        )

    def is_own(self, url: str) -> bool:
        """Whether `url` is on the registry's own host. Credentials are sent to no other host."""
        return urlsplit(url)[:2] == urlsplit(self.address.base_url)[:2]

    def check_url(self, url: str) -> None:
        """Raise Untrustworthy for a URL without TLS, unless the registry itself is contacted without TLS and the URL is
        on its host or both are on this machine."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise _invalid_url(url) from None
        if parts.scheme == "https" and parts.hostname:
            return
        own = urlsplit(self.address.base_url)
        both_local = is_loopback(parts.hostname or "") and is_loopback(own.hostname or "")
        if parts.scheme == "http" and own.scheme == "http" and (self.is_own(url) or both_local):
            return
        raise Untrustworthy(
            f"{self.address.host} refers to {_without_query(url)}, which does not use TLS",
            remediation="Nothing was sent there. Contact the operator of the registry.",
        )

    def _send_once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: str,
        body: Body,
        size: int,
        max_bytes: int,
    ) -> RegistryResponse:
        all_headers = {"User-Agent": self._agent, "Accept-Encoding": "identity", **headers}
        if authorization and self.is_own(url):
            all_headers["Authorization"] = authorization
        if body is not None:
            all_headers["Content-Length"] = str(size)
        try:
            response = self._pool.request(
                method,
                url,
                body=cast("IO[bytes]", body()) if callable(body) else body,
                headers=all_headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,  # so that a response cannot grow by decompression
                timeout=urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=_READ_TIMEOUT_S),
            )
            try:
                content = b"" if method == "HEAD" else self._read(response, max_bytes)
            finally:
                response.close()  # the unread rest must not become the start of the next response
        except SSLError as error:
            raise plain_expected(self.address) if is_not_tls(error) else self._tls_error(error) from None
        except LocationParseError:
            raise _invalid_url(url) from None
        except (HTTPError, OSError) as error:
            if not _never_connected(error) and self._needs_tls(url):
                raise tls_expected(self.address) from None
            raise Interrupted(f"{_host(url)}: {_cause(error)}", reached=not _never_connected(error)) from None
        if response.status == 400 and self._needs_tls(url):
            raise tls_expected(self.address)
        self._responded = True
        if response.status in _RETRIED:
            wait = response.headers.get("Retry-After", "")
            raise Interrupted(
                f"{_host(url)} responded with {response.status}",
                reached=True,
                wait_s=int(wait) if wait.isdecimal() else 0,
            )
        return RegistryResponse(status=response.status, headers=response.headers, body=content, url=url)

    def _read(self, response: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
        deadline, content = time.monotonic() + _RESPONSE_TIMEOUT_S, bytearray()
        while block := response.read(_BLOCK_BYTES):
            content += block
            if len(content) > max_bytes or time.monotonic() > deadline:
                raise Untrustworthy(
                    f"the response of {self.address.host} exceeds {max_bytes} bytes or {_RESPONSE_TIMEOUT_S:g} s",
                    remediation="The remainder was not read. Check that the URL is the URL of a registry.",
                )
        return bytes(content)

    def _needs_tls(self, url: str) -> bool:
        """Whether the registry was contacted over plain HTTP but uses TLS. Such servers respond with 400, or close the
        connection."""
        suspected = self.address.plain_http and self.is_own(url) and not self._responded
        return suspected and speaks_tls(self.address.base_url)

    def _tls_error(self, error: SSLError) -> RegistryError:
        return RegistryError(
            f"cannot establish a TLS connection to {self.address.host}: {error}",
            remediation="Use a certificate that is signed by an authority trusted by this machine, or set SSL_CERT_FILE"
            " to the authority's certificate.",
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def join_url(url: str, location: str) -> str:
    """The absolute URL of a Location header in a response from `url`. Raises Untrustworthy."""
    try:
        return urljoin(url, location)
    except ValueError:
        raise _invalid_url(location) from None


def _invalid_url(text: str) -> Untrustworthy:
    return Untrustworthy(
        f"the registry refers to {_without_query(text)!r}, which is not a valid URL",
        remediation="Contact the operator of the registry.",
    )


def _pool(address: Address) -> urllib3.PoolManager:
    """A pool of connections, through the proxy of the environment if there is one. urllib3 checks certificates."""
    parts = urlsplit(address.base_url)
    proxy_url = urllib.request.getproxies().get(parts.scheme)
    host = parts.hostname or ""
    if not proxy_url or is_loopback(host) or urllib.request.proxy_bypass(host):
        return urllib3.PoolManager(cert_reqs="CERT_REQUIRED")
    proxy = urlsplit(proxy_url if "://" in proxy_url else f"http://{proxy_url}")
    login = f"{proxy.username or ''}:{proxy.password or ''}" if proxy.username else None
    headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
    return urllib3.ProxyManager(
        proxy._replace(netloc=proxy.netloc.rpartition("@")[2]).geturl(),
        proxy_headers=headers,
        cert_reqs="CERT_REQUIRED",
    )


def _without_query(url: str) -> str:
    """`url` without its query, which can contain secrets, and cut to 200 characters."""
    return url.partition("?")[0][:200]


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _never_connected(error: BaseException) -> bool:
    return isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))


def _cause(error: BaseException) -> str:
    """The message of the innermost error, without the layers that the libraries add."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
