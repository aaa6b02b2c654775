"""The publishing stage, with a real registry and real engines."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from portalis.contracts.errors import ErrorType, PublishingError
from portalis.contracts.output import PackagingAgentOutput, Status
from portalis.contracts.published import PublishedKind
from portalis.oci.address import parse_address
from portalis.oci.backoff import Backoff
from portalis.oci.credentials import Credentials
from portalis.oci.logins import PASSWORD_VARIABLE, USERNAME_VARIABLE
from portalis.problems import InputProblems
from portalis.publishing.publishing_plan import ImagePush, PublishingPlan
from portalis.publishing.push import PublishingFailure, publish_plan
from portalis.spec.container import ContainerRuntime
from tests import parts
from tests.fault_proxy import fault_proxy
from tests.portalis.pipeline.conftest import Workplace
from tests.registry_server import PASSWORD, USERNAME, RegistryServer
from tests.running.ports import free_port


@pytest.fixture(autouse=True)
def _without_logins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv(USERNAME_VARIABLE, raising=False)
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)


def publish(workplace: Workplace, host: str, **more: object) -> PackagingAgentOutput:
    spec = workplace.spec(
        "add", enable_distribution_archive=True, publish_to_registry=True, registry_url=f"{host}/team", **more
    )
    return workplace.package(spec)


def pull(reference: str, folder: Path) -> None:
    command = [parts.oras(), "pull", "--plain-http", "-o", str(folder), reference]
    subprocess.run(command, check=True, capture_output=True)


def test_a_package_is_published_and_pulled_back(workplace: Workplace, server: RegistryServer, tmp_path: Path) -> None:
    module = workplace.module("add")
    made = publish(workplace, server.host)
    assert made.status is Status.Success, made.diagnostics.errors
    found = {each.kind: each for each in made.published if each.subject is None}
    assert set(found) == {PublishedKind.Module, PublishedKind.Archive}
    assert all(each.sent for each in made.published)
    pull(found[PublishedKind.Module].reference, tmp_path / "module")
    assert (tmp_path / "module/add.wasm").read_bytes() == module.read_bytes()
    archive = found[PublishedKind.Archive]
    pull(f"{archive.repository}:{archive.tag}", tmp_path / "archive")
    (packed,) = made.artifacts.distribution_archives
    assert (tmp_path / "archive" / archive.name).read_bytes() == Path(packed.archive_path).read_bytes()
    report = json.loads((workplace.output / "packaging-report.json").read_text())
    assert [each["digest"] for each in report["published"]] == [each.digest for each in made.published]
    assert "publish.sh" not in workplace.files()


def test_the_report_warns_of_what_cannot_be_published(workplace: Workplace, server: RegistryServer) -> None:
    config = {"prebundle": False, "package_as_extension": False}
    made = publish(workplace, server.host, enable_omniverse_packaging=True, omniverse_config=config)
    assert made.status is Status.Success, made.diagnostics.errors
    assert {each.kind for each in made.published if each.subject is None} == {
        PublishedKind.Module,
        PublishedKind.Archive,
    }
    (warning,) = [each for each in made.diagnostics.warnings if each.message.startswith("not published: ")]
    assert "the extension portalis_ext.demo is a directory" in warning.message
    assert "omniverse_config.package_as_extension" in warning.remediation


def test_a_stage_that_published_some_artifacts_did_not_fail(
    workplace: Workplace, server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = "demo/archive"

    def publish_some(plan: PublishingPlan, *_: object, **__: object) -> object:
        kept = tuple(each for each in plan.artifacts if denied not in each.repository)
        outcome = publish_plan(dataclasses.replace(plan, artifacts=kept), None)
        failure = PublishingFailure(reference=denied, message="denied", remediation="Log in.", denied=True)
        return dataclasses.replace(outcome, failures=(failure,))

    monkeypatch.setattr("portalis.publishing.push.publish_plan", publish_some)
    made = publish(workplace, server.host)
    assert made.status is Status.PartialSuccess and made.published
    (stage,) = [each for each in made.packaging_metrics.stages if each.name == "publish"]
    assert stage.outcome == "produced"
    assert not any("Artifacts not published" in each.message for each in made.diagnostics.warnings)
    manifest = made.package_metadata.package_manifest
    assert manifest is not None and any(note.startswith("Incomplete: Publishing (") for note in manifest.notes)


def test_the_same_package_is_not_sent_twice(
    workplace: Workplace, server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    workplace.module("add")
    with fault_proxy(server.port) as proxy:
        first = publish(workplace, proxy.host)
        proxy.requests.clear()
        second = publish(workplace, proxy.host)
        assert proxy.uploads() == [] and proxy.requests
    assert [each.digest for each in first.published] == [each.digest for each in second.published]
    assert not any(each.sent for each in second.published)


def test_only_publishing_fails_if_the_registry_is_down(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portalis.oci.backoff.time.sleep", lambda _: None)
    workplace.module("add")
    host = f"127.0.0.1:{free_port()}"
    made = publish(workplace, host)
    assert made.status is Status.PartialSuccess and made.published == ()
    assert len(made.artifacts.distribution_archives) == len(made.artifacts.triton_models) == 1
    (error,) = made.diagnostics.errors
    assert error.error_type is ErrorType.PublishingError
    assert "was not published (and 1 more)" in error.message and "Connection refused" in error.message
    assert isinstance(error.details, PublishingError) and error.details.registry_url == f"{host}/team"
    assert len(error.details.push_errors) == 2 and error.details.push_errors[1].endswith("not attempted")
    assert f"portalis publish {workplace.output} --registry {host}/team" in error.remediation.steps
    assert "publish.sh" in workplace.files() and os.access(workplace.output / "publish.sh", os.X_OK)
    assert str(workplace.output / "publish.sh") in made.package_metadata.checksums


def test_the_error_for_denied_access_says_how_to_log_in(workplace: Workplace, guarded_server: RegistryServer) -> None:
    workplace.module("add")
    with fault_proxy(guarded_server.port) as proxy:
        made = publish(workplace, proxy.host)
        assert len(proxy.requests) == 1
    (error,) = made.diagnostics.errors
    assert isinstance(error.details, PublishingError) and error.details.auth_error is not None
    assert "docker login" in error.remediation.summary


def test_no_output_contains_the_password(
    workplace: Workplace, guarded_server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace.module("add")
    for secret in (PASSWORD, "wrong-and-secret"):
        monkeypatch.setenv(USERNAME_VARIABLE, USERNAME)
        monkeypatch.setenv(PASSWORD_VARIABLE, secret)
        made = publish(workplace, guarded_server.host)
        assert made.status is (Status.Success if secret == PASSWORD else Status.PartialSuccess)
        texts = [made.model_dump_json(), *workplace.listening.lines, repr(workplace.listening.stages)]
        texts += [path.read_bytes().decode(errors="replace") for path in workplace.output.rglob("*") if path.is_file()]
        assert not any(secret in text for text in texts)


@pytest.mark.parametrize("url", ["ftp://x", "http://registry.example.com", "user:pa55word@registry.example.com", "a b"])
def test_an_invalid_url_is_a_problem_of_the_spec(workplace: Workplace, url: str) -> None:
    workplace.module("add")
    with pytest.raises(InputProblems) as caught:
        workplace.package(workplace.spec("add", publish_to_registry=True, registry_url=url))
    assert [problem.where for problem in caught.value.problems] == ["registry_url"]
    assert "pa55word" not in str(caught.value)


# images

ENGINES = {
    ContainerRuntime.Docker: (parts.docker_engine, "DOCKER_HOST"),
    ContainerRuntime.Podman: (parts.podman_engine, "CONTAINER_HOST"),
}
MakeImage = Callable[[str], ImagePush]


@pytest.fixture(params=ENGINES)
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ContainerRuntime:
    runtime = ContainerRuntime(request.param)
    engine, variable = ENGINES[runtime]
    monkeypatch.setenv(variable, engine())
    return runtime


@pytest.fixture
def planned(runtime: ContainerRuntime) -> ImagePush:
    """An image with one file, in the engine."""
    from portalis.engines.container_engine import ContainerEngine

    name = f"demo-{os.urandom(4).hex()}"
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        entry = tarfile.TarInfo("file")
        content = os.urandom(200_000)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    with ContainerEngine.find(runtime) as engine:
        # the SDK's client, because portalis cannot import images
        client = engine._client
        client.import_image_from_data(written.getvalue(), repository=name, tag="1.2.3")
        if not client.images(f"{name}:1.2.3"):
            client.tag(f"{name}:latest", name, "1.2.3")
        image_id = engine.inspect(f"{name}:1.2.3").image_id
    return ImagePush(reference=f"{name}:1.2.3", repository=f"team/{name}", tag="1.2.3", image_id=image_id, archive=None)


def quick() -> Backoff:
    return Backoff(first_wait_s=0.001, max_wait_s=0.01)


@pytest.mark.engine
def test_an_image_is_pushed_by_the_engine_and_pulled_by_skopeo(
    runtime: ContainerRuntime, planned: ImagePush, server: RegistryServer, tmp_path: Path
) -> None:
    with fault_proxy(server.port) as proxy:
        plan = PublishingPlan(address=parse_address(f"{proxy.host}/team"), images=(planned,))
        first = publish_plan(plan, None, runtime=runtime, backoff=quick())
        assert first.failures == ()
        proxy.requests.clear()
        second = publish_plan(plan, None, runtime=runtime, backoff=quick())
        assert proxy.uploads() == []
    (image,) = first.published
    assert image.sent and not second.published[0].sent and image.digest == second.published[0].digest
    source = f"docker://{server.host}/{planned.repository}@{image.digest}"
    command = [parts.skopeo(), "copy", "--src-tls-verify=false", source, f"dir:{tmp_path / 'pulled'}"]
    subprocess.run(command, check=True, capture_output=True)
    manifest = json.loads((tmp_path / "pulled/manifest.json").read_text())
    assert manifest["config"]["digest"] == planned.image_id
    from portalis.engines.container_engine import ContainerEngine

    with ContainerEngine.find(runtime) as engine:  # the tag for the push is removed, the original name is not
        names = {name for each in engine._client.images() for name in each.get("RepoTags") or ()}
    assert not any("/team/" in name and planned.reference in name for name in names)
    assert any(name.endswith(planned.reference) for name in names)


@pytest.mark.engine
def test_an_engine_receives_the_credentials(
    runtime: ContainerRuntime, planned: ImagePush, guarded_server: RegistryServer
) -> None:
    plan = PublishingPlan(address=parse_address(f"{guarded_server.host}/team"), images=(planned,))
    credentials = Credentials(username=USERNAME, secret=PASSWORD, source="the test")
    outcome = publish_plan(plan, credentials, runtime=runtime, backoff=quick())
    assert outcome.failures == () and outcome.published[0].sent


@pytest.mark.engine
def test_an_engine_whose_access_is_denied_does_not_retry(
    runtime: ContainerRuntime, planned: ImagePush, server: RegistryServer
) -> None:
    # reading is allowed, writing is not
    refused = fault_proxy(server.port, lambda request: None if request.method in ("GET", "HEAD") else "403")
    lines: list[str] = []
    with refused as proxy:
        plan = PublishingPlan(address=parse_address(f"{proxy.host}/team"), images=(planned,))
        outcome = publish_plan(plan, None, runtime=runtime, on_progress=lines.append, backoff=quick())
    (failure,) = outcome.failures
    assert outcome.published == ()
    assert failure.denied, failure
    assert not any("retrying" in line for line in lines)


def test_an_image_without_an_engine_is_a_failure(server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/d.sock")
    planned = ImagePush(
        reference="demo:1", repository="team/demo", tag="1", image_id="sha256:" + "1" * 64, archive=None
    )
    plan = PublishingPlan(address=parse_address(f"{server.host}/team"), images=(planned,))
    (failure,) = publish_plan(plan, None, backoff=quick()).failures
    assert "cannot connect to a Docker engine" in failure.message
