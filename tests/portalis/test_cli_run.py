"""`portalis run`: the service application in the foreground, as a user starts it."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from portalis.examples.catalog import EXAMPLES
from tests.parts.lookup import check_marker
from tests.running import waiting
from tests.running.ports import free_ports

from .conftest import ADD, Cli

UNKNOWN_CONVENTION = (
    '(module (memory (export "memory") 1) (func (export "f") (param i32 i32) (result i32) (local.get 0)))'
)
FREE = ("--http-port=0", "--grpc-port=0", "--metrics-port=0")


def free() -> tuple[str, str, str]:
    """Options for ports that no other process binds before the service does, which can happen with those of `FREE`."""
    ports = free_ports()
    return f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"


class Foreground:
    """A `portalis run` whose output is collected."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def line_with(self, fragment: str) -> str:
        """The first line that contains `fragment`, once it is printed."""

        def found() -> list[str]:
            lines = [line for line in list(self.lines) if fragment in line]
            assert lines or self.process.poll() is None, self.lines
            return lines

        return waiting.until(found, lambda: self.lines)[0]

    def curl(self, model: str) -> Any:
        """The response to the curl command that was printed for `model`."""
        line = self.line_with(f"/v1/models/{model}/infer").removeprefix("portalis: ")
        done = subprocess.run(shlex.split(line), capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def end(self, number: int = signal.SIGTERM) -> int:
        """The exit status after a signal."""
        self.process.send_signal(number)
        status = self.process.wait(waiting.PATIENCE_S)
        self._reader.join(waiting.PATIENCE_S)
        return status


@contextlib.contextmanager
def running(*args: str | Path, cwd: Path) -> Iterator[Foreground]:
    check_marker("service", "a service")
    command = [sys.executable, "-m", "portalis", "run", *map(str, args)]
    process = subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, text=True)
    try:
        yield Foreground(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(waiting.PATIENCE_S)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.service
def test_the_printed_request_works_and_a_signal_ends_the_service_with_zero(add_wasm: Path, number: int) -> None:
    with running(add_wasm, *free(), cwd=add_wasm.parent) as service:
        service.line_with("ready; Ctrl-C stops")
        document = service.curl("model")
        assert (document["model_name"], document["outputs"][0]["data"]) == ("model", [0.0])
        assert re.search(
            r"HTTP http://127\.0\.0\.1:\d+  gRPC 127\.0\.0\.1:\d+  metrics http://127", "\n".join(service.lines)
        )
        assert service.end(number) == 0
    assert "Traceback" not in "\n".join(service.lines)


@pytest.mark.service
def test_workers_are_one_service_whose_models_are_printed_once_and_which_ctrl_c_ends(add_wasm: Path) -> None:
    with running(add_wasm, *free(), "--workers", "2", cwd=add_wasm.parent) as service:
        service.line_with("ready; Ctrl-C stops")
        assert service.curl("model")["outputs"][0]["data"] == [0.0]
        assert service.end(signal.SIGINT) == 0
    own = [line for line in service.lines if line.startswith("portalis: ")]
    assert [line.split()[1] for line in own] == ["HTTP", "curl", "ready;"]
    assert "Traceback" not in "\n".join(service.lines)


@pytest.mark.service
def test_the_printed_request_works_for_every_example(tmp_path: Path) -> None:
    with running(*(example.module for example in EXAMPLES.values()), *free(), cwd=tmp_path) as service:
        service.line_with("ready; Ctrl-C stops")
        for example in EXAMPLES.values():
            document = service.curl(example.module.stem)
            # a guest can reject zeros, but it was called
            assert "outputs" in document or document["error"]["type"] == "GuestStatus", document


@pytest.mark.service
def test_it_listens_on_loopback_only_by_default_and_a_name_can_be_set(add_wasm: Path) -> None:
    with running(add_wasm, "--name", "sum", *FREE, cwd=add_wasm.parent) as service:
        assert service.curl("sum")["model_name"] == "sum"
        port = int(re.findall(r"HTTP http://127\.0\.0\.1:(\d+)", service.line_with("gRPC"))[0])
        others = {each[4][0] for each in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
        for address in others:
            if not str(address).startswith("127."):
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((str(address), port), timeout=waiting.PATIENCE_S)


@pytest.mark.service
def test_models_can_be_controlled_and_a_failure_does_not_end_the_service(add_wasm: Path, tmp_path: Path) -> None:
    modules = [add_wasm.rename(tmp_path / "one.wasm"), tmp_path / "two.wasm"]
    modules[1].write_bytes(modules[0].read_bytes())
    with running(*modules, "--control", "explicit", *free(), cwd=tmp_path) as service:
        line = service.line_with("HTTP http://")
        assert service.line_with("ready, and no model is loaded; Ctrl-C stops")
        url = re.findall(r"HTTP (http://[0-9.:]+)", line)[0]
        urllib.request.urlopen(f"{url}/v2/repository/models/two/load", b"").close()
        assert service.curl("two")["model_name"] == "two"
        modules[0].write_bytes(b"garbage")
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{url}/v2/repository/models/one/load", b"")
        service.line_with("1 of 2 models is ready; one failed")
        assert service.end() == 0
    with running(modules[1], "--control=explicit", "--load-model=*", *free(), cwd=tmp_path) as service:
        assert service.curl("two")["model_name"] == "two"


@pytest.mark.service
def test_options_set_the_log_format_its_level_and_limits(add_wasm: Path) -> None:
    options = ("--json-logs", "--log-level", "debug", "--max-request-bytes", "10")
    with running(add_wasm, *free(), *options, cwd=add_wasm.parent) as service:
        assert service.curl("model")["error"]["code"] == 413
        assert service.end() == 0
    records = [json.loads(line) for line in service.lines if not line.startswith("portalis: ")]
    assert any(record["level"] == "debug" for record in records)
    assert any(record.get("status") == 413 for record in records)


@pytest.mark.service
def test_a_spec_is_served_with_its_names_interfaces_and_license(tmp_path: Path) -> None:
    (tmp_path / "raw.wasm").write_bytes(wasmtime.wat2wasm(ADD))
    (tmp_path / "portalis.toml").write_text(
        'package_name = "sums"\npackage_version = "2.0.0"\noutput_directory = "out"\n'
        'wasm_binaries = [{ path = "raw.wasm", name = "sum", interface = { convention = "elementwise" } }]\n'
        'distribution_config = { license_type = "Apache-2.0" }\n'
    )
    with running("portalis.toml", *free(), cwd=tmp_path) as service:
        assert service.curl("sum")["outputs"][0]["data"] == [0.0]
        base = re.findall(r"HTTP (\S+)", service.line_with("gRPC"))[0]
        metadata = json.loads(subprocess.check_output(["curl", "-s", f"{base}/v1/metadata"]))
    assert (metadata["name"], metadata["version"]) == ("sums", "2.0.0")
    assert metadata["licenseInfo"]["name"] == "Apache-2.0"


@pytest.mark.service
def test_a_directory_with_a_service_json_is_served_with_its_settings(add_wasm: Path) -> None:
    folder = add_wasm.parent
    (folder / "service.json").write_text('{"models": [{"name": "sum", "file": "model.wasm", "version": "9"}]}')
    with running(folder, *free(), cwd=folder.parent) as service:
        assert service.curl("sum")["model_version"] == "9"


@pytest.mark.parametrize(
    ("args", "code", "messages"),
    [
        (["gone.wasm"], 2, ["gone.wasm does not exist", "a service.json, or a spec file"]),
        (["."], 2, ["service.json: No such file or directory"]),
        (["needs.wasm"], 2, ["its interface cannot be derived", "portalis annotate"]),
        (["text.wasm"], 1, ["text.wasm"]),
        (["add.wasm", "needs.wasm", "--name", "x"], 2, ["--name requires a single module"]),
        (["add.wasm", "--name", "a/b"], 2, ["'a/b' is not a model name", "--name"]),
        (
            ["模型.wasm"],
            2,
            [
                "'模型' is not a model name that the service accepts: use at most 128 ASCII letters",
                "Name it with --name",
            ],
        ),
        (["named.toml"], 2, ["'é' is not a model name", "wasm_binaries[0].name in named.toml"]),
        (["add.wasm", "add.wasm"], 2, ["duplicate names: add"]),
        (["add.wasm", "--control", "always"], 2, ["--control always: unknown mode", "none or explicit"]),
        (["add.wasm", "--load-model", "add"], 2, ["load_models requires model_control: explicit"]),
        (["add.wasm", "--control", "explicit", "--load-model", "x"], 2, ["load_models: unknown models: 'x'"]),
        (["add.wasm", "--log-level", "loud"], 2, ["--log-level loud: unknown level", "debug"]),
        (["add.wasm", "--http-port", "70000"], 2, ["--http-port 70000: invalid port"]),
        (["add.wasm", "--http-port", "8001"], 2, ["--http-port and --grpc-port are the same port"]),
        (["add.wasm", "--host", "203.0.113.7", "--http-port", "0"], 2, ["cannot listen on 203.0.113.7", "--host"]),
        (["bad.toml"], 2, ["bad.toml"]),
        (["add.wasm", "--max-request-bytes", "0"], 2, ["--max-request-bytes"]),
    ],
)
def test_invalid_arguments_are_rejected_with_a_remediation(
    cli: Cli, tmp_path: Path, args: list[str], code: int, messages: list[str]
) -> None:
    folder = tmp_path / "cwd"
    (folder / "add.wasm").write_bytes(wasmtime.wat2wasm(ADD))
    (folder / "needs.wasm").write_bytes(wasmtime.wat2wasm(UNKNOWN_CONVENTION))
    (folder / "text.wasm").write_text("not a module")
    (folder / "bad.toml").write_text("package_name = 7\n")
    (folder / "模型.wasm").write_bytes(wasmtime.wat2wasm(ADD))
    (folder / "named.toml").write_text(
        'package_name = "a"\npackage_version = "1.0.0"\noutput_directory = "out"\n'
        'wasm_binaries = [{ path = "add.wasm", name = "é" }]\n'
    )
    done = cli("run", *args)
    assert done.returncode == code, done.stderr
    # usage errors are wrapped by their frame
    text = " ".join(done.stderr.replace("│", " ").split())
    assert all(message in text for message in messages), text
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--http-port", "--grpc-port", "--metrics-port"])
def test_a_port_in_use_is_named_with_its_option(cli: Cli, add_wasm: Path, option: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        rest = [each for each in free() if not each.startswith(option)]
        done = cli("run", add_wasm, *rest, option, port)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port} ({option}): Address already in use" in done.stderr
    assert f"choose another port with {option}" in done.stderr


@pytest.mark.service
def test_if_the_only_model_fails_its_first_request_the_service_ends(tmp_path: Path) -> None:
    module = tmp_path / "trap.wasm"
    module.write_bytes(wasmtime.wat2wasm('(module (func (export "trap") (param $x f32) (result f32) unreachable))'))
    with running(module, *free(), cwd=tmp_path) as service:
        assert service.process.wait(waiting.PATIENCE_S) == 1
        service._reader.join(waiting.PATIENCE_S)
    text = "\n".join(service.lines)
    assert "model 'trap' failed" in text and "no model could be loaded" in text and "Traceback" not in text


def test_a_missing_requirement_is_named_with_the_extra(add_wasm: Path) -> None:
    program = (
        "import sys; sys.modules['fastapi'] = None\n"
        "sys.argv[1:] = ['run', sys.argv[1]]\n"
        "from portalis.cli.app import run; sys.exit(run())"
    )
    done = subprocess.run([sys.executable, "-c", program, str(add_wasm)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "fastapi is not installed" in done.stderr and "pip install 'portalis[nim]'" in done.stderr


TOO_LARGE = '(module (memory (export "memory") 60000) (func (export "f") (param f32) (result f32) (local.get 0)))'
TRAP = '(module (func (export "trap") (param f32) (result f32) unreachable))'
SPIN = '(module (func (export "spin") (param f32) (result f32) (loop br 0) (f32.const 0)))'


def health(service: Foreground) -> tuple[int, str]:
    base = re.findall(r"HTTP (\S+)", service.line_with("gRPC"))[0]
    done = subprocess.check_output(["curl", "-s", "-w", "\n%{http_code}", f"{base}/v1/health/ready"], text=True)
    text, status = done.rsplit("\n", 1)
    return int(status), text


@pytest.mark.parametrize(("name", "text"), [("too_large", TOO_LARGE), ("trap", TRAP)])
@pytest.mark.service
def test_ready_is_printed_only_if_the_health_endpoint_reports_it(add_wasm: Path, name: str, text: str) -> None:
    (bad := add_wasm.parent / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(text))
    with running(add_wasm, bad, *free(), cwd=add_wasm.parent) as service:
        line = service.line_with("of 2 models")
        assert line == f"portalis: 1 of 2 models is ready; {name} failed (/v1/health/ready returns 503); Ctrl-C stops"
        status, body = health(service)
        assert status == 503 and name in body
        assert service.curl("model")["outputs"][0]["data"] == [0.0], "the other model is served"
        assert service.end() == 0
    assert not any(each.startswith("portalis: ready") for each in service.lines)


@pytest.mark.service
def test_requests_are_printed_as_soon_as_a_model_is_ready_and_then_the_result_of_the_others(tmp_path: Path) -> None:
    models: list[dict[str, Any]] = []
    for name, text in (("add", ADD), ("spin", SPIN), ("trap", TRAP)):
        (tmp_path / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(text))
        models.append({"name": name, "file": f"{name}.wasm"})
    models[1]["limits"] = {"timeout_s": 1.0}  # enough time for the other model, even on a busy machine
    tensors = [{"name": name, "datatype": "FP32", "shape": [1, 1], "data": [float("nan")]} for name in ("a", "b")]
    models[0]["warm_up"] = tensors
    (tmp_path / "service.json").write_text(json.dumps({"models": models}))
    with running(tmp_path, *free(), cwd=tmp_path) as service:
        (value,) = service.curl("add")["outputs"][0]["data"]
        assert math.isnan(value), "the printed request is the warm-up request of service.json"
        service.line_with("1 of 3 models is ready; spin, trap failed")
        lines = [line for line in service.lines if line.startswith("portalis: ")]
        assert [line.split()[1] for line in lines] == ["HTTP", "curl", "1"], "each is printed once"


SPEC = """
package_name = "day"
package_version = "0.1.0"
output_directory = "package"
wasm_binaries = ["add.wasm"]
[[triton_config.ensembles]]
name = "twice"
inputs = [{ name = "raw", data_type = "FP32", dims = [-1] }]
outputs = [{ name = "sum", data_type = "FP32", dims = [-1] }]
[[triton_config.ensembles.steps]]
model_name = "add"
input_map = { a = "raw", b = "raw" }
output_map = { y = "sum" }
"""


@pytest.mark.service
def test_the_ensembles_of_a_spec_are_served_and_parts_that_are_not_are_listed(tmp_path: Path) -> None:
    (tmp_path / "add.wasm").write_bytes(wasmtime.wat2wasm(ADD))
    settings = (
        '[triton_config.backend_parameters]\n"wasm.timeout_ms" = "5"\n[container_config]\nwasm_runtime = "Wasmer"\n'
    )
    spec = SPEC + SPEC[SPEC.index("[[") :].replace('"twice"', '"lost"').replace('"add"', '"nothing"') + settings
    (tmp_path / "portalis.toml").write_text(spec)
    with running("portalis.toml", *free(), cwd=tmp_path) as service:
        reason = "its model 'nothing' is neither a module nor an ensemble of the package"
        assert service.line_with("ensemble lost of portalis.toml").endswith(reason)
        assert "triton_config.backend_parameters of portalis.toml" in service.line_with("only Triton uses it")
        assert "container_config.wasm_runtime of portalis.toml, because Wasmer" in service.line_with("uses Wasmtime")
        service.line_with("ready; Ctrl-C stops")
        assert service.curl("add")["outputs"][0]["data"] == [0.0]
        assert service.curl("twice")["outputs"] == [{"name": "sum", "datatype": "FP32", "shape": [1], "data": [0.0]}]


@pytest.mark.service
def test_a_name_that_is_not_ascii_can_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "模型.wasm").write_bytes(wasmtime.wat2wasm(ADD))
    with running("模型.wasm", "--name", "model", *free(), cwd=tmp_path) as service:
        assert service.curl("model")["outputs"][0]["data"] == [0.0]
