"""Raw binary requests, classes, encodings and content types: the service and a real Triton give the same responses."""

from __future__ import annotations

import gzip
import http.client
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from portalis.triton_client import load_model
from portalis.tritonserver import TritonServer
from tests.backend import guests
from tests.backend.guests import tensor
from tests.backend.triton import models
from tests.nim.service.serving import serving
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.service
LENGTH = "inference-header-content-length"
HEADERS = ("content-type", "content-encoding", LENGTH)
KINDS = {"FP32": "f32", "UINT8": "i32", "INT64": "i64"}
LABELS = b"zero\n\ntwo\r\nz\xc3\xbcrich\nfour"
ROW = struct.pack("<3f", 1.5, -2.25, 4)
Case = tuple[str, bytes, dict[str, str]]


def labeled(kind: str) -> tuple[bytes, str, dict[str, Any]]:
    """An elementwise model whose output has labels: its module, its configuration and its settings in the service."""
    text = f'(module (func (export "same") (param $x {KINDS[kind]}) (result {KINDS[kind]}) (local.get $x)))'
    side = f'name: "%s" data_type: TYPE_{kind} dims: [-1]'
    config = f'max_batch_size: 8\ninput {{ {side % "x"} }}\noutput {{ {side % "y"} label_filename: "labels.txt" }}\n'
    tensors = {"inputs": [tensor("x", kind)], "outputs": [tensor("y", kind)], "max_batch_size": 8}
    return bytes(wasmtime.wat2wasm(text)), config, {"interface": tensors, "labels": {"y": "labels.txt"}}


def echo(kind: str, dims: tuple[int, ...], batch: int = 0) -> tuple[bytes, str, dict[str, Any]]:
    body = models.BYTES_ECHO if kind == "BYTES" else guests.ECHO_BODY
    x, y = (tensor(name, kind, dims) for name in "xy")
    return guests.dlpack(body, inputs=[x], outputs=[y], batch=batch), "", {}


TWO = guests.dlpack(guests.ECHO_BODY, inputs=[tensor("x"), tensor("z")], outputs=[tensor("y")])
MODELS = {
    **{f"forms_{kind}": labeled(kind) for kind in KINDS},
    "forms_fixed": echo("FP32", (3,), batch=4),
    "forms_rank3": echo("INT64", (2, -1, 2)),
    "forms_two": (TWO, "", {}),
    "forms_open": echo("INT64", (-1, -1)),
    "forms_texts": echo("BYTES", (2,)),
    "forms_text": echo("BYTES", (1,)),
    "forms_bf16": echo("BF16", (-1,), batch=2),
    "forms_scalar": echo("FP32", (), batch=4),
}


def raw(model: str, body: bytes, **headers: str) -> Case:
    return f"forms_{model}", body, {LENGTH: "0", **{key.replace("_", "-"): value for key, value in headers.items()}}


def document(
    kind: str = "FP32", data: list[Any] | None = None, shape: list[int] | None = None, **changes: Any
) -> bytes:
    values = [1.5, -2.25, 4] if data is None else data
    inputs = [{"name": "x", "datatype": kind, "shape": shape or [1, len(values)], "data": values}]
    return json.dumps({"inputs": inputs, **changes}).encode()


def classes(count: int, kind: str = "FP32", data: list[Any] | None = None, **more: Any) -> Case:
    shape = more.pop("shape", None)
    outputs = [{"name": "y", "parameters": {"classification": count, **more}}]
    return f"forms_{kind}", document(kind, data, shape, outputs=outputs), {}


def encoded(**headers: str) -> Case:
    body = document()
    encoding = headers.get("Content_Encoding")
    body = gzip.compress(body) if encoding == "gzip" else zlib.compress(body) if encoding == "deflate" else body
    return "forms_FP32", body, {key.replace("_", "-"): value for key, value in headers.items()}


ACCEPTED = (
    "gzip", "deflate", "gzip, deflate", "deflate, gzip", "gzip;q=0.5, deflate", "gzip;q=0.2,deflate;q=0.5",
    "gzip;q=0.5,deflate;q=0.5", "identity, gzip", "*", "gzip;q=0", "GZIP", "gzip; q=0.5", "gzip;q=abc", "gzip;q=",
    "br, gzip", "gzip;q=-1", "gzip;q=.5", "gzip;q=1x", "gzip;q=1e-3,deflate;q=0.0001", ";q=1", "gzip,,deflate;q=3",
)  # fmt: skip
BF16_CLASSES = json.dumps(
    {
        "inputs": [{"name": "x", "datatype": "BF16", "shape": [1, 1], "parameters": {"binary_data_size": 2}}],
        "outputs": [{"name": "y", "parameters": {"classification": 1}}],
    }
).encode()
BINARY = {"binary_data_output": True}
CASES: dict[str, Case] = {
    "raw": raw("FP32", ROW),
    "raw, no data": raw("FP32", b""),
    "raw, no header": ("forms_FP32", b"", {}),
    "raw, fixed shape": raw("fixed", ROW),
    "raw, variable dimension": raw("rank3", bytes(64)),
    "raw, BYTES": raw("text", b"hello\n"),
    "raw, empty BYTES": raw("text", b""),
    "raw, BF16": raw("bf16", b"\0\1\2\3"),
    "raw, scalar": raw("scalar", ROW[:4]),
    "raw, compressed": raw("FP32", gzip.compress(ROW), Content_Encoding="gzip"),
    "raw, compressed response": raw("FP32", ROW, Accept_Encoding="deflate"),
    "scalars": ("forms_scalar", document(data=[1.5, 2], shape=[2, 1]), {}),
    **{f"{count} classes": classes(count) for count in (0, 1, 2, 3, 4, 2**31, 2**64 - 1)},
    "classes of rows": classes(2, data=[1, 2, 3, 6, 5, 4], shape=[2, 3]),
    "classes as raw bytes": classes(2, binary_data=True),
    "classes of UINT8": classes(3, "UINT8", [1, 255, 3]),
    "classes of INT64": classes(5, "INT64", [-(2**63), 2**63 - 1, 0, 7, -7]),
    "classes of large and small numbers": classes(3, data=[1e38, -0.0, 1e-9]),
    "an id": ("forms_FP32", document(id="7"), {}),
    "an empty id": ("forms_FP32", document(id=""), {}),
    "all outputs raw": ("forms_FP32", document(parameters=BINARY), {}),
    "no outputs listed, raw": ("forms_FP32", document(outputs=[], parameters=BINARY), {}),
    "outputs listed, raw": ("forms_FP32", document(outputs=[{"name": "y"}], parameters=BINARY), {}),
    "no elements, raw": ("forms_FP32", document(data=[], shape=[1, 0], parameters=BINARY), {}),
    **{f"content type {kind}": encoded(Content_Type=kind) for kind in ("application/octet-stream", "text/plain", "x")},
    **{f"encoding {name}": encoded(Content_Encoding=name) for name in ("gzip", "deflate", "identity")},
    **{f"accepted {name}": encoded(Accept_Encoding=name) for name in ACCEPTED},
}
FAULTS: dict[str, Case] = {
    "raw, part of an element": raw("FP32", ROW[:-1]),
    "raw, too long": raw("fixed", 2 * ROW),
    "raw, two inputs": raw("two", ROW),
    "raw, two variable dimensions": raw("open", ROW),
    "raw, several BYTES": raw("texts", b"hello"),
    "negative length": ("forms_FP32", ROW, {LENGTH: "-1"}),
    "length beyond the body": ("forms_FP32", ROW, {LENGTH: "13"}),
    "unknown encoding": encoded(Content_Encoding="br"),
    "two encodings": encoded(Content_Encoding="gzip, gzip"),
    "nothing compressed": ("forms_FP32", b"", {"Content-Encoding": "gzip"}),
    "classes of BF16": ("forms_bf16", BF16_CLASSES + b"\0\0", {LENGTH: str(len(BF16_CLASSES))}),
}


@pytest.fixture(scope="module")
def ports(shared_triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The HTTP ports of a Triton and of a service with the same models."""
    repository, folder = shared_triton.repositories[0], tmp_path_factory.mktemp("modules")
    settings = []
    for name, (module, config, more) in MODELS.items():
        models.write(repository, name, module, models.BARE + config)
        (repository / name / "labels.txt").write_bytes(LABELS)
        load_model(shared_triton.grpc_url, name, timeout_s=PATIENCE_S)
        (folder / f"{name}.wasm").write_bytes(module)
        settings.append({"name": name, "file": f"{name}.wasm", **more})
    Path(folder / "labels.txt").write_bytes(LABELS)
    with serving(folder, settings) as client:
        client.wait_ready()
        yield shared_triton.ports.http, client.port


def send(port: int, case: Case) -> tuple[int, dict[str, str | None], bytes, dict[str, Any]]:
    """The response: its status, headers, decompressed raw tensors, and JSON."""
    model, body, headers = case
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("POST", f"/v2/models/{model}/infer", body, headers)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    found = {name: response.getheader(name) for name in HEADERS}
    content = zlib.decompress(content, 47) if found["content-encoding"] else content
    length = int(found[LENGTH] or len(content))
    return response.status, found, content[length:], json.loads(content[:length])


@pytest.mark.parametrize("name", CASES)
def test_a_response_is_that_of_a_real_triton(ports: tuple[int, int], name: str) -> None:
    theirs, ours = (send(port, CASES[name]) for port in ports)
    assert theirs[0] == 200, theirs
    assert ours == theirs
    assert list(ours[3]) == list(theirs[3]), "the order of the keys"


@pytest.mark.parametrize("name", FAULTS)
def test_an_error_begins_with_that_of_a_real_triton(ports: tuple[int, int], name: str) -> None:
    theirs, ours = (send(port, FAULTS[name]) for port in ports)
    assert (ours[0], ours[3]["error"].partition("; ")[0]) == (theirs[0], theirs[3]["error"])
