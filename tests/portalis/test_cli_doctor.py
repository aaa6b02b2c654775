"""`portalis doctor`: installed dependencies, and how to install those that are missing."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from portalis.cli.doctor import _native as check_native
from tests import parts

from .conftest import Cli


@pytest.mark.triton
def test_it_reports_healthy_if_models_can_be_served(cli: Cli) -> None:
    install = parts.tritonserver()
    done = cli("doctor", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["healthy"]) == (0, True)
    dependencies = {part["name"]: part for part in report["parts"]}
    assert dependencies["tritonserver"]["where"] == str(install.binary)
    assert dependencies["python stub"]["version"] == f"Python {install.stub_python}"
    assert {name for name, part in dependencies.items() if part["required"]} == {
        *("wasmtime", "numpy", "tritonserver", "python stub")
    }


def test_every_missing_dependency_says_how_to_install_it(tmp_path: Path) -> None:
    """Without site-packages and PATH, almost every dependency is missing."""
    program = (
        "import json, sys; sys.path.append(sys.argv[1]);"
        "from portalis.cli.doctor import CHECKS; from dataclasses import asdict;"
        "print(json.dumps([asdict(check()) for check in CHECKS]))"
    )
    site = tmp_path / "site"
    site.mkdir()
    hidden = ("wasmtime", "numpy", "pytriton", "nvidia", "tritonclient", "PIL", "pillow", "ziglang")
    for package in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not package.name.startswith(hidden):
            (site / package.name).symlink_to(package)
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, str(site)],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(parts.ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    checked = json.loads(done.stdout)
    missing = [part for part in checked if not part["found"]]
    names = {"wasmtime", "numpy", "tritonserver", "python stub", "native executor", "tritonclient", "helm"}
    assert names <= {part["name"] for part in missing}
    assert all(part["how"] and part["needed_for"] for part in missing)


def test_required_and_optional_dependencies_are_grouped(cli: Cli) -> None:
    done = cli("doctor")
    required, optional = done.stdout.split("\noptional:\n")
    assert "to serve models:" in required
    assert "wasmtime" in required
    assert "kubectl" in optional


def test_the_native_executor_requires_a_library_for_this_machine_and_a_supported_wasmtime(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {part["name"]: part for part in json.loads(cli("doctor", "--json").stdout)["parts"]}["native executor"]
    assert (found["found"], found["required"], found["version"]) == (True, False, platform.machine())
    assert found["where"].endswith(f"/lib/{platform.machine()}/libtriton_wasm.so")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "49.0.0")
    assert "wasmtime 49.0.0 is installed" in check_native().how
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert check_native().how == "available for Linux on aarch64 and x86_64; else the Python executor runs models"


def test_a_docker_client_without_an_engine_is_not_reported_as_found(cli: Cli, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    done = cli("doctor", "--json", PATH=str(tmp_path), DOCKER_HOST=f"unix://{tmp_path}/none")
    found = {part["name"]: part for part in json.loads(done.stdout)["parts"]}["docker or podman"]
    assert not found["found"]
    assert f"{docker} is installed, but no engine responds" in found["how"]
