"""Helm charts as OCI artifacts."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from portalis.contracts.artifacts import DeploymentManifest, DeploymentType
from portalis.errors import UsageError
from portalis.oci.address import parse_address
from portalis.publishing.publishing_plan import make_plan
from tests.portalis.publishing.conftest import ROOT, MakePackage

ADDRESS = parse_address("registry.example.com/team")
CHART = b"apiVersion: v2\nname: demo\nversion: 1.2.3+b\ndescription: of no use\n"


def helm(path: str) -> tuple[DeploymentManifest, ...]:
    return (DeploymentManifest(manifest_type=DeploymentType.Helm, file_path=str(ROOT / path)),)


def test_a_chart_is_packed_and_named_as_by_helm(make_package: MakePackage) -> None:
    files = {"deployment/helm/Chart.yaml": CHART, "deployment/helm/templates/service.yaml": b"kind: Service\n"}
    package = make_package(files, deployment_manifests=helm("deployment/helm/Chart.yaml") * 2)
    (chart,) = make_plan(package, ADDRESS).artifacts
    assert (chart.repository, chart.tag) == ("team/demo-package/charts/demo", "1.2.3_b")
    found = json.loads(chart.manifest.content())
    assert found["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
    assert found["layers"][0]["mediaType"] == "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    config = chart.manifest.config.blob.content
    assert isinstance(config, bytes)
    assert json.loads(config)["description"] == "of no use"
    packed = chart.manifest.layers[0].blob.content
    assert isinstance(packed, bytes)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert tar.getnames() == ["demo/Chart.yaml", "demo/templates/service.yaml"]
    (again,) = make_plan(package, ADDRESS).artifacts
    assert again.manifest.content() == chart.manifest.content()


def test_a_packed_chart_is_published_as_it_is(make_package: MakePackage) -> None:
    package = make_package({"deployment/Chart.yaml": CHART}, deployment_manifests=helm("deployment/Chart.yaml"))
    packed = make_plan(package, ADDRESS).artifacts[0].manifest.layers[0].blob.content
    assert isinstance(packed, bytes)
    again = make_package({"charts/demo.tgz": packed}, deployment_manifests=helm("charts/demo.tgz"))
    (chart,) = make_plan(again, ADDRESS).artifacts
    assert chart.manifest.layers[0].blob.content == packed and chart.tag == "1.2.3_b"


@pytest.mark.parametrize(
    "text", [b"", b"name: demo\n", b"name: ../x\nversion: 1\n", b"{", b"name: a\nversion: 1\nx: 2026-01-01\n"]
)
def test_an_invalid_chart_is_rejected(make_package: MakePackage, text: bytes) -> None:
    package = make_package({"helm/Chart.yaml": text}, deployment_manifests=helm("helm/Chart.yaml"))
    with pytest.raises(UsageError, match="not a chart"):
        make_plan(package, ADDRESS)
    packed = make_package({"helm/demo.tgz": text}, deployment_manifests=helm("helm/demo.tgz"))
    with pytest.raises(UsageError, match="not a packed chart"):
        make_plan(packed, ADDRESS)
