"""The command `portalis publish`: resumed after it was killed, and with credentials from every source, none of which it prints."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue

import pytest

from portalis.contracts.output import PackagingAgentOutput
from tests import parts
from tests.fault_proxy import Request, fault_proxy
from tests.portalis.pipeline.conftest import Workplace
from tests.registry_server import PASSWORD, USERNAME, RegistryServer, registry_server
from tests.running import commands
from tests.running.ports import free_port
from tests.running.waiting import PATIENCE_S

PORTALIS = [sys.executable, "-m", "portalis"]


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output directory with a module, and an archive that takes a while to send."""
    folder = tmp_path_factory.mktemp("packaged")
    workplace = Workplace(folder)
    workplace.module("add")
    (folder / "LICENSE").write_bytes(os.urandom(600_000).hex().encode())  # does not compress well
    config = {"license_file": "LICENSE"}
    workplace.package(workplace.spec("add", enable_distribution_archive=True, distribution_config=config))
    return workplace.output


@pytest.fixture
def output(packaged: Path, tmp_path: Path) -> Path:
    """A copy of the packaged output directory."""
    return Path(shutil.copytree(packaged, tmp_path / "out"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PORTALIS_", "DOCKER_"))}
    return kept | {"DOCKER_CONFIG": str(tmp_path / "docker")}


def portalis(
    *arguments: str | Path, environment: dict[str, str], code: int = 0, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    done = commands.portalis("publish", *arguments, folder=Path.cwd(), environment=environment, stdin=stdin)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_the_printed_references_can_be_pulled(
    output: Path, server: RegistryServer, environment: dict[str, str], tmp_path: Path
) -> None:
    done = portalis(output, "--registry", f"{server.host}/team", environment=environment)
    references = {line.split()[1]: line.split()[0] for line in done.stdout.splitlines()}
    for i, name in enumerate(("add.wasm", "demo-1.2.3.tar.gz")):
        command = [parts.oras(), "pull", "--plain-http", "-o", str(tmp_path / str(i)), references[name]]
        subprocess.run(command, check=True, capture_output=True)
    (archive,) = (output / "archives").glob("*.tar.gz")
    assert (tmp_path / "1" / archive.name).read_bytes() == archive.read_bytes()


def test_publishing_again_sends_nothing(output: Path, server: RegistryServer, environment: dict[str, str]) -> None:
    with fault_proxy(server.port) as proxy:
        arguments = (output, "--registry", proxy.host)
        first = portalis(*arguments, environment=environment)
        proxy.requests.clear()
        second = portalis(*arguments, environment=environment)
        assert proxy.uploads() == [] and proxy.requests
    assert "(already published)" not in first.stdout
    assert second.stdout.splitlines() == [f"{line} (already published)" for line in first.stdout.splitlines()]


def test_publishing_resumes_after_it_was_killed(
    output: Path, server: RegistryServer, environment: dict[str, str], tmp_path: Path
) -> None:
    arguments = ["publish", str(output), "--registry"]
    started: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()

    def kill_amid_the_archive(request: Request) -> str | None:
        if int(request.headers.get("Content-Length", 0)) < 100_000:
            return None
        process = started.get(timeout=PATIENCE_S)
        process.kill()
        process.wait()
        return "drop amid"

    with fault_proxy(server.port, kill_amid_the_archive) as proxy:
        process = subprocess.Popen([*PORTALIS, *arguments, proxy.host], env=environment, stderr=subprocess.DEVNULL)
        started.put(process)
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    with fault_proxy(server.port) as proxy:
        done = portalis(output, "--registry", proxy.host, environment=environment)
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    module, archive = lines["add.wasm"], lines["demo-1.2.3.tar.gz"]
    assert module.endswith("(already published)")
    assert not archive.endswith("(already published)")
    (file,) = (output / "archives").glob("*.tar.gz")
    sent = sum(each.sent for each in proxy.uploads())
    assert (
        file.stat().st_size <= sent < file.stat().st_size + 50_000
    )  # and the manifests, and the attestations of the archive
    reference = archive.split()[0].replace(proxy.host, server.host)
    command = [parts.oras(), "pull", "--plain-http", "-o", str(tmp_path / "pulled"), reference]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "pulled" / file.name).read_bytes() == file.read_bytes()


def test_a_dry_run_does_not_contact_the_registry(output: Path, environment: dict[str, str]) -> None:
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    host = f"127.0.0.1:{free_port()}"
    done = portalis(output, "--registry", f"{host}/team", "--dry-run", environment=environment)
    assert f"{host}/team/demo/archive:1.2.3" in done.stdout and f"{host}/team/demo/modules/add:1.2.3" in done.stdout
    document = json.loads(portalis(output, "--registry", host, "--dry-run", "--json", environment=environment).stdout)
    assert [each["kind"] for each in document["would_publish"]] == ["Module", "Archive"]
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_a_dry_run_prints_the_digests(output: Path, server: RegistryServer, environment: dict[str, str]) -> None:
    arguments = (output, "--registry", server.host, "--json")
    would = json.loads(portalis(*arguments, "--dry-run", environment=environment).stdout)["would_publish"]
    did = json.loads(portalis(*arguments, environment=environment).stdout)["published"]
    assert [each["digest"] for each in would] == [each["digest"] for each in did if each["subject"] is None]


@pytest.mark.registry
def test_the_script_is_written_if_the_registry_is_down_and_removed_afterwards(
    output: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    before = {path: path.read_bytes() for path in (output / "archives").iterdir()}
    done = portalis(output, "--registry", f"127.0.0.1:{port}", environment=environment, code=1)
    assert "Connection refused" in done.stderr and "publish.sh publishes without portalis" in done.stderr
    assert {path: path.read_bytes() for path in (output / "archives").iterdir()} == before
    script = output / "publish.sh"
    assert os.access(script, os.X_OK)
    report = PackagingAgentOutput.model_validate_json((output / "packaging-report.json").read_bytes())
    assert any(path.endswith("/publish.sh") for path in report.package_metadata.checksums)
    with registry_server(tmp_path / "registry", port=port):
        portalis(output, "--registry", f"127.0.0.1:{port}", environment=environment)
    assert not script.exists()
    report = PackagingAgentOutput.model_validate_json((output / "packaging-report.json").read_bytes())
    assert not any(path.endswith("/publish.sh") for path in report.package_metadata.checksums)
    assert [each.tag for each in report.published if each.subject is None] == ["1.2.3", "1.2.3"]


def test_a_package_may_be_moved(output: Path, server: RegistryServer, environment: dict[str, str]) -> None:
    moved = output.with_name("elsewhere")
    output.rename(moved)
    portalis(moved, "--registry", server.host, environment=environment)


# credentials


def config(environment: dict[str, str], content: object) -> None:
    folder = Path(environment["DOCKER_CONFIG"])
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))


def helper(environment: dict[str, str], name: str, script: str) -> None:
    path = Path(environment["DOCKER_CONFIG"]) / f"docker-credential-{name}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    environment["PATH"] = f"{path.parent}:{environment['PATH']}"


SOURCES = ("environment", "stdin", "auths", "credsStore", "credHelpers")


def log_in(source: str, host: str, environment: dict[str, str], secret: str) -> tuple[list[str], str]:
    """Store the login in `source`; returns options and standard input for the command."""
    login = json.dumps({"ServerURL": host, "Username": USERNAME, "Secret": secret})
    script = f"""read -r server\n[ "$1 $server" = "get {host}" ] && printf '%s' '{login}' && exit 0\nexit 1"""
    if source == "environment":
        environment |= {"PORTALIS_REGISTRY_USERNAME": USERNAME, "PORTALIS_REGISTRY_PASSWORD": secret}
    elif source == "stdin":
        return ["--username", USERNAME, "--password-stdin"], f"{secret}\n"
    elif source == "auths":
        config(environment, {"auths": {host: {"auth": base64.b64encode(f"{USERNAME}:{secret}".encode()).decode()}}})
    elif source == "credsStore":
        helper(environment, "store", script)
        config(environment, {"credsStore": "store", "auths": {host: {}}})
    else:
        helper(environment, "other-store", script)
        config(environment, {"credHelpers": {host: "other-store"}})
    return [], ""


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
@pytest.mark.parametrize("source", SOURCES)
def test_credentials_are_found_and_not_printed(
    output: Path, guarded_server: RegistryServer, environment: dict[str, str], source: str, right: bool
) -> None:
    secret = PASSWORD if right else "wrong-and-secret"
    options, stdin = log_in(source, guarded_server.host, environment, secret)
    environment |= {"PORTALIS_DEBUG": "1"} if right else {}
    done = portalis(
        output,
        "--registry",
        guarded_server.host,
        *options,
        environment=environment,
        code=0 if right else 1,
        stdin=stdin,
    )
    if not right:
        assert "401" in done.stderr and "docker login" in done.stderr
    written = [path.read_bytes().decode(errors="replace") for path in output.rglob("*") if path.is_file()]
    basic = base64.b64encode(f"{USERNAME}:{secret}".encode()).decode()
    assert not any(form in text for form in (secret, basic) for text in (done.stdout, done.stderr, *written))


# errors of the command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--registry", "a b"], "invalid registry"),
        (["--registry", "http://registry.example.com"], "without TLS"),
        (["--registry", f"someone:{PASSWORD}@registry.example.com"], "contains credentials"),
        ([], "no registry is specified"),
        (["--registry", "127.0.0.1:1", "--username", "someone"], "--username requires a password"),
        (["--registry", "127.0.0.1:1", "--password-stdin"], "--password-stdin requires a user name"),
        (["--registry", "127.0.0.1:1", "--username", "a", "--password-stdin"], "no password on standard input"),
        (["--registry", "127.0.0.1:1", "--engine", "rkt"], "unknown container engine"),
    ],
)
def test_an_invalid_command_line_is_an_error(
    output: Path, environment: dict[str, str], arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = portalis(output, *arguments, environment=environment, code=2)
    assert message in done.stderr and PASSWORD not in done.stderr


@pytest.mark.parametrize("report", [None, b"", b"{}", b"\xff"])
def test_a_directory_that_is_not_a_package_is_an_error(
    tmp_path: Path, environment: dict[str, str], report: bytes | None
) -> None:
    if report is not None:
        (tmp_path / "packaging-report.json").write_bytes(report)
    done = portalis(tmp_path, "--registry", "127.0.0.1:1", environment=environment, code=2)
    assert "not an output directory" in done.stderr if report is None else "not a report" in done.stderr


def test_a_changed_file_is_not_published(output: Path, server: RegistryServer, environment: dict[str, str]) -> None:
    (archive,) = (output / "archives").glob("*.tar.gz")
    archive.write_bytes(archive.read_bytes() + b"\0")
    done = portalis(output, "--registry", server.host, environment=environment, code=2)
    assert "has changed since it was packaged" in done.stderr


@pytest.mark.registry
def test_a_login_of_podman_publishes_to_a_registry_with_tls(
    output: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """Skopeo writes the file with Podman's library. Without the file, the error names both ways to log in."""
    with registry_server(tmp_path / "tls", password=True, tls=True) as server:
        url = f"https://localhost:{server.port}/team"
        trusting = environment | {"SSL_CERT_FILE": str(tmp_path / "tls" / "cert.pem"), "XDG_RUNTIME_DIR": str(tmp_path)}
        denied = portalis(output, "--registry", url, environment=trusting, code=1)
        assert f"`docker login localhost:{server.port}` or `podman login localhost:{server.port}`" in denied.stderr
        file = tmp_path / "containers" / "auth.json"
        command = [parts.skopeo(), "login", "--authfile", str(file), "--tls-verify=false"]
        command += ["-u", USERNAME, "--password-stdin", f"localhost:{server.port}"]
        subprocess.run(command, check=True, capture_output=True, input=PASSWORD, text=True)
        done = portalis(output, "--registry", url, environment=trusting)
        assert "demo/archive@sha256:" in done.stdout
        assert PASSWORD not in done.stdout + done.stderr + denied.stderr
