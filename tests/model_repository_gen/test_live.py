"""Live validation with a server that is missing, ends, or returns nonsense; `test_on_triton` uses a real one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portalis import triton_client, tritonserver
from portalis.backend import TensorSpec
from portalis.backend.interface.dtypes import parse_dtype
from portalis.errors import MissingPart, PortalisError, TritonFailed
from portalis.model_repository_gen import live
from portalis.model_repository_gen.live import Verdict

Answers = dict[str, tuple[int, Any]]


class FakeTriton:
    """An HTTP server that returns these states for requests of the repository index; it has no gRPC endpoint."""

    http_url = grpc_url = ""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> FakeTriton:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answers], None]]:
    """Set the response of each path: a status and a body."""
    answers: Answers = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = answers[self.path.removeprefix("/v2/repository/")]
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(FakeTriton, "http_url", f"127.0.0.1:{server.server_port}")
    monkeypatch.setattr(tritonserver, "TritonServer", FakeTriton)
    monkeypatch.setattr(triton_client, "load_model", lambda url, name, timeout_s: None)
    yield answers.update
    server.shutdown()
    server.server_close()


def tried(*models: str) -> list[Verdict]:
    return live.validate_on_triton(Path("/r"), models, lambda _: None)


def report(name: str = "m") -> str:
    (result,) = tried(name)
    assert (result.name, result.check, result.valid) == (name, "live", False)
    return result.report


@pytest.mark.parametrize("problem", [MissingPart("no server found"), TritonFailed("it stopped")])
def test_without_a_server_no_model_is_valid(monkeypatch: pytest.MonkeyPatch, problem: PortalisError) -> None:
    def start(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(tritonserver, "TritonServer", start)
    assert [(each.name, each.valid, each.report) for each in tried("a", "b")] == [
        ("a", False, f"no Triton server is available: {problem}"),
        ("b", False, f"no Triton server is available: {problem}"),
    ]


def test_a_server_that_ends_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeTriton, "http_url", "127.0.0.1:1")
    monkeypatch.setattr(tritonserver, "TritonServer", FakeTriton)
    monkeypatch.setattr(triton_client, "load_model", lambda url, name, timeout_s: None)
    assert report().startswith("the server does not respond: ")


def test_the_reason_of_each_version_is_reported_without_backtrace_and_staging_directory(
    serve: Callable[[Answers], None],
) -> None:
    states = [
        {"name": "m", "version": "1", "state": "READY", "reason": ""},
        {"name": "m", "version": "2", "state": "UNAVAILABLE", "reason": "unloaded"},
        {"name": "m", "version": "3", "state": "UNAVAILABLE", "reason": "in /r/m/3/model.wasm: bad\n\nAt:\n  x.py(1)"},
        {"name": "m", "version": "4", "state": "UNAVAILABLE", "reason": "worse"},
        {"name": "other", "version": "1", "state": "UNAVAILABLE", "reason": "not ours"},
        {"name": "m"},
    ]
    serve({"index": (200, states)})
    assert report() == "it did not load: in m/3/model.wasm: bad; worse"


def test_without_a_reason_of_a_version_the_load_error_is_reported(
    serve: Callable[[Answers], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PortalisError("failed to load")

    monkeypatch.setattr(triton_client, "load_model", refuse)
    serve({"index": (200, [{"name": "m"}])})
    assert report() == "it did not load: failed to load"


def test_a_model_that_disappears_is_reported(serve: Callable[[Answers], None]) -> None:
    serve({"index": (200, [])})
    assert report() == "it did not load: the server reports no reason"


@pytest.mark.parametrize(
    ("message", "valid", "reported"),
    [
        (
            "model 'm' at grpc: ModelInfer RPC doesn't support models with decoupled transaction policy",
            True,
            (
                "version 1 loads; streaming responses were not tested; "
                "version 2 loads; streaming responses were not tested"
            ),
        ),
        ("model 'm' at grpc: /r/m/1/x trapped", False, "version 1 loads but returns an error: m/1/x trapped"),
    ],
)
def test_only_a_decoupled_model_need_not_return_outputs(
    serve: Callable[[Answers], None], monkeypatch: pytest.MonkeyPatch, message: str, valid: bool, reported: str
) -> None:
    def infer(*_: object) -> str:
        raise PortalisError(message)

    monkeypatch.setattr(live, "_infer", infer)
    monkeypatch.setattr(FakeTriton, "grpc_url", "grpc")
    states = [{"name": "m", "version": version, "state": "READY"} for version in ("1", "2")]
    serve({"index": (200, states)})
    (result,) = tried("m")
    assert (result.valid, result.report) == (valid, reported)


def refusing(problem: PortalisError) -> type:
    """A client of a model for which every inference raises `problem`."""

    class Model:
        inputs = (TensorSpec("x", parse_dtype("FP32"), (2,), optional=False),)

        def __init__(self, *_: object, **__: object) -> None: ...

        def __enter__(self) -> Model:
            return self

        def __exit__(self, *_: object) -> None: ...

        def infer(self, *_: object, **__: object) -> triton_client.InferenceResult:
            raise problem

    return Model


def test_a_server_that_does_not_respond_is_not_a_rejection(
    serve: Callable[[Answers], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = PortalisError("no server answers at grpc", remediation="Start one.")
    monkeypatch.setattr(triton_client, "RemoteModel", refusing(gone))
    monkeypatch.setattr(FakeTriton, "grpc_url", "grpc")
    serve({"index": (200, [{"name": "m", "version": "1", "state": "READY"}])})
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.pbtxt").write_text("")
    (result,) = live.validate_on_triton(tmp_path, ["m"], lambda _: None)
    assert not result.valid
    assert "no server answers" in result.report and "it was sent" not in result.report


@pytest.mark.parametrize(
    ("config", "remedy"),
    [
        ("", "set a real one as triton_config.warmup in the spec"),
        (
            """model_warmup { name: "w" batch_size: 1
            inputs { key: "x" value { data_type: TYPE_FP32 dims: [2] random_data: true } } }""",
            "set another sample as triton_config.warmup in the spec",
        ),
        ('platform: "ensemble" ensemble_scheduling { }', "an ensemble cannot have a warm-up sample instead"),
    ],
)
def test_a_rejected_sample_is_reported_with_a_remediation(
    serve: Callable[[Answers], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str, remedy: str
) -> None:
    refusal = PortalisError("model 'm' at grpc: the guest returned status 3\nwasm backtrace")
    monkeypatch.setattr(triton_client, "RemoteModel", refusing(refusal))
    monkeypatch.setattr(FakeTriton, "grpc_url", "grpc")
    serve({"index": (200, [{"name": "m", "version": "1", "state": "READY"}])})
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.pbtxt").write_text(config)
    (result,) = live.validate_on_triton(tmp_path, ["m"], lambda _: None)
    kind = "random values" if "random" in config else "zeros"
    assert result.report == (
        f"version 1 loads but returns an error: the guest returned status 3; it was sent x FP32 [2] of {kind}\n"
        "wasm backtrace"
    )
    assert remedy in result.remediation
    assert "remediation" not in result.model_dump()


def test_a_repository_under_a_path_with_blanks_is_validated_through_a_link(
    serve: Callable[[Answers], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[Path] = []
    monkeypatch.setattr(FakeTriton, "__init__", lambda self, place, **_: started.append(place.resolve()))
    serve({"index": (200, [])})
    repository = tmp_path / "my $(models)"
    repository.mkdir()
    live.validate_on_triton(repository, ["m"], lambda _: None)
    assert started == [repository]


def test_progress_is_reported_for_each_model(serve: Callable[[Answers], None], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def infer(*args: object) -> str:
        asked.append(args)
        return "version 1 answers"

    monkeypatch.setattr(live, "_infer", infer)
    monkeypatch.setattr(FakeTriton, "grpc_url", "grpc")
    serve({"index": (200, [{"name": "m", "version": "1", "state": "READY"}])})
    lines: list[str] = []
    (result,) = live.validate_on_triton(Path("/r"), ["m"], lines.append)
    assert (result.valid, result.report, lines) == (True, "version 1 answers", ["validated model m on Triton"])
    assert asked == [("grpc", Path("/r"), "m", "1")]


@pytest.mark.parametrize(("batching", "sequence"), [("", 0), ("sequence_batching { }", 1)])
def test_a_model_is_called_by_version_and_its_outputs_are_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, batching: str, sequence: int
) -> None:
    asked: list[Any] = []

    class Model:
        inputs = (TensorSpec("x", parse_dtype("FP32"), (2,), optional=False),)

        def __init__(self, *args: object, **more: object) -> None:
            asked.append((*args, more))

        def __enter__(self) -> Model:
            return self

        def __exit__(self, *_: object) -> None: ...

        def infer(self, inputs: dict[str, np.ndarray], *, sequence_id: int) -> triton_client.InferenceResult:
            asked.append(({name: array.shape for name, array in inputs.items()}, sequence_id))
            outputs = {"y": np.zeros((1, 2)), "z": np.zeros(3)}
            return triton_client.InferenceResult(outputs=outputs, datatypes={}, seconds=0.0021)

    monkeypatch.setattr(triton_client, "RemoteModel", Model)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.pbtxt").write_text(f'name: "m" max_batch_size: 4 {batching}')
    reported = live._infer("grpc", tmp_path, "m", "3")
    assert reported == "version 3 loads and returns y [1, 2], z [3] in 2.1 ms"
    assert asked == [("grpc", "m", {"version": "3", "timeout_s": 60.0}), ({"x": (1, 2)}, sequence)]


def test_models_are_loaded_sequentially_by_a_server_with_these_backends(
    serve: Callable[[Answers], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    loaded: list[Any] = []
    monkeypatch.setattr(FakeTriton, "__init__", lambda self, *args, **more: started.append((args, more)))
    monkeypatch.setattr(triton_client, "load_model", lambda *args, **more: loaded.append((args, more)))
    monkeypatch.setattr(FakeTriton, "grpc_url", "grpc")
    serve({"index": (200, [])})
    live.validate_on_triton(Path("/r"), ["b", "a"], lambda _: None, backends=Path("/b"))
    assert started == [((Path("/r"),), {"backend_directory": Path("/b"), "model_control": "explicit"})]
    assert loaded == [(("grpc", name), {"timeout_s": 300.0}) for name in ("b", "a")]
