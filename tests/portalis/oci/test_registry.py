"""Pushes to a real registry, over good and bad connections. Other tools check what is stored."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from portalis.oci.blobs import content_digest
from portalis.oci.errors import AccessDenied, Unreachable
from portalis.oci.manifest_client import fallback_tag
from tests import parts
from tests.fault_proxy import Request, fault_proxy, random_faults
from tests.portalis.oci.conftest import TYPE, artifact, noise, quick, registry, valid_credentials
from tests.registry_server import PASSWORD, USERNAME, RegistryServer
from tests.running.ports import free_port


def oras(*arguments: str | Path) -> str:
    done = subprocess.run([parts.oras(), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_oras_pulls_what_was_pushed_byte_for_byte(server: RegistryServer, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(noise(3_000_000))
    manifest = artifact(b"small", large)
    with registry(server.host, chunk_bytes=1 << 20) as client:
        pushed = client.push("team/thing", "1.0", manifest)
    oras("pull", "--plain-http", "-o", tmp_path / "pulled", f"{server.host}/team/thing@{pushed.digest}")
    assert (tmp_path / "pulled/file0").read_bytes() == b"small"
    assert (tmp_path / "pulled/file1").read_bytes() == large.read_bytes()
    stored = oras("manifest", "fetch", "--plain-http", f"{server.host}/team/thing:1.0")
    assert stored.encode() == manifest.content()


def test_skopeo_reads_the_artifact(server: RegistryServer) -> None:
    manifest = artifact(b"content")
    with registry(server.host) as client:
        client.push("team/thing", "1.0", manifest)
    command = [parts.skopeo(), "inspect", "--raw", "--tls-verify=false", f"docker://{server.host}/team/thing:1.0"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == manifest.content()


def test_a_second_push_sends_nothing(server: RegistryServer) -> None:
    manifest = artifact(b"one", noise(5000))
    about = artifact(b"about it", subject=manifest.descriptor())
    with fault_proxy(server.port) as proxy, registry(proxy.host) as client:
        assert client.push("team/thing", "1.0", manifest).sent
        assert client.push("team/thing", None, about).sent
        assert proxy.uploads()
        proxy.requests.clear()
        assert not client.push("team/thing", "1.0", manifest).sent
        assert not client.push("team/thing", None, about).sent
        assert proxy.uploads() == []
        assert proxy.requests


def test_referrers_of_an_artifact_are_found(server: RegistryServer) -> None:
    manifest = artifact(b"one")
    subject = manifest.descriptor()
    first, second = (artifact(text, subject=subject, annotations={"kind": text.decode()}) for text in (b"a", b"b"))
    with registry(server.host) as client:
        client.push("team/thing", "1.0", manifest)
        for each in (first, second):
            client.push("team/thing", None, each)
    found = json.loads(
        oras("discover", "--plain-http", "--format", "json", f"{server.host}/team/thing@{subject['digest']}")
    )
    assert [each["digest"] for each in found["manifests"]] == [
        content_digest(each.content()) for each in (first, second)
    ]
    assert {each["artifactType"] for each in found["manifests"]} == {TYPE}


@pytest.mark.parametrize("seed", range(6))
def test_everything_arrives_although_half_of_the_requests_fail(
    server: RegistryServer, tmp_path: Path, seed: int
) -> None:
    manifest = artifact(b"small", noise(700_000, seed))
    about = artifact(b"about it", subject=manifest.descriptor())
    with (
        fault_proxy(server.port, random_faults(seed)) as proxy,
        registry(proxy.host, chunk_bytes=1 << 18, backoff=quick(max_tries=40)) as client,
    ):
        pushed = client.push("team/thing", "1.0", manifest)
        client.push("team/thing", None, about)
    assert {request.fault for request in proxy.requests} >= {None, "503", "drop before", "drop after"}
    oras("pull", "--plain-http", "-o", tmp_path / "pulled", f"{server.host}/team/thing@{pushed.digest}")
    assert (tmp_path / "pulled/file1").read_bytes() == noise(700_000, seed)
    command = [parts.skopeo(), "copy", "--src-tls-verify=false", f"docker://{server.host}/team/thing:1.0"]
    subprocess.run([*command, f"dir:{tmp_path / 'copied'}"], check=True, capture_output=True)
    assert (tmp_path / "copied" / content_digest(noise(700_000, seed)).partition(":")[2]).read_bytes() == noise(
        700_000, seed
    )
    tag = fallback_tag(pushed.digest)
    index = json.loads(oras("manifest", "fetch", "--plain-http", f"{server.host}/team/thing:{tag}"))
    assert [each["digest"] for each in index["manifests"]] == [content_digest(about.content())]


def test_only_the_failed_chunk_is_sent_again(server: RegistryServer) -> None:
    wait_or_raise: list[str] = []

    def fail_second_chunk(request: Request) -> str | None:
        # the offset of the second chunk
        if request.headers.get("Content-Range", "").startswith("100000-") and not wait_or_raise:
            wait_or_raise.append(request.path)
            return "503"
        return None

    content = noise(250_000)
    with fault_proxy(server.port, fail_second_chunk) as proxy, registry(proxy.host, chunk_bytes=100_000) as client:
        client.push("team/thing", "1.0", artifact(content))
    ranges = [each.headers["Content-Range"] for each in proxy.requests if each.method == "PATCH"]
    assert ranges == ["0-99999", "100000-199999", "100000-199999", "200000-249999"]
    assert server.blob(content_digest(content)).read_bytes() == content


def test_a_registry_without_chunked_uploads_receives_one_request(server: RegistryServer) -> None:
    content = noise(250_000)
    manifest = artifact(content)
    refused = fault_proxy(server.port, lambda request: "400" if request.method == "PATCH" else None)
    with refused as proxy, registry(proxy.host, chunk_bytes=100_000) as client:
        client.push("team/thing", "1.0", manifest)
    assert sum(each.method == "PATCH" for each in proxy.requests) == 1
    assert server.blob(content_digest(content)).read_bytes() == content


def test_a_push_authenticates_with_a_password(guarded_server: RegistryServer, tmp_path: Path) -> None:
    with registry(guarded_server.host, valid_credentials()) as client:
        pushed = client.push("team/thing", "1.0", artifact(b"content"))
    login = ["--username", USERNAME, "--password", PASSWORD]
    reference = f"{guarded_server.host}/team/thing@{pushed.digest}"
    oras("pull", "--plain-http", *login, "-o", tmp_path / "pulled", reference)
    assert (tmp_path / "pulled/file0").read_bytes() == b"content"


@pytest.mark.parametrize("secret", [None, "wrong-and-still-secret"])
def test_a_401_is_not_retried(guarded_server: RegistryServer, secret: str | None) -> None:
    credentials = None if secret is None else valid_credentials(secret)
    with (
        fault_proxy(guarded_server.port) as proxy,
        registry(proxy.host, credentials) as client,
        pytest.raises(AccessDenied) as caught,
    ):
        client.push("team/thing", "1.0", artifact(b"content"))
    # one request, and a second one with the credentials if there are some
    assert [each.status for each in proxy.requests] == [401] * (1 if secret is None else 2)
    assert "401" in caught.value.message and f"docker login {proxy.host}" in caught.value.remediation
    assert "wrong-and" not in str(caught.value) and "wrong-and" not in repr(client.credentials)


def test_a_403_is_not_retried(server: RegistryServer) -> None:
    refused = fault_proxy(server.port, lambda request: "403" if request.method == "POST" else None)
    with refused as proxy, registry(proxy.host) as client, pytest.raises(AccessDenied, match="403"):
        client.push("team/thing", "1.0", artifact(b"content"))
    assert [each.method for each in proxy.requests] == ["HEAD", "POST"]


def test_a_registry_that_is_down_is_an_error_after_retries(tmp_path: Path) -> None:
    retries: list[str] = []
    backoff = quick()
    backoff.on_retry = retries.append
    refused = pytest.raises(Unreachable, match="Connection refused \\(4 tries\\)")
    with registry(f"127.0.0.1:{free_port()}", backoff=backoff) as client, refused:
        client.push("team/thing", "1.0", artifact(b"content"))
    assert len(retries) == 3


def test_a_file_that_changes_during_its_upload_is_an_error(server: RegistryServer, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")
    manifest = artifact(file)
    file.write_bytes(b"after!")
    with registry(server.host) as client, pytest.raises(Exception, match="DIGEST_INVALID") as caught:
        client.push("team/thing", "1.0", manifest)
    assert "has changed" in str(caught.value)


def test_a_large_file_is_sent_in_bounded_memory(server: RegistryServer, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(300 << 20)
    # a separate process, so that earlier memory use of this one does not count (as it would in ru_maxrss)
    program = """
import sys
from pathlib import Path
from tests.portalis.oci.conftest import artifact, registry

def peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

with registry(sys.argv[1]) as client:
    client.push("team/thing", "1.0", artifact(b"warm"))
    before = peak()
    client.push("team/thing", "2.0", artifact(Path(sys.argv[2])))
    print(peak() - before)
"""
    command = [sys.executable, "-c", program, server.host, str(large)]
    grown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=parts.ROOT).stdout
    assert int(grown) < 20_000  # KiB
