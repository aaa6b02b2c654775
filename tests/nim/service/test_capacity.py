"""Many models in one process, and a host out of capacity: requests get 503, and the guest is not blamed."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import wasmtime

from portalis.backend import HostBusy
from portalis.nim.service.http.error_responses import error_headers
from portalis.nim.service.request_errors import from_runtime_error
from tests.backend import guests
from tests.backend.guests import tensor
from tests.backend.room import no_room
from tests.running import waiting
from tests.running.memory import resident_bytes

from .process import body, running
from .serving import serving

pytestmark = pytest.mark.service
MODELS = 500
GUEST = guests.dlpack(guests.ECHO_BODY, inputs=[tensor("x")], outputs=[tensor("y")], batch=8)
# a module without state and memory: only its loop module has a memory
SQUARE = '(module (func (export "square") (param $x f32) (result f32) (f32.mul (local.get $x) (local.get $x))))'
WASI = """(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (func (export "same") (param $x f32) (result f32) (local.get $x)))"""


def test_five_hundred_models_load_in_one_process_and_each_needs_little_memory(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    (tmp_path / "echo.wasm").write_bytes(GUEST)
    (tmp_path / "square.wasm").write_bytes(bytes(wasmtime.wat2wasm(SQUARE)))
    models = [{"name": f"m{i}", "file": ("echo.wasm", "square.wasm")[i % 2]} for i in range(MODELS)]
    with running(tmp_path, models) as service:
        service.wait_for_line("model 'm9' is ready")
        first = resident_bytes(service.process.pid)
        service.wait_ready()
        each = (resident_bytes(service.process.pid) - first) / 1024 / (MODELS - 10)
        record_property("KiB of memory for each model", round(each))
        print(f"{MODELS} models: {each:.0f} KiB of memory each")
        assert each < 512
        for i in (0, 1, 250, 251, 498, 499, 0, 1):
            status, response = service.client.send(f"/v1/models/m{i}/infer", body(3))
            assert (status, response["outputs"][0]["data"]) == (200, [3.0 if i % 2 == 0 else 9.0])


def test_a_host_out_of_capacity_is_503_with_retry_after_and_the_next_request_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "same.wasm").write_bytes(bytes(wasmtime.wat2wasm(WASI)))
    (tmp_path / "square.wasm").write_bytes(bytes(wasmtime.wat2wasm(SQUARE)))
    models = [{"name": name, "file": f"{name}.wasm"} for name in ("same", "square")]
    with serving(tmp_path, models) as client:
        client.wait_ready()
        with no_room():
            request = urllib.request.Request(f"http://127.0.0.1:{client.port}/v1/models/same/infer", data=body(3))
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=waiting.PATIENCE_S)
        response = caught.value
        assert (response.code, response.headers["retry-after"]) == (503, "1")
        text = response.read().decode()
        assert '"HostBusy"' in text
        assert "cannot create another instance" in text
        assert "entry" not in text
        for name in ("same", "square"):
            assert client.send(f"/v1/models/{name}/infer", body(1))[0] == 200


def test_an_error_of_the_host_is_503() -> None:
    error = from_runtime_error(HostBusy("this host is out of capacity"))
    assert (error.status, error.kind) == (503, "HostBusy")
    assert error_headers(error) == [(b"retry-after", b"1")]
