"""Operation of the service: its metrics, its cache of compiled modules, and the environment of NIM."""

from __future__ import annotations

import json
import os
import stat
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from portalis.nim.service.__main__ import set_module_cache

from .process import Service, body, running, write_modules
from .serving import serving

ADD_ONE = '(module (func (export "add") (param $x f32) (result f32) (f32.add (local.get $x) (f32.const 1))))'
TRAP = '(module (func (export "trap") (param $x f32) (result f32) unreachable))'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("shop")
    with running(folder, write_modules(folder, add=ADD_ONE)) as service:
        service.wait_ready()
        yield service


def metrics(text: str) -> dict[tuple[str, str], float]:
    """The values of the metrics, by name and the values of the labels."""
    return {
        (sample.name, ",".join(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.service
def test_metrics_count_requests_latency_queue_batches_and_failures(tmp_path: Path) -> None:
    models = write_modules(tmp_path, add=ADD_ONE, trap=TRAP)
    with serving(tmp_path, models) as client:
        client.wait_loaded()
        for _ in range(3):
            assert client.send("/v1/models/add/infer", body(1, 2))[0] == 200
        assert client.send("/v1/models/add/infer", b"{")[0] == 400
        assert client.send("/v1/models/trap/infer", body(1))[0] == 500
        values = metrics(client.get("/metrics", port=client.metrics_port)[1])
    assert values["wasm_service_requests_total", "200,add,json"] == 3
    assert values["wasm_service_requests_total", "400,add,json"] == 1
    assert values["wasm_service_requests_total", "500,trap,json"] == 1
    assert values["wasm_service_requests_total", "200,add,grpc"] == 0
    assert values["wasm_service_request_seconds_count", "add"] == 4
    assert values["wasm_service_queue_requests", "add"] == 0
    assert values["wasm_service_queue_seconds_count", "add"] == 3
    assert values["wasm_service_batch_requests_sum", "add"] == 3
    assert values["wasm_service_batch_rows_sum", "add"] == 3
    assert values["wasm_service_failures_total", "Trap,trap"] == 1
    assert values["wasm_service_traps_total", "trap"] == 1
    assert values["wasm_service_traps_total", "add"] == 0
    assert values["wasm_service_active_requests", ""] == 0
    assert values["wasm_service_ready", ""] == 0


@pytest.mark.service
def test_metrics_are_the_same_on_both_ports_in_prometheus_format(service: Service) -> None:
    ports = (("/v1/metrics", service.client.port), ("/metrics", service.client.port))
    for path, port in (*ports, ("/metrics", service.client.metrics_port)):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as response:
            assert response.headers["content-type"].startswith("text/plain; version=")
            assert metrics(response.read().decode())["wasm_service_ready", ""] == 1


def compiled_modules(folder: Path) -> list[Path]:
    return list(folder.rglob("*.code"))


@pytest.mark.service
def test_compiled_modules_are_cached_in_nims_cache_path_for_this_user_only(tmp_path: Path) -> None:
    cache = tmp_path / "nim cache"
    models = write_modules(tmp_path, add=ADD_ONE)
    cached = []
    for _ in range(2):
        with running(tmp_path, models, environment={"NIM_CACHE_PATH": str(cache)}) as service:
            service.wait_ready()
            service.process.terminate()
            assert service.end() == 0, service.text()
        cached.append({(path, path.stat().st_ino) for path in compiled_modules(cache)})
    assert cached[0] == cached[1]  # the guest and the modules generated for it are compiled once
    assert cached[0]
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path, _ in cached[0]} == {0o700}
    assert '"warning"' not in service.text()


@pytest.mark.service
def test_a_cache_that_is_not_writable_is_only_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    environment = {"NIM_CACHE_PATH": str(tmp_path / "file" / "cache")}
    with running(tmp_path, write_modules(tmp_path, add=ADD_ONE), environment=environment) as service:
        service.wait_ready()
        record = json.loads(service.wait_for_line('"warning"'))
        assert "compiled modules are not cached" in record["message"] and "file/cache" in record["message"]
        assert service.client.send("/v1/models/add/infer", body(1))[0] == 200


def test_the_runtimes_cache_variable_overrides_that_of_nim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTALIS_CACHE_DIR", "/runtime")
    set_module_cache("/nim")
    assert os.environ["PORTALIS_CACHE_DIR"] == "/runtime"
    monkeypatch.delenv("PORTALIS_CACHE_DIR")
    set_module_cache("")
    assert "PORTALIS_CACHE_DIR" not in os.environ


@pytest.mark.service
def test_it_starts_without_an_api_key_and_ignores_unknown_variables_of_nim(tmp_path: Path) -> None:
    environment = {"NGC_API_KEY": "", "NIM_MODEL_PROFILE": "x", "NIM_LOG_LEVEL": "INFO", "NIM_JSONL_LOGGING": "1"}
    with running(tmp_path, write_modules(tmp_path, add=ADD_ONE), environment=environment) as service:
        service.wait_ready()
        assert service.records()
