"""A real Triton and the service accept and reject the same ensembles, for the same reasons."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from portalis.errors import PortalisError
from portalis.model_repository_gen.message import build_ensemble_config
from portalis.model_repository_gen.pbtxt import to_text
from portalis.nim.service.memory_budget import MemoryBudget
from portalis.nim.service.models import ServedModels
from portalis.nim.service.module_model import SchedulerOptions
from portalis.nim.service.settings import ServiceSettings, describe_settings_error
from portalis.spec.triton import Ensemble
from portalis.triton_client import load_model
from portalis.tritonserver import TritonServer
from tests.backend import guests
from tests.backend.guests import tensor
from tests.nim.service.test_ensemble_checks import ensemble, step
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.triton
_SECOND_OUTPUT = "".join(
    f"(i32.store offset={40 + at} (local.get $out) (i32.load offset={at} (local.get $in)))" for at in (0, 12, 20)
)


def echo(
    dims: tuple[int, ...] = (-1,),
    batch: int = 0,
    dtype: str = "FP32",
    inputs: str = "a",
    outputs: str = "y",
    optional: str = "",
) -> bytes:
    """A module whose outputs are its first input."""
    body = (_SECOND_OUTPUT if len(outputs) > 1 else "") + guests.ECHO_BODY
    declared = [tensor(name, dtype, dims, **({"optional": True} if name in optional else {})) for name in inputs]
    return guests.dlpack(body, inputs=declared, outputs=[tensor(name, dtype, dims) for name in outputs], batch=batch)


MODULES = {
    "rule_m": echo(),
    "rule_two": echo(inputs="ab"),
    "rule_optional": echo(inputs="ab", optional="b"),
    "rule_integers": echo(dtype="INT32"),
    "rule_wide": echo((-1, 2)),
    "rule_three": echo((3,)),
    "rule_batch": echo(batch=4),
    "rule_batch3": echo((3,), 4),
    "rule_outputs": echo(outputs="yz"),
}


def one(model: str, inputs: str, outputs: str, **others: Any) -> dict[str, Any]:
    return step(f"rule_{model}", inputs, outputs, **others)


def sized(document: dict[str, Any], *dims: int) -> dict[str, Any]:
    for each in (*document["inputs"], *document["outputs"]):
        each["dims"] = list(dims)
    return document


def _cases() -> Iterator[tuple[str, dict[str, Any]]]:
    m = one("m", "x", "r")
    yield "one step", ensemble("e", "x", "r", m)
    yield "an input is not mapped", ensemble("e", "x", "r", one("two", "x", "r"))
    yield "an optional input is not mapped", ensemble("e", "x", "r", one("optional", "x", "r"))
    yield "an unknown input", ensemble("e", "x w", "r", one("m", "x w", "r"))
    yield "an unknown output", ensemble("e", "x", "r s", one("m", "x", "r s"))
    yield "an output is not mapped", ensemble("e", "x", "r", one("outputs", "x", "r"))
    yield "a data type", ensemble("e", "x", "r", one("integers", "x", "r"))
    yield "a data type between steps", ensemble("e", "x", "r", one("m", "x", "t"), one("integers", "t", "r"))
    yield "a rank", ensemble("e", "x", "r", one("wide", "x", "r"))
    yield "a size", sized(ensemble("e", "x", "r", one("three", "x", "r")), 4)
    yield "any size", ensemble("e", "x", "r", one("three", "x", "r"))
    yield "larger batches than a step", ensemble("e", "x", "r", one("batch", "x", "r"), max_batch_size=8)
    yield "smaller batches than a step", ensemble("e", "x", "r", one("batch", "x", "r"), max_batch_size=2)
    yield "a step with batches", ensemble("e", "x", "r", one("batch", "x", "r"))
    yield "a step without batches", ensemble("e", "x", "r", m, max_batch_size=2)
    yield (
        "a step with the batch as a dimension",
        sized(ensemble("e", "x", "r", one("wide", "x", "r"), max_batch_size=2), 2),
    )
    yield "the batch of a step as a dimension", sized(ensemble("e", "x", "r", one("batch3", "x", "r")), -1, 3)
    yield "a rank with the batch", sized(ensemble("e", "x", "r", one("batch3", "x", "r")), 2, -1, 3)
    yield "an unused tensor", ensemble("e", "x", "r", one("outputs", "x", "r t"))
    yield "an unused input", ensemble("e", "x w", "r", m)
    yield "an input that is an output", ensemble("e", "x", "x r", m)
    yield "a tensor that is written twice", ensemble("e", "x", "r", m, m)
    yield (
        "steps in a circle",
        ensemble("e", "x", "r", one("two", "x t", "u"), one("two", "u x", "t"), one("m", "u", "r")),
    )
    yield "a step in a circle next to the others", ensemble("e", "x", "r", m, one("m", "t", "t"))
    yield "an unknown tensor", ensemble("e", "x", "r", one("two", "x q", "r"))
    yield "an output that is not written", ensemble("e", "x", "r s", m)
    yield "an unknown model", ensemble("e", "x", "r", one("nothing", "x", "r"))
    yield "an unknown version", ensemble("e", "x", "r", one("m", "x", "r", model_version=2))


CASES = dict(_cases())
STRICTER = {
    "an input that a step writes": ensemble("e", "x", "r", one("outputs", "x", "x r")),
    "two inputs of one name": ensemble("e", "x x", "r", one("m", "x", "r")),
    "two outputs of one name": ensemble("e", "x", "r r", one("m", "x", "r")),
}
"""Ensembles that Triton accepts, although no request can be meant by them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_triton: TritonServer) -> Path:
    """The directory of the modules, which the server has too."""
    folder = tmp_path_factory.mktemp("modules")
    for name, module in MODULES.items():
        version = shared_triton.repositories[0] / name / "1"
        version.mkdir(parents=True)
        (version / "model.wasm").write_bytes(module)
        (version.parent / "config.pbtxt").write_text('backend: "wasm"\n')
        (folder / f"{name}.wasm").write_bytes(module)
    return folder


def on_triton(server: TritonServer, document: dict[str, Any]) -> str:
    """The reason why Triton does not load the ensemble; "" if it does."""
    config = build_ensemble_config(Ensemble.model_validate_json(json.dumps(document)), {})
    version = server.repositories[0] / document["name"] / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(to_text(config))
    try:
        load_model(server.grpc_url, document["name"], timeout_s=PATIENCE_S)
    except PortalisError as error:
        return error.message.removeprefix(f"load failed for model '{document['name']}': ").strip()
    return ""


def in_service(folder: Path, document: dict[str, Any]) -> str:
    """The reason why the service does not load the ensemble; "" if it does."""
    names = [name for name in MODULES if any(name == each["model_name"] for each in document["steps"])] or list(MODULES)
    settings = {"models": [{"name": name, "file": f"{name}.wasm"} for name in names], "ensembles": [document]}
    try:
        checked = ServiceSettings.model_validate(settings)
    except ValidationError as error:
        return describe_settings_error(error)
    models = ServedModels(checked, folder, SchedulerOptions(), MemoryBudget(1 << 30))
    models.start()
    model = models[document["name"]]
    model.settled.wait()
    models.close()
    return model.failure


def named(case: str) -> dict[str, Any]:
    """The ensemble of a case, with a name of its own."""
    document = {**CASES, **STRICTER}[case]
    return {**document, "name": "rule_" + case.replace(" ", "_")}


@pytest.mark.parametrize("case", CASES)
def test_the_same_ensembles_are_rejected_with_tritons_reason(
    shared_triton: TritonServer, folder: Path, case: str
) -> None:
    theirs, ours = on_triton(shared_triton, named(case)), in_service(folder, named(case))
    if "failed to poll" in theirs or "not available" in theirs or "is not loaded" in theirs:
        # reported to Triton's log only, or before the models are loaded here
        assert ours.startswith("ensembles[0].")
    else:
        assert ours.startswith(theirs) and bool(ours) is bool(theirs)


@pytest.mark.parametrize("case", STRICTER)
def test_the_service_rejects_some_ensembles_that_triton_accepts(
    shared_triton: TritonServer, folder: Path, case: str
) -> None:
    assert on_triton(shared_triton, named(case)) == ""
    assert in_service(folder, named(case)).startswith("ensembles[0].")
