"""docs/service.md lists every setting with its default, every variable, endpoint and metric, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from portalis.nim.service import logs
from portalis.nim.service.__main__ import CACHE_VARIABLE
from portalis.nim.service.app import create_app
from portalis.nim.service.drain import SHUTDOWN_S
from portalis.nim.service.ensemble_settings import EnsembleSettings
from portalis.nim.service.http.http_server import KEEP_ALIVE_S
from portalis.nim.service.metrics import PROTOCOLS, Metrics, write_metrics
from portalis.nim.service.ports import VARIABLES
from portalis.nim.service.settings import (
    CONTROL_VARIABLE,
    LOAD_VARIABLE,
    WORKERS_VARIABLE,
    ModelSettings,
    ServiceSettings,
)
from portalis.nim.service.workers.worker_group import group_metrics
from tests.parts import ROOT

from .serving import Client, serving

PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
SETTINGS = ServiceSettings.model_validate({"models": [{"name": "a", "file": "a.wasm"}]})


def section(title: str) -> str:
    return re.split(r"^## ", PAGE, flags=re.MULTILINE)[[*titles(), title].index(title) + 1]


def titles() -> list[str]:
    return re.findall(r"^## (.*)$", PAGE, re.MULTILINE)


def rows(text: str) -> list[list[str]]:
    """The cells of the rows of all tables in `text`, without header rows."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [
        row for row, after in zip(lines, [*lines[1:], [""]]) if not row[0].startswith("---") and after[0][:3] != "---"
    ]


@pytest.mark.parametrize(
    ("model", "title", "number"),
    [(ServiceSettings, "Settings", 0), (ModelSettings, "Settings", 1), (EnsembleSettings, "Ensembles", 0)],
)
def test_every_setting_is_documented_with_its_default(model: type[BaseModel], title: str, number: int) -> None:
    tables = re.split(r"\n\n(?=\|)", section(title))[1:]
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows(tables[number])}
    assert list(documented) == list(model.model_fields)
    for name, field in model.model_fields.items():
        if field.is_required():
            assert documented[name] == ""
            continue
        default = field.default.model_dump() if isinstance(field.default, BaseModel) else field.default
        assert json.loads(documented[name]) == (list(default) if isinstance(default, tuple) else default)


def test_the_example_of_an_ensemble_is_a_valid_document() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", section("Ensembles"), re.DOTALL)
    (found,) = ServiceSettings.model_validate_json(example).ensembles
    assert [step.model_name for step in found.steps] == ["preprocess", "classify"]


def test_every_variable_is_documented() -> None:
    documented = [row[0].strip("`") for row in rows(section("Environment"))]
    assert documented == [
        *(names[0] for names in VARIABLES.values()),
        CONTROL_VARIABLE,
        LOAD_VARIABLE,
        WORKERS_VARIABLE,
        CACHE_VARIABLE,
        logs.LEVEL_VARIABLE,
        logs.FORM_VARIABLE,
    ]
    for names in VARIABLES.values():
        assert all(f"`{name}`" in section("Environment") for name in names)
    assert all(f"`{level}`" in section("Environment") for level in logs.LEVELS)


def test_every_endpoint_is_documented(tmp_path: Path) -> None:
    cells = [row[0].replace("`", "") for row in rows(section("Endpoints"))]
    documented = {
        (cell.split()[0], path) for cell in cells if " " in cell for path in cell.split(" ", 1)[1].split(", ")
    }
    documented |= {
        (method, re.sub(r"(/v2/models/\{name\})(?!/trace)", r"\1/versions/{version}", path))
        for method, path in documented
    }
    actual = {
        (method.upper(), path)
        for path, operations in create_app(SETTINGS, tmp_path).openapi()["paths"].items()
        for method in operations
    }
    assert documented - {("GET", "/openapi.json")} == actual


def test_every_metric_is_documented_with_its_labels() -> None:
    metrics = Metrics("a", "1", ("a",), 0)
    metrics.count_failure("a", "Trap")
    actual = {}
    for family in text_string_to_metric_families(write_metrics([*metrics.document(), *group_metrics(2, 0)]).decode()):
        if family.name.startswith("wasm_service") and not family.name.endswith("_created"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            name = family.name + ("_total" if family.type == "counter" else "")
            actual[name] = (family.type, labels)
    documented = {
        row[0].strip("`"): (row[1], set(re.findall(r"`(\w+)`", row[2].split("(")[0])))
        for row in rows(section("Metrics"))
    }
    documented["wasm_service_requests_total"][1].discard("json")
    assert {name: labels for name, (_, labels) in documented.items()} == {
        name: labels for name, (_, labels) in actual.items()
    }
    for name, (kind, _) in actual.items():
        assert documented[name][0] == ("info" if name == "wasm_service_info" else kind)
    assert all(f"`{protocol}`" in section("Metrics") for protocol in PROTOCOLS)


def test_the_documented_times_are_those_of_the_code() -> None:
    assert f"for at most {SHUTDOWN_S} seconds" in section("Stopping")
    assert f"are kept for {KEEP_ALIVE_S} seconds" in section("Stopping")


@pytest.mark.service
def test_the_documented_request_works(tmp_path: Path) -> None:
    line = next(line for line in PAGE.splitlines() if "curl -s" in line)
    match = re.search(r"8000(\S+) -d '(.*)'$", line)
    assert match is not None
    (tmp_path / "softmax.wasm").write_bytes((ROOT / "examples" / "softmax" / "softmax.wasm").read_bytes())
    with serving(tmp_path, [{"name": "softmax", "file": "softmax.wasm"}]) as client:
        client.wait_ready()
        assert _send(client, match[1], match[2]) == [1.0]


def _send(client: Client, path: str, text: str) -> object:
    status, document = client.send(path, text.encode())
    assert status == 200, document
    return document["outputs"][0]["data"]
