"""Any valid model of a spec: its text has the spec's settings, and a real Triton loads it unchanged."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, Phase, given, settings

from portalis.model_repository_gen import model_repository_target as target
from portalis.model_repository_gen.pbtxt import ModelConfig, from_text, new_config, to_text
from portalis.tritonserver import TritonServer
from tests.model_repository_gen import jobs, specs
from tests.running.waiting import PATIENCE_S

MODELS = 64
# accepts any request, and returns no outputs
CUSTOM_PY = """
import json
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.decoupled = json.loads(args["model_config"]).get("model_transaction_policy", {}).get("decoupled")

    def execute(self, requests):
        if not self.decoupled:
            return [pb_utils.InferenceResponse([]) for _ in requests]
        for request in requests:
            request.get_response_sender().send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(model=specs.models(metrics=True))
def test_the_text_of_any_model_has_the_settings_of_its_spec(
    tmp_path_factory: pytest.TempPathFactory, model: dict[str, Any]
) -> None:
    written = jobs.Written(jobs.make(tmp_path_factory.mktemp("any"), model))
    assert written.problems == []
    assert written.errors() == []
    (name,) = written.models
    text = (written.repository / name / "config.pbtxt").read_text(encoding="utf-8")
    config = from_text(text)
    assert to_text(config) == text
    assert from_text(to_text(config)) == config
    assert new_config().FromString(config.SerializeToString()) == config
    declared_config = model["triton_config"]
    assert config.max_batch_size == declared_config["max_batch_size"]
    for key, value in declared_config.get("backend_parameters", {}).items():
        assert config.parameters[key].string_value == value
    assert written.models[name].validated


class Loaded:
    """The server's result for each model."""

    def __init__(self, server: TritonServer, models: dict[str, ModelConfig]) -> None:
        self.ours = models
        self.url = f"http://{server.http_url}/v2"
        with ThreadPoolExecutor(4) as pool:
            self.refused = {name: why for name, why in zip(models, pool.map(self._load, models)) if why}
        self.theirs = {name: self._config(name) for name in models if name not in self.refused}

    def _load(self, name: str) -> str:
        request = urllib.request.Request(f"{self.url}/repository/models/{name}/load", data=b"{}", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S):
                return ""
        except urllib.error.HTTPError as problem:
            return problem.read().decode()
        except OSError as problem:
            return str(problem)

    def _config(self, name: str) -> ModelConfig:
        with urllib.request.urlopen(f"{self.url}/models/{name}/config", timeout=PATIENCE_S) as answer:
            return json_format.Parse(answer.read(), new_config(), ignore_unknown_fields=True)


def sample() -> list[dict[str, Any]]:
    """The same models in every run."""
    found: list[dict[str, Any]] = []
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

    @settings(
        max_examples=MODELS,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=quiet,
    )
    @given(model=specs.models())
    def collect(model: dict[str, Any]) -> None:
        found.append(model)

    collect()
    return found[:MODELS]


@pytest.fixture(scope="module")
def loaded(wasm_backends: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = tmp_path_factory.mktemp("sample")
    modules = [{**model, "name": f"{i}"} for i, model in enumerate(sample())]
    spec = jobs.make(folder, *modules)
    assert list(target.spec_problems(spec)) == []
    written = jobs.Written(spec)
    assert written.errors() == []
    backends = folder / "backends"
    shutil.copytree(wasm_backends, backends, symlinks=True)
    (backends / "mine").mkdir()
    (backends / "mine" / "model.py").write_text(CUSTOM_PY)
    # without what a backend would complete, which halves the time; the whole configuration is present
    limited = ("--rate-limit=execution_count", "--disable-auto-complete-config")
    with TritonServer(
        written.repository,
        backend_directory=backends,
        model_control="explicit",
        start_timeout_s=PATIENCE_S,
        extra_args=limited,
    ) as server:
        yield Loaded(server, {name: written.config(name) for name in written.models})


@pytest.mark.triton
@pytest.mark.slow
def test_triton_loads_every_model_of_a_sample(loaded: Loaded) -> None:
    assert len(loaded.ours) >= 60
    assert loaded.refused == {}


@pytest.mark.triton
@pytest.mark.slow
def test_triton_completes_nothing_of_a_model(loaded: Loaded) -> None:
    assert loaded.theirs
    for name, theirs in loaded.theirs.items():
        assert _decided(theirs) == _decided(loaded.ours[name])


def _decided(config: ModelConfig) -> dict[str, Any]:
    """A model's configuration without Triton's own defaults."""
    found: dict[str, Any] = json_format.MessageToDict(config, preserving_proto_field_name=True)
    for key in ("runtime", "default_model_filename"):
        found.pop(key, None)
    for group in found.pop("instance_group", []):
        found.setdefault("instance_group", []).append(
            {key: group[key] for key in ("host_policy", "rate_limiter") if key in group}
        )
    found["instance_group"] = found.get("instance_group") or [{}]
    for key in ("input_pinned_memory", "output_pinned_memory"):
        found.setdefault("optimization", {}).pop(key, None)
    for scheduler in (found.get("dynamic_batching", {}), found.get("sequence_batching", {}).get("oldest", {})):
        scheduler.pop("preferred_batch_size", None)
    return found


def test_the_sample_covers_every_feature() -> None:
    given_ = [model["triton_config"] for model in sample()]
    fields = {key for each in given_ for key, value in each.items() if value}
    assert fields >= {
        "backend_parameters", "dynamic_batching", "inputs", "instance_groups", "model_transaction_policy", "optimization",
        "outputs", "platform", "response_cache", "sequence_batching", "version_policy", "warmup",
    }  # fmt: skip
    assert {str(each.get("platform")) for each in given_} == {"WasmABI", "Python", "None", "{'Custom': 'mine'}"}
