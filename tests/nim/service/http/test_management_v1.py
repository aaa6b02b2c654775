"""The management endpoints under /v1: license, manifest, metadata and their OpenAPI description."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from portalis.examples.catalog import EXAMPLES
from tests.nim.service.process import Service, running, write_modules
from tests.nim.service.serving import serving

ADD_ONE = '(module (func (export "add") (param $x f32) (result f32) (f32.add (local.get $x) (f32.const 1))))'
LICENSE = {"name": "Apache-2.0", "url": "https://example.com/license", "text": "Do as you like,\nwith notice: ©."}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("shop")
    models = write_modules(folder, add=ADD_ONE)
    models[0] |= {"version": "7", "limits": {"timeout_s": 77}}
    with running(folder, models, name="shop", version="1.2.3", license=LICENSE, max_request_bytes=5000) as service:
        service.wait_ready()
        yield service


@pytest.mark.service
def test_the_license_has_the_keys_of_nim(service: Service) -> None:
    status, document = service.client.get("/v1/license")
    text = LICENSE["text"]
    assert status == 200
    assert document == {
        "name": "Apache-2.0",
        "path": "",
        "sha": hashlib.sha1(text.encode()).hexdigest(),
        "size": len(text),
        "url": "https://example.com/license",
        "type": "file",
        "content": text,
    }
    assert service.client.get("/v1/metadata")[1]["licenseInfo"] == document


@pytest.mark.service
def test_a_service_without_a_license_returns_noassertion(tmp_path: Path) -> None:
    with serving(tmp_path, write_modules(tmp_path, add=ADD_ONE)) as client:
        document = client.get("/v1/license")[1]
    assert (document["name"], document["content"], document["size"]) == ("NOASSERTION", "", 0)


@pytest.mark.service
def test_the_manifest_lists_each_module_and_the_settings(service: Service) -> None:
    status, document = service.client.get("/v1/manifest")
    assert status == 200
    (model,) = document["models"]
    assert (model["name"], model["version"], model["file"]) == ("add", "7", "add.wasm")
    assert re.fullmatch("[0-9a-f]{64}", model["sha256"]) and model["size"] > 8
    assert model["runtime"]["name"] == "Wasmtime" and re.match(r"\d+\.", model["runtime"]["version"])
    assert model["limits"]["timeout_s"] == 77 and model["limits"]["max_memory_bytes"] == 256 << 20
    assert model["interface"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}]
    assert document["ensembles"] == []
    assert json.loads(document["manifest_file"]) == {"models": document["models"], "ensembles": []}
    assert document["settings"]["max_request_bytes"] == 5000
    assert document["settings"]["service_port"] == service.client.port


@pytest.mark.service
def test_the_metadata_also_has_the_keys_of_nim(service: Service) -> None:
    document = service.client.get("/v1/metadata")[1]
    sha256 = document["models"][0]["sha256"]
    assert document["modelInfo"] == [{"modelUrl": f"add.wasm@sha256:{sha256}", "shortName": "add"}]
    assert (document["assetInfo"], document["repository_override"], document["version"]) == ([], "", "1.2.3")


@pytest.mark.service
def test_manifest_and_metadata_are_503_until_every_model_is_loaded(tmp_path: Path) -> None:
    models = [*write_modules(tmp_path, add=ADD_ONE), {"name": "gone", "file": "gone.wasm"}]
    with serving(tmp_path, models) as client:
        for path in ("/v1/manifest", "/v1/metadata", "/v1/health/ready"):
            status, document = client.get(path)
            assert (status, document["error"]["type"], document["error"]["code"]) == (
                503,
                "ServiceUnavailableError",
                503,
            )


@pytest.mark.service
def test_responses_match_the_openapi_description(service: Service) -> None:
    _, description = service.client.get("/openapi.json")
    for path in ("/v1/license", "/v1/manifest", "/v1/metadata", "/v1/models", "/v1/version", "/v1/health/ready"):
        operation = description["paths"][path]["get"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        # references in the schema are relative to the root of the description
        jsonschema.validate(service.client.get(path)[1], {**description, **schema})
    assert "text/plain" in description["paths"]["/v1/metrics"]["get"]["responses"]["200"]["content"]


@pytest.mark.service
def test_the_manifest_has_every_example_with_its_checksum(tmp_path: Path) -> None:
    for name, example in EXAMPLES.items():
        (tmp_path / f"{name}.wasm").write_bytes(example.module.read_bytes())
    with serving(tmp_path, [{"name": name, "file": f"{name}.wasm"} for name in EXAMPLES]) as client:
        client.wait_ready()
        models = client.get("/v1/manifest")[1]["models"]
    assert {each["name"]: each["sha256"] for each in models} == {
        name: hashlib.sha256(example.module.read_bytes()).hexdigest() for name, example in EXAMPLES.items()
    }
