"""What an operator meets: ports, settings, the environment, the cache, what the service tells of itself, metrics."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import stat
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from portalis.examples.catalog import EXAMPLES
from portalis.nim.service.__main__ import set_module_cache
from portalis.nim.service.ports import VARIABLES, all_ports
from portalis.nim.service.settings import InvalidSettings, read_settings
from tests.running.ports import free_port
from tests.running.waiting import PATIENCE_S

from .process import Service, body, running, write_modules
from .serving import serving

ADD_ONE = '(module (func (export "add") (param $x f32) (result f32) (f32.add (local.get $x) (f32.const 1))))'
TRAP = '(module (func (export "trap") (param $x f32) (result f32) unreachable))'
LICENSE = {"name": "Apache-2.0", "url": "https://example.com/license", "text": "Do as you like,\nwith notice: ©."}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("shop")
    models = write_modules(folder, add=ADD_ONE)
    models[0] |= {"version": "7", "limits": {"timeout_s": 77}}
    with running(folder, models, name="shop", version="1.2.3", license=LICENSE, max_request_bytes=5000) as service:
        service.wait_ready()
        yield service


# -- what it tells ---------------------------------------------------------------------------------------------


@pytest.mark.service
def test_the_licence_has_the_keys_of_nims_own(service: Service) -> None:
    status, told = service.client.get("/v1/license")
    text = LICENSE["text"]
    assert status == 200
    assert told == {
        "name": "Apache-2.0",
        "path": "",
        "sha": hashlib.sha1(text.encode()).hexdigest(),
        "size": len(text),
        "url": "https://example.com/license",
        "type": "file",
        "content": text,
    }
    assert service.client.get("/v1/metadata")[1]["licenseInfo"] == told


@pytest.mark.service
def test_a_service_that_states_no_licence_says_so_in_spdxs_word(tmp_path: Path) -> None:
    with serving(tmp_path, write_modules(tmp_path, add=ADD_ONE)) as client:
        told = client.get("/v1/license")[1]
    assert (told["name"], told["content"], told["size"]) == ("NOASSERTION", "", 0)


@pytest.mark.service
def test_the_manifest_lists_each_module_as_it_is_served_and_the_settings(service: Service) -> None:
    status, told = service.client.get("/v1/manifest")
    assert status == 200
    (model,) = told["models"]
    assert (model["name"], model["version"], model["file"]) == ("add", "7", "add.wasm")
    assert re.fullmatch("[0-9a-f]{64}", model["sha256"]) and model["size"] > 8
    assert model["runtime"]["name"] == "Wasmtime" and re.match(r"\d+\.", model["runtime"]["version"])
    assert model["limits"]["timeout_s"] == 77 and model["limits"]["max_memory_bytes"] == 256 << 20
    assert model["interface"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}]
    assert json.loads(told["manifest_file"]) == {"models": told["models"]}
    assert told["settings"]["max_request_bytes"] == 5000
    assert told["settings"]["service_port"] == service.client.port


@pytest.mark.service
def test_the_metadata_has_nims_keys_beside_its_own(service: Service) -> None:
    told = service.client.get("/v1/metadata")[1]
    sha256 = told["models"][0]["sha256"]
    assert told["modelInfo"] == [{"modelUrl": f"add.wasm@sha256:{sha256}", "shortName": "add"}]
    assert (told["assetInfo"], told["repository_override"], told["version"]) == ([], "", "1.2.3")


@pytest.mark.service
def test_the_manifest_is_503_until_every_model_is_loaded(tmp_path: Path) -> None:
    models = [*write_modules(tmp_path, add=ADD_ONE), {"name": "gone", "file": "gone.wasm"}]
    with serving(tmp_path, models) as client:
        for path in ("/v1/manifest", "/v1/metadata", "/v1/health/ready"):
            status, told = client.get(path)
            assert (status, told["error"]["type"], told["error"]["code"]) == (503, "ServiceUnavailableError", 503)


@pytest.mark.service
def test_what_is_told_is_what_the_api_description_promises(service: Service) -> None:
    _, described = service.client.get("/openapi.json")
    for path in ("/v1/license", "/v1/manifest", "/v1/metadata", "/v1/models", "/v1/version", "/v1/health/ready"):
        operation = described["paths"][path]["get"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        # the description's references start at its root
        jsonschema.validate(service.client.get(path)[1], {**described, **schema})
    assert "text/plain" in described["paths"]["/v1/metrics"]["get"]["responses"]["200"]["content"]


# -- metrics ---------------------------------------------------------------------------------------------------


def metrics(text: str) -> dict[tuple[str, str], float]:
    """The values of the metrics by name and the labels' values."""
    return {
        (sample.name, ",".join(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.service
def test_requests_latency_queue_batches_and_failures_are_counted(tmp_path: Path) -> None:
    models = write_modules(tmp_path, add=ADD_ONE, trap=TRAP)
    with serving(tmp_path, models) as client:
        client.wait_loaded()
        for _ in range(3):
            assert client.send("/v1/models/add/infer", body(1, 2))[0] == 200
        assert client.send("/v1/models/add/infer", b"{")[0] == 400
        assert client.send("/v1/models/trap/infer", body(1))[0] == 500
        found = metrics(client.get("/metrics", port=client.metrics_port)[1])
    assert found["wasm_service_requests_total", "200,add,json"] == 3
    assert found["wasm_service_requests_total", "400,add,json"] == 1
    assert found["wasm_service_requests_total", "500,trap,json"] == 1
    assert found["wasm_service_requests_total", "200,add,grpc"] == 0
    assert found["wasm_service_request_seconds_count", "add"] == 4
    assert found["wasm_service_queue_requests", "add"] == 0
    assert found["wasm_service_queue_seconds_count", "add"] == 3
    assert found["wasm_service_batch_requests_sum", "add"] == 3
    assert found["wasm_service_batch_rows_sum", "add"] == 3
    assert found["wasm_service_failures_total", "Trap,trap"] == 1
    assert found["wasm_service_traps_total", "trap"] == 1
    assert found["wasm_service_traps_total", "add"] == 0
    assert found["wasm_service_active_requests", ""] == 0
    assert found["wasm_service_ready", ""] == 0


@pytest.mark.service
def test_the_metrics_are_the_same_on_both_ports_in_prometheus_format(service: Service) -> None:
    ports = (("/v1/metrics", service.client.port), ("/metrics", service.client.port))
    for path, port in (*ports, ("/metrics", service.client.metrics_port)):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            assert answer.headers["content-type"].startswith("text/plain; version=")
            assert metrics(answer.read().decode())["wasm_service_ready", ""] == 1


# -- ports and settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", VARIABLES)
@pytest.mark.service
def test_a_port_in_use_ends_the_service_with_1_and_names_port_and_variable(tmp_path: Path, setting: str) -> None:
    variable = VARIABLES[setting][0]
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = str(other.getsockname()[1])
        with running(tmp_path, write_modules(tmp_path, add=ADD_ONE), environment={variable: port}) as service:
            assert service.end() == 1
    assert service.log == [
        f"cannot listen on 0.0.0.0:{port} ({variable}): Address already in use; choose another port with {variable}"
    ]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"NIM_HTTP_API_PORT": "0"}, "NIM_HTTP_API_PORT must be a port from 1 to 65535, not '0'"),
        ({"NIM_GRPC_API_PORT": "70000"}, "NIM_GRPC_API_PORT must be a port from 1 to 65535, not '70000'"),
        ({"METRICS_PORT": "http"}, "METRICS_PORT must be a port from 1 to 65535, not 'http'"),
        (
            {"NIM_SERVER_PORT": "9000", "NIM_GRPC_API_PORT": "9000"},
            "NIM_SERVER_PORT and NIM_GRPC_API_PORT are both 9000; they must differ: set NIM_HTTP_API_PORT or NIM_GRPC_API_PORT",
        ),
        (
            {"METRICS_PORT": "8001"},
            "grpc_port and METRICS_PORT are both 8001; they must differ: set NIM_GRPC_API_PORT or METRICS_PORT",
        ),
    ],
)
def test_ports_that_cannot_be_are_refused_with_the_names_of_the_variables(
    tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    file = tmp_path / "service.json"
    file.write_text('{"models": [{"name": "a", "file": "a.wasm"}]}')
    with pytest.raises(InvalidSettings) as problem:
        read_settings(file, environment)
    assert str(problem.value) == words


def test_the_first_variable_that_is_set_counts() -> None:
    defaults = {"service_port": 1, "grpc_port": 2, "metrics_port": 3}
    assert all_ports(defaults, {}) == defaults
    found = all_ports(defaults, {"NIM_HTTP_API_PORT": " 10 ", "NIM_SERVER_PORT": "11", "SERVICE_PORT": "12"})
    assert found["service_port"] == 10
    assert all_ports(defaults, {"NIM_SERVER_PORT": "11", "SERVICE_PORT": "12"})["service_port"] == 11
    assert all_ports(defaults, {"NIM_HTTP_API_PORT": "", "GRPC_PORT": "13"}) == {**defaults, "grpc_port": 13}


@pytest.mark.service
def test_the_ports_of_the_environment_are_those_that_are_listened_on(tmp_path: Path) -> None:
    http, grpc, other = free_port(), free_port(), free_port()
    environment = {"NIM_HTTP_API_PORT": str(http), "NIM_GRPC_API_PORT": str(grpc), "METRICS_PORT": str(other)}
    with running(tmp_path, write_modules(tmp_path, add=ADD_ONE), environment=environment) as service:
        service.wait_for_line("is ready after")
        assert service.client.get("/health", port=http)[0] == 200
        assert service.client.get("/metrics", port=other)[0] == 200
        socket.create_connection(("127.0.0.1", grpc), timeout=PATIENCE_S).close()


@pytest.mark.parametrize(("name", "words"), [("none.json", "cannot read"), (".", "Is a directory")])
def test_settings_that_cannot_be_read_end_it_with_2(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        read_settings(tmp_path / name, {})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"drain_s": -1}, "drain_s: Input should be greater than or equal to 0"),
        ({"license": {"spdx": "MIT"}}, "license.spdx: Extra inputs are not permitted"),
        ({"max_queued_requests": 0}, "max_queued_requests: Input should be greater than or equal to 1"),
    ],
)
def test_settings_out_of_their_range_are_told_by_name(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    file = tmp_path / "service.json"
    file.write_text(json.dumps({"models": [{"name": "a", "file": "a.wasm"}], **changes}))
    with pytest.raises(InvalidSettings) as problem:
        read_settings(file, {})
    assert words in str(problem.value)


# -- the cache of compiled modules -----------------------------------------------------------------------------


def compiled(folder: Path) -> list[Path]:
    return list(folder.rglob("*.code"))


@pytest.mark.service
def test_compiled_modules_are_kept_under_nims_cache_path_for_this_user_alone(tmp_path: Path) -> None:
    cache = tmp_path / "nim cache"
    models = write_modules(tmp_path, add=ADD_ONE)
    found = []
    for _ in range(2):
        with running(tmp_path, models, environment={"NIM_CACHE_PATH": str(cache)}) as service:
            service.wait_ready()
            service.process.terminate()
            assert service.end() == 0, service.text()
        found.append({(path, path.stat().st_ino) for path in compiled(cache)})
    assert found[0] == found[1]  # the guest, and what is generated for it: compiled once
    assert found[0]
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path, _ in found[0]} == {0o700}
    assert '"warning"' not in service.text()


@pytest.mark.service
def test_a_cache_that_cannot_be_written_is_a_warning_and_the_service_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    environment = {"NIM_CACHE_PATH": str(tmp_path / "file" / "cache")}
    with running(tmp_path, write_modules(tmp_path, add=ADD_ONE), environment=environment) as service:
        service.wait_ready()
        told = json.loads(service.wait_for_line('"warning"'))
        assert "compiled modules are not cached" in told["message"] and "file/cache" in told["message"]
        assert service.client.send("/v1/models/add/infer", body(1))[0] == 200


def test_the_runtimes_own_variable_goes_before_nims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTALIS_CACHE_DIR", "/mine")
    set_module_cache("/nim")
    assert os.environ["PORTALIS_CACHE_DIR"] == "/mine"
    monkeypatch.delenv("PORTALIS_CACHE_DIR")
    set_module_cache("")
    assert "PORTALIS_CACHE_DIR" not in os.environ


@pytest.mark.service
def test_it_starts_without_an_api_key_and_unknown_variables_of_nim_do_no_harm(tmp_path: Path) -> None:
    environment = {"NGC_API_KEY": "", "NIM_MODEL_PROFILE": "x", "NIM_LOG_LEVEL": "INFO", "NIM_JSONL_LOGGING": "1"}
    with running(tmp_path, write_modules(tmp_path, add=ADD_ONE), environment=environment) as service:
        service.wait_ready()
        assert service.records()


@pytest.mark.service
def test_every_example_is_in_the_manifest_with_its_checksum(tmp_path: Path) -> None:
    for name, example in EXAMPLES.items():
        (tmp_path / f"{name}.wasm").write_bytes(example.module.read_bytes())
    with serving(tmp_path, [{"name": name, "file": f"{name}.wasm"} for name in EXAMPLES]) as client:
        client.wait_ready()
        told = client.get("/v1/manifest")[1]["models"]
    assert {each["name"]: each["sha256"] for each in told} == {
        name: hashlib.sha256(example.module.read_bytes()).hexdigest() for name, example in EXAMPLES.items()
    }
