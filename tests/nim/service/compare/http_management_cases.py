"""Requests over HTTP to every route except inference: good ones, and the faults of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .exchange import HttpCase

_MODEL = "/v2/models/add"
# the cases of a path are its methods
_METHODS = {
    "/v2": ("GET", "HEAD", "POST"),
    "/v2/health/live": ("GET", "HEAD", "POST"),
    "/v2/health/ready": ("GET", "HEAD", "POST", "PUT"),
    "/v2/models/stats": ("POST",),
    _MODEL: ("GET", "HEAD", "POST", "DELETE"),
    f"{_MODEL}/versions/1": ("GET", "POST"),
    f"{_MODEL}/ready": ("GET", "HEAD", "POST"),
    f"{_MODEL}/versions/1/ready": ("GET",),
    f"{_MODEL}/config": ("GET", "HEAD", "POST"),
    f"{_MODEL}/versions/1/config": ("GET",),
    f"{_MODEL}/stats": ("GET", "POST"),
    f"{_MODEL}/versions/1/stats": ("GET",),
    f"{_MODEL}/infer": ("GET", "HEAD", "PUT"),
    f"{_MODEL}/generate": ("GET",),
    f"{_MODEL}/generate_stream": ("GET",),
    f"{_MODEL}/trace/setting": ("GET", "PUT"),
    "/v2/repository/index": ("POST", "GET", "HEAD"),
    "/v2/repository/models/add/load": ("GET", "POST"),
    "/v2/repository/models/add/unload": ("GET", "POST"),
    "/v2/repository/models/unknown/load": ("POST",),
    "/v2/repository/models/unknown/unload": ("POST",),
    "/v2/repository/mine/index": ("POST",),
    "/v2/repository/mine/models/add/load": ("POST",),
    "/v2/trace/setting": ("GET", "PUT"),
    "/v2/logging": ("GET", "PUT"),
    "/v2/systemsharedmemory/status": ("GET", "POST"),
    "/v2/systemsharedmemory/region/unknown/status": ("GET",),
    "/v2/systemsharedmemory/unregister": ("POST", "GET"),
    "/v2/systemsharedmemory/region/unknown/unregister": ("POST",),
    "/v2/systemsharedmemory/register": ("POST",),
    "/v2/systemsharedmemory/region/r/register": ("GET",),
    "/v2/cudasharedmemory/status": ("GET", "POST"),
    "/v2/cudasharedmemory/region/unknown/status": ("GET",),
    "/v2/cudasharedmemory/unregister": ("POST",),
    "/v2/cudasharedmemory/region/unknown/unregister": ("POST",),
    "/v2/cudasharedmemory/register": ("POST",),
    "/v2/cudasharedmemory/region/r/register": ("POST",),
}
_PATHS = {
    "slash": ("/v2/", "/v2/health/live/", f"{_MODEL}/", f"{_MODEL}/ready/", f"{_MODEL}/config/", "/v2/models/stats/"),
    "unknown path": (
        "/v2/nothing",
        "/v2/health",
        "/v2/health/other",
        "/v2/models",
        "/v2/models/",
        f"{_MODEL}/other",
        f"{_MODEL}/versions",
        f"{_MODEL}/versions/",
        f"{_MODEL}/versions/1/other",
        f"{_MODEL}/versions/1/trace/setting",
        f"{_MODEL}/versions/x",
        f"{_MODEL}/versions/-1/ready",
        f"{_MODEL}//ready",
        "//v2",
        "/V2",
        "/v3/models/add",
        "/v2/repository",
        "/v2/repository/models/add/other",
        "/v2/systemsharedmemory",
        "/v2/systemsharedmemory/other",
    ),
    "unknown model": tuple(
        f"/v2/models/unknown{suffix}"
        for suffix in ("", "/ready", "/config", "/stats", "/trace/setting", "/versions/1", "/versions/1/ready")
    ),
    "unknown version": tuple(
        f"{_MODEL}/versions/{version}{suffix}"
        for version, suffix in (
            ("2", ""),
            ("2", "/ready"),
            ("2", "/config"),
            ("2", "/stats"),
            ("0", "/ready"),
            ("01", ""),
        )
    ),
    "version of too many digits": (
        f"{_MODEL}/versions/99999999999999999999",
        f"{_MODEL}/versions/99999999999999999999/ready",
    ),
    "query": ("/v2?a=b", f"{_MODEL}?", f"{_MODEL}/ready?verbose=1", "/v2/health/ready?x", f"{_MODEL}/config?x=%00"),
    "escape": ("/v2/models/a%64d", "/v2/models/a%64d/ready", "/v2/models/%20/ready", "/v2/models/a%2Fb/ready"),
    "metadata": tuple(
        f"/v2/models/{name}" for name in ("sum", "swap", "optional", "fixed", "rank3", "echo_bytes", "echo_bool")
    ),
    "config": tuple(f"/v2/models/{name}/config" for name in ("sum", "swap", "optional", "fixed", "echo_fp16")),
}
_BODIES: dict[tuple[str, str], Any] = {
    ("index", "/v2/repository/index"): (
        "{}",
        '{"ready": true}',
        '{"ready": false}',
        '{"ready": 1}',
        '{"ready": "x"}',
        '{"ready": null}',
        "[]",
        "{",
        '{"other": 1}',
        " ",
    ),
    ("load", "/v2/repository/models/add/load"): ("{}", '{"parameters": {"config": "{}"}}', "{"),
    ("unload", "/v2/repository/models/add/unload"): (
        '{"parameters": {"unload_dependents": true}}',
        '{"parameters": {"unload_dependents": "x"}}',
        "{",
    ),
    ("register", "/v2/systemsharedmemory/region/r/register"): (
        "",
        "{}",
        '{"key": "/portalis_compare_none"}',
        '{"key": "/portalis_compare_none", "byte_size": 64}',
        '{"key": 5, "byte_size": 64}',
        '{"key": "/portalis_compare_none", "byte_size": "x"}',
    ),
    ("generate", f"{_MODEL}/generate"): ("", "{}", '{"a": 1.0, "b": 2.0}', "{"),
    ("generate stream", f"{_MODEL}/generate_stream"): ("{}",),
    ("generate unknown", "/v2/models/unknown/generate"): ("{}",),
}
# last, because they change the settings of a Triton
_SETTINGS: dict[tuple[str, str], Any] = {
    ("logging", "/v2/logging"): (
        "{}",
        '{"log_info": true}',
        '{"log_info": "x"}',
        '{"log_file": "x"}',
        '{"log_verbose_level": 0}',
        '{"log_verbose_level": -1}',
        '{"log_format": "default"}',
        '{"log_format": "other"}',
        "{",
        "",
        "[]",
    ),
    ("trace", "/v2/trace/setting"): (
        "{}",
        '{"trace_level": ["OFF"]}',
        '{"trace_level": "OFF"}',
        '{"trace_rate": "x"}',
        '{"trace_rate": "100"}',
        '{"trace_file": "x"}',
        "{",
        "",
    ),
    ("trace of a model", f"{_MODEL}/trace/setting"): ("{}", '{"trace_count": "5"}', '{"trace_count": "-5"}'),
    ("trace of an unknown model", "/v2/models/unknown/trace/setting"): ("{}",),
}


def management_cases() -> Iterator[HttpCase]:
    """All requests that change no settings."""
    for path, methods in _METHODS.items():
        for method in methods:
            yield HttpCase(f"http {method} {path}", method, path)
    for kind, paths in _PATHS.items():
        for path in paths:
            yield HttpCase(f"http {kind} {path}", "GET", path)
    yield from _posted(_BODIES)
    yield HttpCase("http slash POST /v2/repository/index/", "POST", "/v2/repository/index/")


def settings_cases() -> Iterator[HttpCase]:
    """Requests that change the settings of a Triton, or try to."""
    yield from _posted(_SETTINGS)


def _posted(bodies: dict[tuple[str, str], Any]) -> Iterator[HttpCase]:
    for (kind, path), texts in bodies.items():
        for text in texts:
            yield HttpCase(f"http {kind} {text}", "POST", path, text.encode())


def statistics_cases() -> Iterator[HttpCase]:
    """Requests to one model that other cases do not use, and its statistics after each."""

    def infer(number: int, rows: int, size: int | None = None) -> HttpCase:
        data = [1.0] * (rows if size is None else size)
        tensors = [{"name": name, "datatype": "FP32", "shape": [rows, 1], "data": data} for name in "ab"]
        body = json.dumps({"inputs": tensors}).encode()
        return HttpCase(f"http statistics: infer {number}", "POST", "/v2/models/counted/infer", body)

    path = "/v2/models/counted/stats"
    yield HttpCase("http statistics before a request", "GET", path)
    yield infer(1, 1)
    yield HttpCase("http statistics after a request", "GET", path)
    yield infer(2, 3)
    yield infer(3, 3)
    yield HttpCase("http statistics after a batch of 3", "GET", path)
    yield infer(4, 3, 1)
    yield infer(5, 100)
    yield HttpCase("http statistics after invalid requests", "GET", path)
