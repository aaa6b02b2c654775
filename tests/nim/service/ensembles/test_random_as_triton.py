"""Random chains of models with and without batches: a real Triton and the service load the same ones, and compute the
same from tensors of various shapes."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from portalis.nim.service.memory_budget import MemoryBudget
from portalis.nim.service.models import ServedModels
from portalis.nim.service.module_model import SchedulerOptions
from portalis.nim.service.request_errors import RequestError
from portalis.nim.service.served_model import ServedModel
from portalis.nim.service.settings import ServiceSettings
from portalis.tritonserver import TritonServer
from tests.nim.service.test_ensemble_checks import ensemble, step
from tests.running.waiting import PATIENCE_S

from .members import asking
from .test_rules_as_triton import echo, on_triton

pytestmark = pytest.mark.triton
MODULES = {
    "chain_vector": echo(),
    "chain_vectors": echo(batch=4),
    "chain_matrix": echo((-1, -1)),
    "chain_matrices": echo((-1, -1), 4),
    "chain_three": echo((3,)),
    "chain_threes": echo((3,), 4),
    "chain_rows": echo((-1, 3)),
}
DIMS = ([-1], [3], [-1, -1], [-1, 3])
SHAPES = ((3,), (1, 3), (2, 3), (3, 3), (1, 1, 3), (1, 2, 3), (2, 2, 3))


def chains(number: int) -> list[dict[str, Any]]:
    """Random ensembles of one to three steps; the same in each run."""
    draw, documents = random.Random(7), []
    for i in range(number):
        tensors = ["x", *(f"t{k}" for k in range(draw.randint(0, 2))), "r"]
        steps = [step(draw.choice(list(MODULES)), one, other) for one, other in itertools.pairwise(tensors)]
        document = ensemble(f"chain_{i}", "x", "r", *steps, max_batch_size=draw.choice((0, 2, 2)))
        document["inputs"][0]["dims"], document["outputs"][0]["dims"] = draw.choice(DIMS), draw.choice(DIMS)
        documents.append(document)
    return documents


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, shared_triton: TritonServer) -> Iterator[ServedModels]:
    """The models of the service, which the server has too."""
    folder = tmp_path_factory.mktemp("modules")
    for name, module in MODULES.items():
        version = shared_triton.repositories[0] / name / "1"
        version.mkdir(parents=True)
        (version / "model.wasm").write_bytes(module)
        (version.parent / "config.pbtxt").write_text('backend: "wasm"\n')
        (folder / f"{name}.wasm").write_bytes(module)
    settings = {"models": [{"name": name, "file": f"{name}.wasm"} for name in MODULES], "ensembles": chains(100)}
    served = ServedModels(ServiceSettings.model_validate(settings), folder, SchedulerOptions(), MemoryBudget(1 << 30))
    served.start()
    for model in served.values():
        model.settled.wait()
    yield served
    served.close()


Result = tuple[int, Any]


def of_triton(server: TritonServer, name: str, x: np.ndarray) -> Result:
    """The status, and shape and elements of the output."""
    tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.ravel().tolist()}
    url = f"http://{server.http_url}/v2/models/{name}/infer"
    request = urllib.request.Request(url, data=json.dumps({"inputs": [tensor]}).encode())
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            (output,) = json.load(response)["outputs"]
            return 200, (output["shape"], output["data"])
    except urllib.error.HTTPError as error:
        return error.code, None


def of_service(model: ServedModel, x: np.ndarray) -> Result:
    """The same of the service."""
    try:
        output = asyncio.run(model.run(asking(model, x=x)))["r"]
    except RequestError as error:
        return error.status, None
    return 200, (list(output.shape), output.ravel().tolist())


def test_random_chains_are_loaded_and_compute_as_on_triton(shared_triton: TritonServer, models: ServedModels) -> None:
    results, loaded = list[int](), 0
    for document in chains(100):
        model = models[document["name"]]
        assert bool(on_triton(shared_triton, document)) is bool(model.failure), document
        if model.failure:
            continue
        loaded += 1
        for shape in SHAPES:
            x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
            theirs = of_triton(shared_triton, document["name"], x)
            assert of_service(model, x) == theirs, (document, shape)
            results.append(theirs[0])
    assert loaded > 20 and results.count(200) > 40 and results.count(400) > 40
