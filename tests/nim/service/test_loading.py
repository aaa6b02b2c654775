"""Models are loaded concurrently: a model that is slow or cannot be loaded does not delay the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from portalis.nim.service.models import available_cpus

from .process import SPIN, body, running, write_modules

pytestmark = pytest.mark.service

QUICK = '(module (func (export "quick") (param $x f32) (result f32) (local.get $x)))'


def test_a_model_is_ready_while_the_warm_up_of_an_earlier_one_is_still_running(tmp_path: Path) -> None:
    models = write_modules(tmp_path, spin=SPIN, quick=QUICK)
    models[0]["limits"] = {"timeout_s": 600}
    with running(tmp_path, models) as service:
        service.wait_for_line("model 'quick' is ready")
        assert service.client.get("/v2/models/quick/ready")[0] == 200
        assert service.client.get("/v2/models/spin/ready")[0] == 503
        status, document = service.client.get("/v1/health/ready")
        assert status == 503 and "model 'spin' is still loading" in document["error"]["message"]
        assert service.client.send("/v1/models/quick/infer", body(1))[0] == 200


def test_models_that_cannot_be_loaded_do_not_stop_the_loading_of_others(tmp_path: Path) -> None:
    models = write_modules(tmp_path, one=QUICK, two=QUICK)
    for number in range(available_cpus() + 2):
        (tmp_path / f"bad{number}.wasm").write_bytes(b"not a module")
        models.insert(0, {"name": f"bad{number}", "file": f"bad{number}.wasm"})
    with running(tmp_path, models) as service:
        for name in ("one", "two"):
            service.wait_for_line(f"model '{name}' is ready")
        assert service.client.send("/v1/models/two/infer", body(1))[0] == 200


def test_slow_models_are_warmed_up_concurrently(tmp_path: Path) -> None:
    names = [f"spin{number}" for number in range(2)]
    models = write_modules(tmp_path, **dict.fromkeys(names, SPIN))
    for model in models:
        model["limits"] = {"timeout_s": 600}
    models += write_modules(tmp_path, quick=QUICK)
    with running(tmp_path, models, environment={"NIM_LOG_LEVEL": "DEBUG"}) as service:
        for name in names:
            service.wait_for_line(f"model '{name}' is loaded")
