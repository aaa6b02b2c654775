"""The OpenAPI document is valid, and matches the real service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

from portalis.nim.service.app import create_app
from portalis.nim.service.settings import ModelSettings, ServiceSettings
from portalis.proto.api_models import ApiModel, ApiTensor, service_model
from portalis.proto.example_request import example_request
from portalis.proto.openapi import INFER_PATH, SERVICE_DOCUMENT, openapi_document, to_openapi_3_0
from portalis.proto.outline import outline
from portalis.spec.container import ContainerConfiguration
from portalis.spec.package_spec import PackageSpec, WasmBinaryPath
from tests.parts import ROOT
from tests.running import waiting

from .jobs import ADD, job, wasm
from .service_description import described, text

EXAMPLES = sorted((ROOT / "examples").glob("*/*.wasm"))
DTYPES = (
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "BF16",
    "FP32",
    "FP64",
    "BYTES",
)


def spec(**fields: Any) -> PackageSpec:
    binaries = (WasmBinaryPath(path=Path("/m.wasm")),)
    return PackageSpec(
        package_name="demo", package_version="1.0.0", output_directory=Path("/out"), wasm_binaries=binaries, **fields
    )


def model(name: str = "m", *tensors: ApiTensor) -> ApiModel:
    each = tensors or (ApiTensor(name="x", datatype="FP32", shape=(-1, 3)),)
    return ApiModel(name=name, version="1", description="", max_batch_size=1, inputs=each, outputs=each)


def validate(found: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(found).validate()
    OpenAPIV30SpecValidator(to_openapi_3_0(found)).validate()


def test_the_committed_openapi_document_equals_the_services() -> None:
    assert SERVICE_DOCUMENT.read_text(encoding="utf-8") == text(), (
        "regenerate it: python -m tests.proto.service_description"
    )


def test_the_document_has_every_path_of_the_service_and_one_per_model() -> None:
    config = ContainerConfiguration(health_check_endpoint="/alive", service_port=8123)
    found = openapi_document(spec(container_config=config), [model("a"), model("b/c {d}")])
    assert set(found["paths"]) == set(described()["paths"]) - {INFER_PATH} | {
        "/alive",
        "/v1/models/a/infer",
        "/v1/models/b%2Fc%20%7Bd%7D/infer",
    }
    assert found["servers"][0]["url"] == "http://localhost:8123"
    assert found["paths"]["/alive"]["get"]["responses"] == found["paths"]["/health"]["get"]["responses"]
    validate(found)


@given(
    st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True),
    st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True),
    st.sampled_from(DTYPES),
    st.lists(st.integers(-1, 4).filter(bool), max_size=3),
    st.text(),
)
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_the_document_is_valid_in_both_versions_for_any_names(
    models: list[str], tensors: list[str], datatype: str, shape: list[int], description: str
) -> None:
    given = [ApiTensor(name=name, datatype=datatype, shape=tuple(shape)) for name in tensors]
    found = openapi_document(spec(description=description), [model(name, *given) for name in models])
    validate(found)
    assert len(found["paths"]) == len(described()["paths"]) - 1 + len(models)


def test_the_older_version_has_no_keywords_of_the_newer_one() -> None:
    older = json.dumps(to_openapi_3_0(described()))
    assert '"const"' not in older
    assert '"null"' not in older
    assert '"nullable": true' in older


def test_the_outline_in_the_report_has_the_schema_names_and_every_path() -> None:
    found = to_openapi_3_0(openapi_document(spec(), [model("m")]))
    summary = json.loads(outline(found).model_dump_json())
    assert set(summary["paths"]) == set(found["paths"])
    body = summary["paths"]["/v1/models/m/infer"]["methods"]["POST"]["request_body"]
    assert body["required"] is True
    content = body["content"]["application/json"]
    assert content["schema"]["required"] == ["inputs"]
    assert content["schema"]["properties"]["inputs"]["schema_type"] == "array"
    assert content["examples"]["request"]["inputs"][0]["name"] == "x"
    assert summary["version"] == "3.0.3"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, dict[str, Any], list[ApiModel]]]:
    """The real service with all examples, and their document."""
    folder = tmp_path_factory.mktemp("models")
    paths = [*EXAMPLES, wasm(folder, "add", ADD)]
    for path in EXAMPLES:
        (folder / path.name).write_bytes(path.read_bytes())
    made = job([WasmBinaryPath(path=path) for path in paths])
    models = [each for module in made.modules if (each := service_model(module)) is not None]
    configured = tuple(ModelSettings(name=each.name, file=f"{each.name}.wasm") for each in models)
    settings = ServiceSettings(models=configured, metrics_port=8000)
    with TestClient(create_app(settings, folder)) as client:
        waiting.until(lambda: client.get("/ready").status_code == 200, lambda: client.get("/ready").text)
        yield client, openapi_document(made.spec, models), models


def resolved(found: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": found["components"]})


@pytest.mark.service
def test_the_service_responds_to_every_example_as_documented(
    service: tuple[TestClient, dict[str, Any], list[ApiModel]],
) -> None:
    client, found, models = service
    answered = 0
    for each in models:
        path = f"/v1/models/{each.name}/infer"
        route = found["paths"][path]["post"]
        body = route["requestBody"]["content"]["application/json"]
        request = example_request(each)
        assert body.get("example") == request
        assert request is not None
        resolved(found, body["schema"]).validate(request)
        answer = client.post(path, json=request)
        assert answer.status_code == 200, answer.text
        resolved(found, route["responses"]["200"]["content"]["application/json"]["schema"]).validate(answer.json())
        answered += 1
    assert answered == len(EXAMPLES) + 1


def test_the_service_rejects_requests_that_the_document_does_not_allow(
    service: tuple[TestClient, dict[str, Any], list[ApiModel]],
) -> None:
    client, found, _ = service
    route = found["paths"]["/v1/models/gelu/infer"]["post"]
    schema = resolved(found, route["requestBody"]["content"]["application/json"]["schema"])
    wrong = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": ["many"]}]}
    assert not schema.is_valid(wrong)
    answer = client.post("/v1/models/gelu/infer", json=wrong)
    assert answer.status_code == 400
    resolved(found, route["responses"]["400"]["content"]["application/json"]["schema"]).validate(answer.json())
