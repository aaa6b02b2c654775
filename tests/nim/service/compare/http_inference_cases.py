"""Inference requests over HTTP: good ones, and the faults of bodies, headers, tensors, parameters and outputs."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from .exchange import HttpCase

LENGTH = "Inference-Header-Content-Length"
_A, _B = ({"name": name, "datatype": "FP32", "shape": [2], "data": [1.5, -2.25]} for name in "ab")
_BATCH_A, _BATCH_B = ({**each, "shape": [2, 1]} for each in (_A, _B))
GOOD: dict[str, Any] = {"inputs": [_BATCH_A, _BATCH_B]}
_ROWS = struct.pack("<2f", 1.5, -2.25)
_X: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}


def post(name: str, document: Any, model: str = "add", suffix: str = "", **headers: str) -> HttpCase:
    """An inference request with a body that is JSON, text or bytes."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    sent = tuple((key.replace("_", "-"), value) for key, value in headers.items())
    return HttpCase(f"http infer: {name}", "POST", f"/v2/models/{model}{suffix}/infer", body, sent)


def changed(**changes: Any) -> dict[str, Any]:
    """The good request with `changes` of input a; a value of None removes the key."""
    tensor = {key: value for key, value in {**_BATCH_A, **changes}.items() if value is not None}
    return {"inputs": [tensor, _BATCH_B]}


def binary(name: str, *, length: str | None = "", tail: bytes = 2 * _ROWS, size: Any = 8, more: Any = None) -> HttpCase:
    """A request with two binary tensors; `length` is the header's, "" the right one and None none."""
    tensors = [
        {"name": key, "datatype": "FP32", "shape": [2, 1], "parameters": {"binary_data_size": size}} for key in "ab"
    ]
    header = json.dumps({"inputs": tensors, **(more or {})}).encode()
    sent = {} if length is None else {LENGTH: length or str(len(header))}
    return post(f"binary, {name}", header + tail, **sent)


def single(name: str, datatype: str, shape: list[int], data: Any, model: str = "", **more: Any) -> HttpCase:
    """A request with one input, x."""
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "data": data, **more}
    return post(name, {"inputs": [tensor]}, model or f"echo_{datatype.lower()}")


def inference_cases() -> Iterator[HttpCase]:
    """All inference requests."""
    yield from _good()
    yield from _data_types()
    yield from _documents()
    yield from _inputs()
    yield from _parameters()
    yield from _outputs()
    yield from _binary()
    yield from _headers()


def _good() -> Iterator[HttpCase]:
    yield post("JSON", GOOD)
    yield post("version", GOOD, suffix="/versions/1")
    yield post("id", {**GOOD, "id": "seven"})
    yield post("empty id", {**GOOD, "id": ""})
    yield post("nested data", changed(data=[[1.5], [-2.25]]))
    yield post("nested data of another shape", changed(data=[[1.5, -2.25]]))
    yield post("integers as numbers", changed(data=[1, -2]))
    yield post("unknown keys", {**GOOD, "unknown": [1]})
    yield post("no rows", {"inputs": [{**each, "shape": [0, 1], "data": []} for each in (_A, _B)]})
    yield post("64 rows", {"inputs": [{**each, "shape": [64, 1], "data": [0.1] * 64} for each in (_A, _B)]})
    yield post("65 rows", {"inputs": [{**each, "shape": [65, 1], "data": [0.1] * 65} for each in (_A, _B)]})
    yield post("no outputs requested", {**GOOD, "outputs": []})
    yield post("scalar outputs", {"inputs": [{**_X, "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}]}, "sum")
    yield post("optional input missing", {"inputs": [{**_X, "shape": [1]}]}, "optional")
    yield post("optional input", {"inputs": [{**_X, "shape": [1]}, {**_X, "name": "o", "shape": [1]}]}, "optional")
    both = [
        {**_X, "name": "a", "shape": [1, 4], "data": [1, 2, 3, 4]},
        {**_X, "name": "b", "datatype": "INT32", "data": [7]},
    ]
    yield post("two outputs", {"inputs": both}, "swap")
    yield post("two outputs, inputs in the other order", {"inputs": both[::-1]}, "swap")
    yield post("one of two outputs", {"inputs": both, "outputs": [{"name": "d"}]}, "swap")
    yield post("outputs in the other order", {"inputs": both, "outputs": [{"name": "d"}, {"name": "c"}]}, "swap")
    mixed = [{"name": "d", "parameters": {"binary_data": True}}, {"name": "c", "parameters": {"binary_data": False}}]
    yield post("one binary output of two", {"inputs": both, "outputs": mixed}, "swap")
    yield post("guest that traps", {"inputs": [{**_X, "data": [1]}]}, "trap")
    yield post("guest that traps for other rows", {"inputs": [_X]}, "trap")
    yield post("guest that refuses", {"inputs": [{**_X, "data": [1]}]}, "refuse")
    yield HttpCase("http infer: query", "POST", "/v2/models/add/infer?a=b", json.dumps(GOOD).encode())
    yield HttpCase("http infer: slash", "POST", "/v2/models/add/infer/", json.dumps(GOOD).encode())
    yield HttpCase(
        "http infer: 3 times on a connection", "POST", "/v2/models/add/infer", json.dumps(GOOD).encode(), times=3
    )
    faulty = b'{"inputs": 1}'
    yield HttpCase("http infer: faults on a connection", "POST", "/v2/models/add/infer", faulty, times=3)
    yield post("unknown model", GOOD, "unknown")
    yield post("unknown model, no body", b"", "unknown")
    yield post("unknown version", GOOD, suffix="/versions/7")
    yield post("version that is no number", GOOD, suffix="/versions/x")
    text = json.dumps(GOOD).encode()
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text)
    head = b"POST /v2/models/add/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield HttpCase("http infer: chunks", "POST", "", raw=head + chunks)
    head = b"POST /v2/models/add/infer HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(text)
    yield HttpCase("http infer: HTTP/1.0", "POST", "", raw=head + text)
    yield HttpCase("http infer: no length", "POST", "", raw=b"POST /v2/models/add/infer HTTP/1.1\r\nHost: a\r\n\r\n")


def _data_types() -> Iterator[HttpCase]:
    yield single("BOOL", "BOOL", [1, 2], [True, False])
    yield single("BOOL as numbers", "BOOL", [1, 2], [1, 0])
    yield single("BOOL as text", "BOOL", [1, 1], ["true"])
    yield single("INT8", "INT8", [1, 2], [-128, 127])
    yield single("INT8 out of range", "INT8", [1, 1], [128])
    yield single("UINT8", "UINT8", [1, 2], [0, 255])
    yield single("UINT8 out of range", "UINT8", [1, 1], [-1])
    yield single("INT64", "INT64", [1, 2], [-(2**63), 2**63 - 1])
    yield single("INT64 out of range", "INT64", [1, 1], [2**63])
    yield single("INT64 as a fraction", "INT64", [1, 1], [1.5])
    yield single("INT64 as text", "INT64", [1, 1], ["1"])
    yield single("UINT64", "UINT64", [1, 2], [0, 2**64 - 1])
    yield single("UINT64 out of range", "UINT64", [1, 1], [-1])
    yield single("FP16", "FP16", [1, 1], [1.5])
    yield single("BF16", "BF16", [1, 1], [1.5])
    yield single("FP64", "FP64", [1, 2], [0.1, 1e300])
    yield single("FP64 as text", "FP64", [1, 1], ["1"])
    yield single("FP64 as null", "FP64", [1, 1], [None])
    yield single("FP64 as true", "FP64", [1, 1], [True])
    yield single("FP64 as an object", "FP64", [1, 1], [{}])
    yield single("NaN", "FP64", [1, 3], [float("nan"), float("inf"), float("-inf")])
    yield single("BYTES", "BYTES", [1, 2], ["a", "ü"])
    yield single("BYTES, empty", "BYTES", [1, 1], [""])
    yield single("BYTES as numbers", "BYTES", [1, 1], [5])
    yield single("BYTES, too few", "BYTES", [1, 3], ["a"])
    yield single("BYTES, too many", "BYTES", [1, 1], ["a", "b"])
    yield single("BYTES, quotes", "BYTES", [1, 1], ['"\\\n\0'])
    yield single("rank 3", "INT64", [2, 2, 1], [1, 2, 3, 4], "rank3")
    for datatype in ("FP16", "BF16"):
        tensor = {"name": "x", "datatype": datatype, "shape": [1, 2], "parameters": {"binary_data_size": 4}}
        text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        yield post(f"binary {datatype}", text + b"\0\x3c\0\0", f"echo_{datatype.lower()}", **{LENGTH: str(len(text))})
    for name, data in {
        "": b"\1\0\0\0a\2\0\0\0bc",
        ", one element": b"\1\0\0\0a",
        ", three elements": b"\0\0\0\0" * 3,
        ", cut": b"\1\0\0\0a\2\0\0\0b",
        ", cut length": b"\1\0\0\0a\2\0",
        ", not UTF-8": b"\1\0\0\0\xff\0\0\0\0",
    }.items():
        tensor = {"name": "x", "datatype": "BYTES", "shape": [1, 2], "parameters": {"binary_data_size": len(data)}}
        text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        yield post(f"binary BYTES{name}", text + data, "echo_bytes", **{LENGTH: str(len(text))})
    tensor = {"name": "x", "datatype": "BOOL", "shape": [1, 1], "parameters": {"binary_data_size": 1}}
    text = json.dumps({"inputs": [tensor]}).encode()
    yield post("binary BOOL that is 2", text + b"\2", "echo_bool", **{LENGTH: str(len(text))})


def _documents() -> Iterator[HttpCase]:
    for name, body in {
        "empty body": b"",
        "blank body": b" ",
        "no JSON": b"{",
        "text after JSON": json.dumps(GOOD).encode() + b"x",
        "text": b"hello",
        "no UTF-8": b'{"inputs": "\xff"}',
        "a list": b"[]",
        "a number": b"7",
        "null": b"null",
        "text in JSON": b'""',
        "no inputs": b"{}",
        "inputs null": b'{"inputs": null}',
        "inputs an object": b'{"inputs": {}}',
        "inputs text": b'{"inputs": "x"}',
        "inputs empty": b'{"inputs": []}',
        "an input that is null": b'{"inputs": [null]}',
        "an input that is a number": b'{"inputs": [1]}',
        "inputs twice": b'{"inputs": [], "inputs": 1}',
        "nested deeply": b'{"inputs": ' + b"[" * 500 + b"]" * 500 + b"}",
        "byte order mark": b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
        "comment": b"/* a */" + json.dumps(GOOD).encode(),
    }.items():
        yield post(name, body)
    identities: dict[str, Any] = {"a number": 5, "null": None, "a list": []}
    for name, identity in identities.items():
        yield post(f"id that is {name}", {**GOOD, "id": identity})


def _inputs() -> Iterator[HttpCase]:
    for key in ("name", "datatype", "shape", "data"):
        yield post(f"input without {key}", changed(**{key: None}))
    changes: Mapping[str, dict[str, Any]] = {
        "unknown name": {"name": "z"},
        "empty name": {"name": ""},
        "name that is a number": {"name": 5},
        "wrong datatype": {"datatype": "INT32"},
        "unknown datatype": {"datatype": "FP99"},
        "empty datatype": {"datatype": ""},
        "datatype in lower case": {"datatype": "fp32"},
        "datatype that is a number": {"datatype": 5},
        "shape that is a number": {"shape": 5},
        "shape with text": {"shape": ["2", 1]},
        "shape with a fraction": {"shape": [2.5, 1]},
        "negative shape": {"shape": [-2, 1]},
        "empty shape": {"shape": []},
        "rank 1": {"shape": [2]},
        "rank 3": {"shape": [2, 1, 1]},
        "rank 40": {"shape": [1] * 40},
        "huge shape": {"shape": [2**40, 2**40]},
        "shape beyond 64 bits": {"shape": [2**70, 1]},
        "other batch": {"shape": [1, 1], "data": [1]},
        "other shape": {"shape": [2, 2], "data": [1, 2, 3, 4]},
        "too few elements": {"data": [1]},
        "too many elements": {"data": [1, 2, 3]},
        "no elements": {"data": []},
        "data that is a number": {"data": 5},
        "data that is text": {"data": "x"},
        "data that is null": {"data": [None, None]},
        "data with text": {"data": ["1", "2"]},
        "data with true": {"data": [True, False]},
        "data with an object": {"data": [{}, {}]},
        "ragged data": {"data": [[1], []]},
        "parameters that are a list": {"parameters": []},
        "unknown parameter": {"parameters": {"unknown": 1}},
        "binary size, no header": {"data": None, "parameters": {"binary_data_size": 8}},
        "binary size and data": {"parameters": {"binary_data_size": 8}},
        "unknown region": {"data": None, "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8}},
        "region without size": {"data": None, "parameters": {"shared_memory_region": "r"}},
        "region and data": {"parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8}},
        "size without region": {"data": None, "parameters": {"shared_memory_byte_size": 8}},
        "base64": {"parameters": {"content_encoding": "base64"}},
    }
    for name, each in changes.items():
        yield post(f"input: {name}", changed(**each))
    yield post("input missing", {"inputs": [_BATCH_A]})
    yield post("input twice", {"inputs": [_BATCH_A, _BATCH_B, _BATCH_A]})
    yield post("input too many", {"inputs": [_BATCH_A, _BATCH_B, {**_BATCH_A, "name": "z"}]})
    yield post("both inputs unknown", {"inputs": [{**_BATCH_A, "name": "y"}, {**_BATCH_B, "name": "z"}]})
    yield post("input missing with an id", {"id": "seven", "inputs": [_BATCH_A]})
    yield post("required input missing", {"inputs": [{**_X, "name": "o", "shape": [1]}]}, "optional")
    yield single("fixed size", "FP32", [3], [1, 2, 3], "fixed")
    yield single("wrong fixed size", "FP32", [2], [1, 2], "fixed")
    yield single("wrong rank without batches", "FP32", [1, 3], [1, 2, 3], "fixed")
    yield single("no size", "FP32", [0], [], "fixed")
    yield single("wrong inner size", "INT64", [1, 3, 1], [1, 2, 3], "rank3")


def _parameters() -> Iterator[HttpCase]:
    all_parameters: dict[str, Any] = {
        "empty": {},
        "null": None,
        "a list": [],
        "text": "x",
        "unknown": {"mine": 1, "other": "x", "third": True},
        "unknown fraction": {"mine": 1.5},
        "unknown null": {"mine": None},
        "unknown list": {"mine": [1]},
        "reserved": {"triton_enable_empty_final_response": True},
        "reserved for others": {"triton_x": 1},
        "timeout": {"timeout": 100_000_000},
        "timeout 0": {"timeout": 0},
        "negative timeout": {"timeout": -1},
        "timeout that is text": {"timeout": "x"},
        "timeout that is a fraction": {"timeout": 1.5},
        "priority": {"priority": 1},
        "priority 0": {"priority": 0},
        "negative priority": {"priority": -1},
        "priority that is text": {"priority": "x"},
        "sequence id": {"sequence_id": 5},
        "sequence id 0": {"sequence_id": 0},
        "sequence id that is text": {"sequence_id": "s"},
        "sequence id that is a list": {"sequence_id": []},
        "sequence start": {"sequence_start": True},
        "sequence start that is a number": {"sequence_start": 1},
        "sequence": {"sequence_id": 5, "sequence_start": True, "sequence_end": True},
        "binary output": {"binary_data_output": True},
        "no binary output": {"binary_data_output": False},
        "binary output that is a number": {"binary_data_output": 1},
        "guest timeout": {"wasm.timeout_ms": 5000},
        "guest timeout 0": {"wasm.timeout_ms": 0},
        "guest timeout that is text": {"wasm.timeout_ms": "x"},
        "unknown guest parameter": {"wasm.other": 1},
    }
    for name, parameters in all_parameters.items():
        yield post(f"parameters: {name}", {**GOOD, "parameters": parameters})


def _outputs() -> Iterator[HttpCase]:
    region = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
    all_outputs: dict[str, Any] = {
        "null": None,
        "an object": {},
        "text": "x",
        "a number in the list": [1],
        "without name": [{}],
        "name that is a number": [{"name": 5}],
        "unknown": [{"name": "z"}],
        "twice": [{"name": "y"}, {"name": "y"}],
        "known and unknown": [{"name": "y"}, {"name": "z"}],
        "binary": [{"name": "y", "parameters": {"binary_data": True}}],
        "binary that is a number": [{"name": "y", "parameters": {"binary_data": 1}}],
        "binary that is text": [{"name": "y", "parameters": {"binary_data": "x"}}],
        "parameters that are a list": [{"name": "y", "parameters": []}],
        "parameters that are null": [{"name": "y", "parameters": None}],
        "unknown parameter": [{"name": "y", "parameters": {"mine": 1}}],
        "classes": [{"name": "y", "parameters": {"classification": 1}}],
        "classes, binary": [{"name": "y", "parameters": {"classification": 1, "binary_data": True}}],
        "0 classes": [{"name": "y", "parameters": {"classification": 0}}],
        "classes beyond": [{"name": "y", "parameters": {"classification": 5}}],
        "negative classes": [{"name": "y", "parameters": {"classification": -1}}],
        "classes that are text": [{"name": "y", "parameters": {"classification": "x"}}],
        "unknown region": [{"name": "y", "parameters": region}],
        "region and classes": [{"name": "y", "parameters": {**region, "classification": 1}}],
        "region and binary": [{"name": "y", "parameters": {**region, "binary_data": True}}],
        "region without size": [{"name": "y", "parameters": {"shared_memory_region": "r"}}],
    }
    for name, outputs in all_outputs.items():
        yield post(f"outputs: {name}", {**GOOD, "outputs": outputs})


def _binary() -> Iterator[HttpCase]:
    yield binary("good")
    yield binary("binary output", more={"parameters": {"binary_data_output": True}})
    yield binary("id", more={"id": "seven", "outputs": [{"name": "y", "parameters": {"binary_data": True}}]})
    for name, length in {
        "no header": None,
        "negative header": "-1",
        "header of 0": "0",
        "header too large": "100000",
        "header that is text": "x",
        "header with a fraction": "12.5",
        "header too short": "20",
        "header with spaces": " 5 ",
        "huge header": "99999999999999999999",
    }.items():
        yield binary(name, length=length)
    yield binary("tail too short", tail=_ROWS)
    yield binary("no tail", tail=b"")
    yield binary("tail cut", tail=2 * _ROWS[:-1])
    yield binary("tail too long", tail=3 * _ROWS)
    yield binary("sizes too small", size=4, tail=_ROWS)
    yield binary("sizes too small, tail of the shape", size=4)
    yield binary("sizes too large", size=12, tail=3 * _ROWS)
    for name, size in {"negative": -8, "text": "8", "fraction": 8.0, "true": True, "null": None, "0": 0}.items():
        yield binary(f"size that is {name}", size=size)
    yield post("header for JSON", GOOD, **{LENGTH: str(len(json.dumps(GOOD)))})


def _headers() -> Iterator[HttpCase]:
    text = json.dumps(GOOD).encode()
    for kind in (
        "application/json",
        "application/octet-stream",
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
        "x",
    ):
        yield post(f"Content-Type {kind}", GOOD, Content_Type=kind)
    zipped, deflated = gzip.compress(text, mtime=0), zlib.compress(text)
    yield post("gzip", zipped, Content_Encoding="gzip")
    yield post("deflate", deflated, Content_Encoding="deflate")
    yield post("identity", GOOD, Content_Encoding="identity")
    yield post("empty encoding", GOOD, Content_Encoding="")
    yield post("unknown encoding", GOOD, Content_Encoding="br")
    yield post("two encodings", zipped, Content_Encoding="gzip, gzip")
    yield post("GZIP", zipped, Content_Encoding="GZIP")
    yield post("x-gzip", zipped, Content_Encoding="x-gzip")
    yield post("gzip that is not", GOOD, Content_Encoding="gzip")
    yield post("gzip, cut", zipped[:-20], Content_Encoding="gzip")
    yield post("deflate that is not", GOOD, Content_Encoding="deflate")
    for accepted in (
        "gzip",
        "deflate",
        "gzip, deflate",
        "deflate, gzip",
        "identity",
        "*",
        "br",
        "gzip;q=0",
        "br;q=1.0, gzip;q=0.8",
        "",
        "GZIP",
    ):
        yield post(f"Accept-Encoding {accepted}", GOOD, Accept_Encoding=accepted)
    yield post("error in gzip", b"{}", Accept_Encoding="gzip")
    yield post("Expect", GOOD, Expect="other")
