"""One service with the models of Triton's client examples, for the tests of clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nim.service.serving import serving

from .example_models import ENSEMBLE, ENSEMBLE_SETTINGS, all_models, write_service
from .image_runs import write_images
from .management_runs import CONTROLLED
from .target import Target


@pytest.fixture(scope="package")
def service_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder, images = tmp_path_factory.mktemp("modules"), tmp_path_factory.mktemp("images")
    write_images(images)
    models = all_models()
    settings = {
        "name": "triton",
        "ensembles": [ENSEMBLE_SETTINGS],
        "model_control": "explicit",
        "load_models": [*models, ENSEMBLE],
    }
    controlled = {CONTROLLED: models["simple"]}
    with serving(folder, write_service(folder, {**models, **controlled}), **settings) as client:
        client.wait_loaded()
        metrics = f"127.0.0.1:{client.metrics_port}/metrics"
        yield Target(f"127.0.0.1:{client.port}", f"127.0.0.1:{client.grpc_port}", images, metrics)
