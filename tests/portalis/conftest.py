"""Model repositories and registries for the tests of the core and the command line."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wasmtime

from tests.registry_server import RegistryServer, registry_server
from tests.running.commands import portalis

ADD = """(module (func (export "add") (param $a f32) (param $b f32) (result f32)
  (f32.add (local.get $a) (local.get $b))))"""

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def write_model(repository: Path, name: str, wat: str = ADD, *, config: str = 'backend: "wasm"\n') -> Path:
    """Write a model with one version; returns the path of its module."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    module = version / "model.wasm"
    module.write_bytes(wasmtime.wat2wasm(wat))
    return module


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository with the model `add`."""
    folder = tmp_path / "models"
    write_model(folder, "add")
    return folder


@pytest.fixture
def add_wasm(repository: Path) -> Path:
    return repository / "add" / "1" / "model.wasm"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A function that runs the `portalis` command in an empty directory."""
    folder = tmp_path / "cwd"
    folder.mkdir()

    def run(*args: str | os.PathLike[str], **environment: str) -> subprocess.CompletedProcess[str]:
        return portalis(*args, folder=folder, environment=os.environ | environment)

    return run


@pytest.fixture
def server(tmp_path: Path, registry_program: str) -> Iterator[RegistryServer]:
    """A registry without authentication."""
    with registry_server(tmp_path / "registry") as server:
        yield server


@pytest.fixture
def guarded_server(tmp_path: Path, registry_program: str) -> Iterator[RegistryServer]:
    """A registry that requires a user name and a password."""
    with registry_server(tmp_path / "guarded", password=True) as server:
        yield server
