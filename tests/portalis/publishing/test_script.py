"""The script publish.sh, checked by shellcheck and run against a real registry."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from portalis.contracts.artifacts import DeploymentManifest, DeploymentType
from portalis.oci.address import Address, parse_address
from portalis.publishing.publishing_plan import make_plan
from portalis.publishing.script import write_script
from tests import parts
from tests.portalis.publishing.conftest import MODULE, ROOT, MakePackage, sha256
from tests.portalis.publishing.test_publishing_plan import ARCHIVE, envelope, image, statement
from tests.registry_server import registry_server

FILES = {
    "m/add.wasm": MODULE,
    "archives/demo-1.2.3.tar.gz": ARCHIVE,
    "archives/demo-1.2.3.tar.gz.sbom.cdx.json": b"{}",
    "archives/demo-1.2.3.tar.gz.intoto.jsonl": envelope(statement(sha256(ARCHIVE))),
}


def check(script: Path, severity: str = "style") -> None:
    done = subprocess.run([parts.shellcheck(), f"--severity={severity}", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def run(script: Path) -> None:
    path = f"{Path(parts.oras()).parent}:{os.environ['PATH']}"
    done = subprocess.run([script], capture_output=True, text=True, env=os.environ | {"PATH": path}, cwd="/")
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.registry
def test_the_script_publishes_the_plan(make_package: MakePackage, tmp_path: Path) -> None:
    package = make_package(FILES)
    with registry_server(tmp_path / "registry") as server:
        plan = make_plan(package, parse_address(f"{server.host}/team"))
        script = write_script(plan, package.folder)
        check(script)
        run(script)
        for each in plan.artifacts:
            reference = f"{server.host}/{each.repository}:{each.tag}"
            fetched = subprocess.run(
                [parts.oras(), "manifest", "fetch", "--plain-http", reference], capture_output=True, check=True
            )
            stored, planned = json.loads(fetched.stdout), json.loads(each.manifest.content())
            assert stored["config"]["mediaType"] == planned["config"]["mediaType"]
            assert stored["config"]["digest"] == planned["config"]["digest"]
            assert [layer["digest"] for layer in stored["layers"]] == [layer["digest"] for layer in planned["layers"]]
            assert stored["annotations"] == planned["annotations"]
        attached = subprocess.run(
            [parts.oras(), "discover", "--plain-http", "--format", "json", reference], capture_output=True, check=True
        )
        kinds = {each["artifactType"] for each in json.loads(attached.stdout)["manifests"]}
        assert kinds == {"application/vnd.cyclonedx+json", "application/vnd.dsse.envelope.v1+json"}


def test_a_script_with_every_kind_of_artifact_passes_shellcheck(make_package: MakePackage) -> None:
    charts = (DeploymentManifest(manifest_type=DeploymentType.Helm, file_path=str(ROOT / "helm/Chart.yaml")),)
    saved = image("saved").model_copy(update={"image_archive_path": str(ROOT / "containers/saved/image.tar")})
    package = make_package(
        FILES | {"helm/Chart.yaml": b"name: demo\nversion: 1.2.3\n"},
        nim_containers=(image("demo-add"), saved),
        deployment_manifests=charts,
    )
    for address in (parse_address("registry.example.com/team"), Address(host="registry.example.com", plain_http=True)):
        script = write_script(make_plan(package, address), package.folder)
        check(script)
        assert os.access(script, os.X_OK)
        text = script.read_text()
        for program in ("docker push", "skopeo copy", "oras push", "oras attach", "helm push"):
            assert program in text
        assert ("--plain-http" in text) is ("--dest-tls-verify=false" in text) is address.plain_http


@pytest.mark.registry
def test_names_with_shell_syntax_are_quoted(make_package: MakePackage, tmp_path: Path) -> None:
    name = "a'b $(touch broken) `touch broken`; touch broken\ntouch broken"
    package = make_package({f"m/{name}.wasm": MODULE, f"archives/{name}.zip": ARCHIVE}, name=name)
    with registry_server(tmp_path / "registry") as server:
        script = write_script(make_plan(package, parse_address(server.host)), package.folder)
        check(script)
        run(script)
    assert not list(tmp_path.rglob("broken"))
