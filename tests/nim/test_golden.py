"""Whole build contexts, compared line by line with committed files.

`make golden` (PORTALIS_GOLDEN=write) writes these files; the difference is reviewed in the commit.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from portalis.engines.build_context import BuildContext
from portalis.examples.catalog import EXAMPLES
from portalis.nim.dockerfile import render_dockerfile
from portalis.nim.service.settings import ModelSettings
from portalis.nim.service_context import ImageLabels, build_context
from portalis.nim.wasm_runtimes import RuntimeFiles
from portalis.spec.container import ContainerConfiguration, VolumeMount, WasmRuntime

GOLDEN = Path(__file__).parent / "golden"
RICH: dict[str, Any] = {
    "base_image": "example.org/python:3.12",
    "labels": {"org.example.team": "ranking", "with-dollar": "$HOME"},
    "environment_vars": {"LOG_LEVEL": "debug", "PRICE": "5 $", "TWO_LINES": "a\nb"},
    "health_check_endpoint": "/alive",
    "health_check_interval": 7,
    "service_port": 8100,
    "grpc_port": 8101,
    "metrics_port": 9100,
    "volumes": (VolumeMount(host_path="/data", container_path="/data/models"),),
    "command_args": ("--quiet", "$x"),
    "wasm_runtime_version": "50.0.7",
}


def image_labels() -> ImageLabels:
    return ImageLabels(
        package="demo",
        version="1.2.3",
        description="Activations",
        licenses="MIT",
        license_text="Do what you want.\n",
        source="https://example.org/demo.git",
        created="2024-05-06T07:08:09Z",
        authors="A. Author <a@example.org>",
        url="https://example.org",
        documentation="https://example.org/docs",
        revision="abc",
    )


def context(*names: str, runtime: RuntimeFiles | None = None, **config: Any) -> BuildContext:
    models = [(ModelSettings(name=name, file=f"{name}.wasm"), EXAMPLES[name].module) for name in names]
    return build_context(
        ContainerConfiguration(**config),
        models=models,
        labels=image_labels(),
        workers=3 if runtime else 0,
        runtime=runtime,
    )


def wasmer(folder: Path) -> RuntimeFiles:
    program = folder / "wasmer"
    program.write_bytes(b"\x7fELF")
    return RuntimeFiles(
        name="Wasmer",
        files={"bin/wasmer": program},
        executable=("bin/wasmer",),
        command=("/opt/wasm-runtime/bin/wasmer",),
    )


def plain(folder: Path) -> BuildContext:
    """The defaults."""
    return context("softmax")


def rich(folder: Path) -> BuildContext:
    """Every setting of an image with several modules, and a runtime with unknown hashes."""
    return context("softmax", "gelu", **RICH)


def other_runtime(folder: Path) -> BuildContext:
    """An external runtime."""
    return context("softmax", runtime=wasmer(folder), wasm_runtime=WasmRuntime.Wasmer)


def shown(made: BuildContext) -> str:
    """The Dockerfile and the other files of the context, except sources and hashes of distributions."""
    files = {str(path): content for path, content in made.files.items()}
    parts = [_text(files[name]) for name in ("Dockerfile", ".dockerignore", "models/service.json")]
    parts += [_text(files["unverified.txt"])] if "unverified.txt" in files else []
    parts.append(json.dumps(dict(made.arguments), indent=1, sort_keys=True))
    parts += [path for path in files if not path.startswith("app/")]
    parts += sorted({path.split("/")[1] for path in files if path.startswith("app/")})
    return "\n".join(parts) + "\n"


def _text(content: bytes | Path) -> str:
    return content.decode() if isinstance(content, bytes) else content.read_text()


@pytest.mark.parametrize("make", [plain, rich, other_runtime], ids=lambda make: make.__name__)
def test_a_build_context_matches_its_golden_file(tmp_path: Path, make: Any) -> None:
    check(f"{make.__name__}.golden", shown(make(tmp_path)))


@pytest.mark.parametrize("unverified", [False, True])
def test_an_image_with_a_wheelhouse_installs_offline(unverified: bool) -> None:
    text = render_dockerfile(
        ContainerConfiguration(), labels={"a": "b"}, modules=["m"], offline=True, unverified=unverified
    ).text
    check(f"offline{'-unverified' if unverified else ''}.golden", text)


def check(name: str, text: str) -> None:
    file = GOLDEN / name
    if os.environ.get("PORTALIS_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
