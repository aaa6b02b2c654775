"""The shared memory extension over HTTP and gRPC: the service and a real Triton give the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from portalis.triton_client import load_model
from tests.backend.triton import models
from tests.nim.service.serving import serving
from tests.running.waiting import PATIENCE_S

from .answers import GRPC_ROWS, HTTP_ROWS, ROW, SIZE, GrpcRow, HttpRow, Target, modules
from .shared_objects import shared_object

if TYPE_CHECKING:
    from portalis.tritonserver import TritonServer


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("modules")
    for name, module in modules().items():
        (folder / f"{name}.wasm").write_bytes(module)
    with serving(folder, [{"name": name, "file": f"{name}.wasm"} for name in modules()]) as client:
        client.wait_ready()
        yield Target(client.port, client.grpc_port)


@pytest.fixture(scope="module")
def triton(shared_triton: TritonServer) -> Target:
    for name, module in modules().items():
        models.write(shared_triton.repositories[0], name, module)
        load_model(shared_triton.grpc_url, name, timeout_s=PATIENCE_S)
    return Target(shared_triton.ports.http, shared_triton.ports.grpc)


@pytest.fixture
def objects() -> Iterator[tuple[str, str]]:
    """The keys of two objects; the region ``r`` is in the first one."""
    with shared_object(SIZE) as first, shared_object(SIZE) as second:
        first.write(ROW.tobytes())
        yield first.key, second.key


@pytest.mark.service
@pytest.mark.parametrize("row", HTTP_ROWS, ids=lambda row: row.name)
def test_the_service_answers_over_http_as_triton_does(service: Target, objects: tuple[str, str], row: HttpRow) -> None:
    service.prepare(objects[0])
    status, text = row.answer(service, *objects)
    wanted = row.text.replace("KEY", objects[0])
    assert status == row.status, text
    assert text.startswith(wanted) if status >= 400 else text == wanted


@pytest.mark.service
@pytest.mark.parametrize("row", GRPC_ROWS, ids=lambda row: row.name)
def test_the_service_answers_over_grpc_as_triton_does(service: Target, objects: tuple[str, str], row: GrpcRow) -> None:
    service.prepare(objects[0])
    code, found = row.answer(service, *objects)
    assert code == row.code, found
    assert code == "OK" or str(found).startswith(row.details)


@pytest.mark.triton
def test_triton_gives_these_answers(triton: Target, objects: tuple[str, str]) -> None:
    differences: list[Any] = []
    for http_row in HTTP_ROWS:
        triton.prepare(objects[0])
        answer = http_row.answer(triton, *objects)
        if answer != (http_row.triton_status, http_row.text.replace("KEY", objects[0])):
            differences.append((http_row.name, *answer))
    for grpc_row in GRPC_ROWS:
        triton.prepare(objects[0])
        code, found = grpc_row.answer(triton, *objects)
        if code != grpc_row.code or (code != "OK" and found != grpc_row.details):
            differences.append((grpc_row.name, code, found))
    assert differences == []


@pytest.mark.triton
@pytest.mark.parametrize("row", [row for row in GRPC_ROWS if row.code == "OK"], ids=lambda row: row.name)
def test_messages_equal_those_of_triton(
    service: Target, triton: Target, objects: tuple[str, str], row: GrpcRow
) -> None:
    answers = []
    for target in (service, triton):
        target.prepare(objects[0])
        answers.append(row.answer(target, *objects))
    assert answers[0] == answers[1]
