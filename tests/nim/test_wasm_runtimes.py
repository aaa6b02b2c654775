"""The executable of an external runtime is collected with its libraries, or reported as unavailable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from portalis.contracts.errors import PackagingStage
from portalis.contracts.output import PackagingAgentOutput, Status
from portalis.errors import MissingPart
from portalis.examples.catalog import EXAMPLES
from portalis.nim.elf import NotElf, interpreter_of
from portalis.nim.service.settings import ModelSettings
from portalis.nim.service_context import ImageLabels, build_context
from portalis.nim.wasm_runtimes import RUNTIME_PATH, RuntimeFiles, find_runtime
from portalis.output.package_layout import WASM_RUNTIME
from portalis.pipeline import Options, run_pipeline
from portalis.spec.container import ContainerConfiguration, WasmRuntime
from portalis.spec.read import make_spec
from tests import parts
from tests.portalis.pipeline.conftest import Listening

from .test_image_target import context

PROGRAM = '(module (memory (export "memory") 1) (func (export "_start")))'


def asked(runtime: WasmRuntime = WasmRuntime.WasmEdge, **config: Any) -> ContainerConfiguration:
    return ContainerConfiguration(wasm_runtime=runtime, **config)


def copied(found: RuntimeFiles, folder: Path) -> list[str]:
    """The command of a runtime with its files in `folder`, laid out as in an image."""
    for place, source in found.files.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    for place in found.executable:
        (folder / place).chmod(0o755)
    return [word.replace(RUNTIME_PATH, str(folder)) for word in found.command]


def test_wasmtime_needs_no_executable() -> None:
    assert find_runtime(ContainerConfiguration()) is None


def test_wasmedge_runs_from_the_collected_files_only(tmp_path: Path) -> None:
    found = find_runtime(asked(wasm_runtime_path=parts.wasmedge()))
    assert found is not None
    command = copied(found, tmp_path / "all of it")
    (tmp_path / "exit.wasm").write_bytes(wasmtime.wat2wasm(PROGRAM))
    # an empty root directory: a missing file is not found anywhere else
    lines = subprocess.run([*command[:-1], "--list", command[-1]], env={}, capture_output=True, text=True, check=True)
    outside = [line for line in lines.stdout.splitlines() if "=>" in line and str(tmp_path) not in line]
    assert outside == []
    done = subprocess.run([*command, "--version"], env={}, capture_output=True, text=True, check=True)
    assert "wasmedge version" in done.stdout
    assert subprocess.run([*command, str(tmp_path / "exit.wasm")], env={}, check=False).returncode == 0


def test_the_executable_on_path_is_used(tmp_path: Path) -> None:
    (tmp_path / "wasmedge").symlink_to(parts.wasmedge())
    found = find_runtime(asked(), {"PATH": str(tmp_path)})
    assert found is not None and found.name == "WasmEdge"
    assert found.files["wasmedge"] == parts.wasmedge().resolve()


@pytest.mark.parametrize("runtime", [WasmRuntime.Wasmer, WasmRuntime.WasmEdge])
def test_the_error_for_a_missing_executable_has_a_remediation(tmp_path: Path, runtime: WasmRuntime) -> None:
    with pytest.raises(MissingPart) as caught:
        find_runtime(asked(runtime), {"PATH": str(tmp_path)})
    assert f"{runtime.value} is not available: {runtime.value.lower()} was not found on PATH" in caught.value.message
    assert "wasm_runtime_path" in caught.value.remediation


def test_a_file_that_is_not_the_runtime_is_rejected(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    text = tmp_path / "text"
    text.write_text("hello")
    for path, why in {
        script: "is a script; expected the executable itself",
        text: "is not a Linux executable",
        Path(sys.executable).resolve(): "does not print a version of WasmEdge",
        tmp_path / "nothing": "cannot be read: No such file",
    }.items():
        with pytest.raises(MissingPart, match=why):
            find_runtime(asked(wasm_runtime_path=path))


def test_a_version_other_than_the_requested_one_is_rejected() -> None:
    with pytest.raises(MissingPart, match=r"is version \d.*, but wasm_runtime_version is '0\.1\.0'"):
        find_runtime(asked(wasm_runtime_path=parts.wasmedge(), wasm_runtime_version="0.1.0"))


def test_an_executable_with_a_missing_library_is_rejected(tmp_path: Path) -> None:
    found = find_runtime(asked(wasm_runtime_path=parts.wasmedge()))
    assert found is not None
    copied(found, tmp_path)
    (tmp_path / "lib" / "libwasmedge.so.0").unlink()
    # the libraries are not at the path that the copy's header names
    with pytest.raises(MissingPart, match=r"cannot be loaded: .*libwasmedge\.so\.0"):
        find_runtime(asked(wasm_runtime_path=tmp_path / "wasmedge"))


def test_the_loader_is_read_from_the_header(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    assert interpreter_of(Path(os.path.realpath(shutil.which("env") or ""))) is not None
    if compiler is not None:
        source = tmp_path / "main.c"
        source.write_text("int main(void) { return 0; }")
        subprocess.run([compiler, "-static", "-o", tmp_path / "main", source], check=True)
        assert interpreter_of(tmp_path / "main") is None
    (tmp_path / "cut").write_bytes(b"\x7fELF\x02\x01")
    with pytest.raises(NotElf):
        interpreter_of(tmp_path / "cut")


def test_the_context_contains_the_runtime_and_its_command(tmp_path: Path) -> None:
    (tmp_path / "exit.wasm").write_bytes(wasmtime.wat2wasm(PROGRAM))
    config = asked(wasm_runtime_path=parts.wasmedge())
    models = [(ModelSettings(name="exit", file="exit.wasm"), tmp_path / "exit.wasm")]
    labels = ImageLabels(package="demo", version="1")
    found = build_context(config, models=models, labels=labels, runtime=find_runtime(config))
    found.write_to(tmp_path / "context")
    settings = json.loads((tmp_path / "context" / "models" / "service.json").read_text())["models"][0]
    assert settings["wasm_runtime"] == "WasmEdge"
    assert settings["wasm_runtime_command"][-1] == f"{RUNTIME_PATH}/wasmedge"
    text = (tmp_path / "context" / "Dockerfile").read_text()
    assert f'COPY ["{WASM_RUNTIME}", "{RUNTIME_PATH}"]' in text and " --version\n" in text
    assert f"!{WASM_RUNTIME}" in (tmp_path / "context" / ".dockerignore").read_text().split()
    assert (tmp_path / "context" / WASM_RUNTIME / "wasmedge").read_bytes() == parts.wasmedge().read_bytes()
    plain = build_context(ContainerConfiguration(), models=models, labels=labels)
    assert not [path for path in plain.files if path.parts[0] == WASM_RUNTIME]
    assert RUNTIME_PATH not in plain.files[next(p for p in plain.files if p.name == "Dockerfile")].decode()  # type: ignore[union-attr]


def run(folder: Path, *examples: str, modules: list[dict[str, Any]], **config: Any) -> PackagingAgentOutput:
    data = {
        "package_name": "demo",
        "package_version": "1.0.0",
        "output_directory": "out",
        "wasm_binaries": [*modules, *(str(EXAMPLES[name].module) for name in examples)],
        "container_config": config,
    }
    return run_pipeline(make_spec(data, base=folder, source="the spec"), Options(only=["nim", "docs"]), Listening())


def program(folder: Path) -> list[dict[str, Any]]:
    (folder / "exit.wasm").write_bytes(wasmtime.wat2wasm(PROGRAM))
    return [{"path": str(folder / "exit.wasm"), "name": "exit"}]


@pytest.mark.parametrize("runtime", ["Wasmer", "WasmEdge"])
def test_without_the_executable_images_are_skipped_and_not_built_with_a_different_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    made = run(tmp_path, modules=program(tmp_path), wasm_runtime=runtime)
    (stage,) = [each for each in made.packaging_metrics.stages if each.stage is PackagingStage.NimGeneration]
    assert stage.outcome == "skipped"
    assert stage.reason is not None and f"{runtime} is not available" in stage.reason
    assert "wasm_runtime_path" in stage.reason
    assert made.artifacts.nim_containers == () and not (tmp_path / "out" / "containers").exists()


def test_a_module_with_a_different_convention_gets_no_wasmedge_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    path = str(parts.wasmedge())
    made = run(tmp_path, "gelu", modules=program(tmp_path), wasm_runtime="WasmEdge", wasm_runtime_path=path)
    assert made.status is not Status.Success
    messages = [error.message for error in made.diagnostics.errors]
    assert any("demo-gelu" in text and "WasmEdge runs commands only" in text for text in messages), messages
    assert context(tmp_path, "demo-exit")["wasm-runtime/wasmedge"] == parts.wasmedge().read_bytes()
    assert not (tmp_path / "out" / "containers" / "demo-gelu").exists()
