"""Registries with contradictory, endless or redirected responses, and registries that try to obtain the password."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable

import pytest

from portalis.oci.credentials import Credentials
from portalis.oci.errors import AccessDenied, RegistryError, Untrustworthy
from tests.portalis.oci.conftest import artifact, registry, valid_credentials
from tests.portalis.oci.hostile import Request, Response, Server, serving
from tests.registry_server import PASSWORD, USERNAME

OTHER = "sha256:" + "0" * 64
BASIC = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()


def push(server: Server, credentials: Credentials | None = None) -> None:
    with registry(server.host, credentials) as client:
        client.push("team/thing", "1.0", artifact(b"content"))


def empty_registry(request: Request) -> Response:
    """The responses of a registry that is empty and accepts everything."""
    if request.method == "HEAD" or (request.method == "GET" and "/manifests/" in request.path):
        return Response(404)
    if request.method == "POST":
        return Response(202, {"Location": "/v2/team/thing/blobs/uploads/1"})
    return Response(201)


def registry_except(respond: Callable[[Request], Response | None]) -> Callable[[Request], Response]:
    return lambda request: respond(request) or empty_registry(request)


CONTRADICTIONS = {
    "has another blob under the digest": lambda request: (
        Response(200, {"Docker-Content-Digest": OTHER}) if request.method == "HEAD" else None
    ),
    "has a blob of another size": lambda request: (
        Response(200, {"Content-Length": "3"}) if request.method == "HEAD" else None
    ),
    "has stored another blob": lambda request: (
        Response(201, {"Docker-Content-Digest": OTHER}) if "digest=" in request.path else None
    ),
    "has stored another manifest": lambda request: (
        Response(201, {"Docker-Content-Digest": OTHER})
        if request.method == "PUT" and "/manifests/" in request.path
        else None
    ),
    "has stored no manifest": lambda _: None,
    "returns content that does not match its digest": lambda request: (
        Response(200, {"Docker-Content-Digest": OTHER}, b"{}") if request.method == "GET" else None
    ),
}


@pytest.mark.parametrize("contradiction", CONTRADICTIONS)
def test_a_contradictory_response_is_an_error(contradiction: str) -> None:
    with serving(registry_except(CONTRADICTIONS[contradiction])) as server, pytest.raises(Untrustworthy) as caught:
        push(server)
    assert server.host in caught.value.message


@pytest.mark.parametrize("headers", [{}, {"Content-Length": str(1 << 40)}])
def test_an_endless_response_is_aborted(headers: dict[str, str]) -> None:
    endless = registry_except(lambda request: Response(200, headers, endless=True) if request.method == "GET" else None)
    with serving(endless) as server, pytest.raises(Untrustworthy, match="exceeds"):
        push(server)


def test_a_compressed_response_is_not_decompressed() -> None:
    import gzip

    bomb = gzip.compress(b" " * (64 << 20))
    packed = registry_except(
        lambda request: Response(200, {"Content-Encoding": "gzip"}, bomb) if request.method == "GET" else None
    )
    with serving(packed) as server, pytest.raises(Untrustworthy):
        push(server)  # the compressed bytes are not a manifest


def basic_challenge(request: Request) -> Response | None:
    if "Authorization" not in request.headers:
        return Response(401, {"WWW-Authenticate": 'Basic realm="test"'})
    return None


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_credentials_do_not_follow_a_redirect(method: str) -> None:
    with serving(lambda _: Response(404)) as other_server:

        def away(request: Request) -> Response | None:
            if request.method == method:
                return basic_challenge(request) or Response(307, {"Location": f"http://{other_server.host}/away"})
            return basic_challenge(request)

        with serving(registry_except(away)) as server, pytest.raises(RegistryError):
            push(server, valid_credentials())
    assert any("Authorization" in request.headers for request in server.requests)
    assert other_server.requests
    assert all("Authorization" not in request.headers for request in other_server.requests)


def test_a_challenge_of_another_host_is_not_answered() -> None:
    with serving(lambda _: Response(401, {"WWW-Authenticate": 'Basic realm="give"'})) as other_server:
        away = registry_except(lambda request: Response(307, {"Location": f"http://{other_server.host}/away"}))
        with serving(away) as server, pytest.raises(AccessDenied):
            push(server, valid_credentials())
    assert len(other_server.requests) == 1 and "Authorization" not in other_server.requests[0].headers


def test_an_upload_to_another_host_has_no_credentials() -> None:
    with serving(lambda _: Response(201)) as other_server:
        location = {"Location": f"http://{other_server.host}/upload"}
        away = registry_except(
            lambda request: basic_challenge(request) or (Response(202, location) if request.method == "POST" else None)
        )
        with serving(away) as server, pytest.raises(Untrustworthy):
            push(server, valid_credentials())
    assert [request.method for request in other_server.requests] == ["PUT", "PUT"]
    assert all("Authorization" not in request.headers for request in other_server.requests)


@pytest.mark.parametrize("location", ["http://192.0.2.1/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://[", ""])
@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_nothing_is_sent_to_a_url_without_tls(location: str, method: str) -> None:
    status = 307 if method == "HEAD" else 202
    away = registry_except(
        lambda request: Response(status, {"Location": location}) if request.method == method else None
    )
    with serving(away) as server, pytest.raises(RegistryError):
        push(server, valid_credentials())


def test_a_redirected_upload_is_rejected() -> None:
    away = registry_except(
        lambda request: Response(307, {"Location": request.path}) if request.method == "POST" else None
    )
    with serving(away) as server, pytest.raises(Untrustworthy, match="redirects a POST"):
        push(server)


def test_endless_redirects_are_rejected() -> None:
    with (
        serving(lambda request: Response(302, {"Location": request.path})) as server,
        pytest.raises(Untrustworthy, match="sends more than 5 redirects"),
    ):
        push(server)
    assert len(server.requests) == 6


def test_a_secret_in_a_response_is_hidden_in_the_error() -> None:
    def echo(request: Request) -> Response:
        sent = request.headers.get("Authorization", "")
        decoded = base64.b64decode(sent.removeprefix("Basic ")).decode() if sent else ""
        body = {"errors": [{"code": "DENIED", "message": f"you sent {sent} which is {decoded}, {PASSWORD}"}]}
        return basic_challenge(request) or Response(403, {}, json.dumps(body).encode())

    # the response to HEAD has no body
    with (
        serving(registry_except(lambda request: None if request.method == "HEAD" else echo(request))) as server,
        pytest.raises(AccessDenied) as caught,
    ):
        push(server, valid_credentials())
    assert "[hidden]" in caught.value.message
    text = f"{caught.value!r} {caught.value} {caught.value.__dict__}"
    assert PASSWORD not in text and BASIC not in text


# token servers


def guarded(realm: str) -> Callable[[Request], Response]:
    """The responses of a registry that accepts only the token `good`."""

    def respond(request: Request) -> Response:
        if request.headers.get("Authorization") != "Bearer good":
            return Response(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="a \\"service\\""'})
        return Response(404) if request.method == "HEAD" else Response(403)

    return respond


def test_a_token_is_requested_with_the_password_and_the_scope() -> None:
    with (
        serving(lambda _: Response(200, {}, b'{"token": "good"}')) as token_server,
        serving(guarded(f"http://{token_server.host}/token?x=y")) as server,
        pytest.raises(AccessDenied, match="403"),
    ):
        push(server, valid_credentials())
    (token_request,) = token_server.requests
    assert token_request.headers["Authorization"] == f"Basic {BASIC}"
    assert token_request.path == (
        "/token?x=y&service=a+%22service%22&scope=repository%3Ateam%2Fthing%3Apull%2Cpush&account=someone"
    )
    # HEAD twice (with and without the token), then POST with the token
    assert [request.headers.get("Authorization") for request in server.requests] == [None, "Bearer good", "Bearer good"]


def test_an_identity_token_is_sent_in_the_body() -> None:
    with serving(lambda _: Response(200, {}, b'{"access_token": "good"}')) as token_server:
        identity = Credentials(secret="an identity token", is_token=True, source="the test")
        with serving(guarded(f"http://{token_server.host}/token")) as server, pytest.raises(AccessDenied, match="403"):
            push(server, identity)
    (token_request,) = token_server.requests
    assert token_request.method == "POST" and b"refresh_token=an+identity+token" in token_request.body
    assert "Authorization" not in token_request.headers and "identity" not in token_request.path


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_server_that_denies_access_is_contacted_once(status: int) -> None:
    with (
        serving(lambda _: Response(status)) as token_server,
        serving(guarded(f"http://{token_server.host}/token")) as server,
        pytest.raises(AccessDenied),
    ):
        push(server, valid_credentials())
    assert len(token_server.requests) == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"token": 3}', b'{"token": "a\\nHost: b"}', b'{"token": "' + b"x" * 70_000]
)
def test_an_invalid_token_is_rejected(body: bytes) -> None:
    with (
        serving(lambda _: Response(200, {}, body)) as token_server,
        serving(guarded(f"http://{token_server.host}/token")) as server,
        pytest.raises(Untrustworthy),
    ):
        push(server, valid_credentials())


def test_the_password_does_not_follow_a_redirect_of_the_token_server() -> None:
    with (
        serving(lambda _: Response(200, {}, b'{"token": "good"}')) as other_server,
        serving(lambda _: Response(307, {"Location": f"http://{other_server.host}/"})) as token_server,
        serving(guarded(f"http://{token_server.host}/token")) as server,
        pytest.raises(Untrustworthy),
    ):
        push(server, valid_credentials())
    assert other_server.requests == []


@pytest.mark.parametrize("realm", ["http://192.0.2.1/token", "file:///etc/passwd", "token"])
def test_the_password_is_not_sent_to_a_realm_without_tls(realm: str) -> None:
    with serving(guarded(realm)) as server, pytest.raises(Untrustworthy, match="does not use TLS"):
        push(server, valid_credentials())


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"errors":' * 100_000, b"[" + b"{}," * 900_000 + b"{}]"])
@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize("where", ["/manifests/", "/referrers/", "/uploads/"])
def test_deeply_nested_and_large_responses_are_errors_of_the_registry(where: str, status: int, body: bytes) -> None:
    """In an error document, an index of referrers, and the response to an upload."""
    document = registry_except(lambda request: Response(status, {}, body) if where in request.path else None)
    with serving(document) as server:
        with contextlib.suppress(RegistryError):
            push(server)
        assert any(where in request.path for request in server.requests) or where == "/referrers/"
