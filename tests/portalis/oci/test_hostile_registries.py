"""Registries that lie, answer without an end, send us elsewhere, or want our password for somebody else."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable

import pytest

from portalis.oci.credentials import Credentials
from portalis.oci.errors import AccessDenied, RegistryError, Untrustworthy
from tests.portalis.oci.conftest import artifact, registry, someone
from tests.portalis.oci.hostile import Heard, Said, Server, saying
from tests.registry_server import PASSWORD, USERNAME

OTHER = "sha256:" + "0" * 64
BASIC = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()


def push(server: Server, credentials: Credentials | None = None) -> None:
    with registry(server.host, credentials) as client:
        client.push("team/thing", "1.0", artifact(b"content"))


def usual(heard: Heard) -> Said:
    """A registry that has nothing and takes everything."""
    if heard.method == "HEAD" or (heard.method == "GET" and "/manifests/" in heard.path):
        return Said(404)
    if heard.method == "POST":
        return Said(202, {"Location": "/v2/team/thing/blobs/uploads/1"})
    return Said(201)


def but(unlike: Callable[[Heard], Said | None]) -> Callable[[Heard], Said]:
    return lambda heard: unlike(heard) or usual(heard)


LIES = {
    "has another blob under the digest": lambda heard: (
        Said(200, {"Docker-Content-Digest": OTHER}) if heard.method == "HEAD" else None
    ),
    "has a blob of another size": lambda heard: Said(200, {"Content-Length": "3"}) if heard.method == "HEAD" else None,
    "has kept another blob": lambda heard: (
        Said(201, {"Docker-Content-Digest": OTHER}) if "digest=" in heard.path else None
    ),
    "has kept another manifest": lambda heard: (
        Said(201, {"Docker-Content-Digest": OTHER}) if heard.method == "PUT" and "/manifests/" in heard.path else None
    ),
    "has kept no manifest": lambda _: None,
    "gives content that its digest is not of": lambda heard: (
        Said(200, {"Docker-Content-Digest": OTHER}, b"{}") if heard.method == "GET" else None
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_registry_that_lies_is_not_believed(lie: str) -> None:
    with saying(but(LIES[lie])) as server, pytest.raises(Untrustworthy) as caught:
        push(server)
    assert server.host in caught.value.message


@pytest.mark.parametrize("headers", [{}, {"Content-Length": str(1 << 40)}])
def test_an_answer_without_an_end_is_not_read(headers: dict[str, str]) -> None:
    endless = but(lambda heard: Said(200, headers, endless=True) if heard.method == "GET" else None)
    with saying(endless) as server, pytest.raises(Untrustworthy, match="exceeds"):
        push(server)


def test_an_answer_that_is_packed_small_is_not_unpacked() -> None:
    import gzip

    bomb = gzip.compress(b" " * (64 << 20))
    packed = but(lambda heard: Said(200, {"Content-Encoding": "gzip"}, bomb) if heard.method == "GET" else None)
    with saying(packed) as server, pytest.raises(Untrustworthy):
        push(server)  # its bytes are not those of a manifest


def wants_basic(heard: Heard) -> Said | None:
    if "Authorization" not in heard.headers:
        return Said(401, {"WWW-Authenticate": 'Basic realm="test"'})
    return None


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_credentials_do_not_follow_a_redirect(method: str) -> None:
    with saying(lambda _: Said(404)) as elsewhere:

        def away(heard: Heard) -> Said | None:
            if heard.method == method:
                return wants_basic(heard) or Said(307, {"Location": f"http://{elsewhere.host}/away"})
            return wants_basic(heard)

        with saying(but(away)) as server, pytest.raises(RegistryError):
            push(server, someone())
    assert any("Authorization" in heard.headers for heard in server.heard)
    assert elsewhere.heard
    assert all("Authorization" not in heard.headers for heard in elsewhere.heard)


def test_a_challenge_from_elsewhere_is_not_answered() -> None:
    with saying(lambda _: Said(401, {"WWW-Authenticate": 'Basic realm="give"'})) as elsewhere:
        away = but(lambda heard: Said(307, {"Location": f"http://{elsewhere.host}/away"}))
        with saying(away) as server, pytest.raises(AccessDenied):
            push(server, someone())
    assert len(elsewhere.heard) == 1 and "Authorization" not in elsewhere.heard[0].headers


def test_an_upload_elsewhere_has_no_credentials() -> None:
    with saying(lambda _: Said(201)) as elsewhere:
        location = {"Location": f"http://{elsewhere.host}/upload"}
        away = but(lambda heard: wants_basic(heard) or (Said(202, location) if heard.method == "POST" else None))
        with saying(away) as server, pytest.raises(Untrustworthy):
            push(server, someone())
    assert [heard.method for heard in elsewhere.heard] == ["PUT", "PUT"]
    assert all("Authorization" not in heard.headers for heard in elsewhere.heard)


@pytest.mark.parametrize("location", ["http://192.0.2.1/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://[", ""])
@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_where_there_is_no_tls_nothing_is_sent(location: str, method: str) -> None:
    status = 307 if method == "HEAD" else 202
    away = but(lambda heard: Said(status, {"Location": location}) if heard.method == method else None)
    with saying(away) as server, pytest.raises(RegistryError):
        push(server, someone())


def test_a_redirected_upload_is_refused() -> None:
    away = but(lambda heard: Said(307, {"Location": heard.path}) if heard.method == "POST" else None)
    with saying(away) as server, pytest.raises(Untrustworthy, match="redirects a POST"):
        push(server)


def test_redirects_without_an_end_are_refused() -> None:
    with (
        saying(lambda heard: Said(302, {"Location": heard.path})) as server,
        pytest.raises(Untrustworthy, match="sends more than 5 redirects"),
    ):
        push(server)
    assert len(server.heard) == 6


def test_a_secret_that_is_sent_back_is_not_told() -> None:
    def echo(heard: Heard) -> Said:
        sent = heard.headers.get("Authorization", "")
        decoded = base64.b64decode(sent.removeprefix("Basic ")).decode() if sent else ""
        body = {"errors": [{"code": "DENIED", "message": f"you sent {sent} which is {decoded}, {PASSWORD}"}]}
        return wants_basic(heard) or Said(403, {}, json.dumps(body).encode())

    # a HEAD's answer has no body
    with (
        saying(but(lambda heard: None if heard.method == "HEAD" else echo(heard))) as server,
        pytest.raises(AccessDenied) as caught,
    ):
        push(server, someone())
    assert "[hidden]" in caught.value.message
    told = f"{caught.value!r} {caught.value} {caught.value.__dict__}"
    assert PASSWORD not in told and BASIC not in told


# token servers


def guarded(realm: str) -> Callable[[Heard], Said]:
    """Takes the token `good` and nothing else."""

    def answer(heard: Heard) -> Said:
        if heard.headers.get("Authorization") != "Bearer good":
            return Said(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="a \\"service\\""'})
        return Said(404) if heard.method == "HEAD" else Said(403)

    return answer


def test_a_token_is_asked_for_with_the_password_and_the_scope() -> None:
    with (
        saying(lambda _: Said(200, {}, b'{"token": "good"}')) as tokens,
        saying(guarded(f"http://{tokens.host}/token?x=y")) as server,
        pytest.raises(AccessDenied, match="403"),
    ):
        push(server, someone())
    (asked,) = tokens.heard
    assert asked.headers["Authorization"] == f"Basic {BASIC}"
    assert asked.path == (
        "/token?x=y&service=a+%22service%22&scope=repository%3Ateam%2Fthing%3Apull%2Cpush&account=someone"
    )
    # HEAD twice (a challenge and its answer), then POST with the token at once
    assert [heard.headers.get("Authorization") for heard in server.heard] == [None, "Bearer good", "Bearer good"]


def test_an_identity_token_is_handed_over_in_the_body() -> None:
    with saying(lambda _: Said(200, {}, b'{"access_token": "good"}')) as tokens:
        identity = Credentials(secret="an identity token", is_token=True, source="the test")
        with saying(guarded(f"http://{tokens.host}/token")) as server, pytest.raises(AccessDenied, match="403"):
            push(server, identity)
    (asked,) = tokens.heard
    assert asked.method == "POST" and b"refresh_token=an+identity+token" in asked.body
    assert "Authorization" not in asked.headers and "identity" not in asked.path


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_server_that_refuses_is_asked_once(status: int) -> None:
    with (
        saying(lambda _: Said(status)) as tokens,
        saying(guarded(f"http://{tokens.host}/token")) as server,
        pytest.raises(AccessDenied),
    ):
        push(server, someone())
    assert len(tokens.heard) == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"token": 3}', b'{"token": "a\\nHost: b"}', b'{"token": "' + b"x" * 70_000]
)
def test_a_token_that_is_none_is_refused(body: bytes) -> None:
    with (
        saying(lambda _: Said(200, {}, body)) as tokens,
        saying(guarded(f"http://{tokens.host}/token")) as server,
        pytest.raises(Untrustworthy),
    ):
        push(server, someone())


def test_a_token_server_sends_our_password_nowhere_else() -> None:
    with (
        saying(lambda _: Said(200, {}, b'{"token": "good"}')) as elsewhere,
        saying(lambda _: Said(307, {"Location": f"http://{elsewhere.host}/"})) as tokens,
        saying(guarded(f"http://{tokens.host}/token")) as server,
        pytest.raises(Untrustworthy),
    ):
        push(server, someone())
    assert elsewhere.heard == []


@pytest.mark.parametrize("realm", ["http://192.0.2.1/token", "file:///etc/passwd", "token"])
def test_a_password_goes_to_no_realm_without_tls(realm: str) -> None:
    with saying(guarded(realm)) as server, pytest.raises(Untrustworthy, match="does not use TLS"):
        push(server, someone())


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"errors":' * 100_000, b"[" + b"{}," * 900_000 + b"{}]"])
@pytest.mark.parametrize("status", [200, 404, 500])
def test_answers_that_nest_deep_or_hold_much_are_an_error_of_the_registry(status: int, body: bytes) -> None:
    """As an error's words, as an index of referrers, and as an upload's answer."""
    for where in ("/manifests/", "/referrers/", "/uploads/"):
        with saying(but(lambda heard, where=where: Said(status, {}, body) if where in heard.path else None)) as server:  # type: ignore[misc]
            with contextlib.suppress(RegistryError):
                push(server)
            assert any(where in heard.path for heard in server.heard) or where == "/referrers/"
