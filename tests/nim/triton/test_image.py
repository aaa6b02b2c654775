"""The image contains only the expected files, however it is built."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import portalis
from portalis.images import TRITON_IMAGE
from portalis.nim.triton import triton_context
from portalis.wasm_backend import install_backend
from tests.nim.triton.base import DOCKERFILE, build
from tests.nim.triton.conftest import TAG, Built

HADOLINT = Path(sys.executable).with_name("hadolint")
COMPILERS = {"gcc", "cc", "c++", "g++", "clang", "cargo", "rustc", "go", "zig", "tcc", "as", "ld", "make", "cmake"}

# prints the attributes of every file of the image
LIST = """
import json, os, sys
found = {}
for folder, below, names in os.walk("/"):
    if folder in ("/proc", "/sys", "/dev"):
        below.clear()
        continue
    for name in names + below:
        path = os.path.join(folder, name)
        status = os.lstat(path)
        size = 0 if name in below else status.st_size
        found[path] = [oct(status.st_mode), status.st_uid, status.st_gid, size]
json.dump(found, sys.stdout)
"""


def listing(built: Built, image: str) -> dict[str, list[Any]]:
    """Mode, owner, group and size of every file and directory in `image`."""
    made = built.engine.create_container(
        image, ["python3", "-c", LIST], user="0", host_config=built.engine.create_host_config(network_mode="none")
    )["Id"]
    try:
        built.engine.start(made)
        assert built.engine.wait(made)["StatusCode"] == 0, built.engine.logs(made)
        found: dict[str, list[Any]] = json.loads(built.engine.logs(made, stderr=False).decode().splitlines()[-1])
        return found
    finally:
        built.engine.remove_container(made, force=True)


@pytest.fixture(scope="module")
def before(built: Built) -> dict[str, list[Any]]:
    return listing(built, built.base.image)


@pytest.fixture(scope="module")
def after(built: Built) -> dict[str, list[Any]]:
    return listing(built, built.image)


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([HADOLINT, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    # the reason for an exception is in the line above it
    lines = DOCKERFILE.read_text().splitlines()
    exceptions = [i for i, line in enumerate(lines) if "hadolint ignore" in line]
    assert all(lines[i - 1].startswith("# ") for i in exceptions)


def test_the_dockerfile_has_the_current_version() -> None:
    text = DOCKERFILE.read_text()
    page = (DOCKERFILE.parent / "docs" / "triton-image.md").read_text()
    assert all(f"docker build -f Dockerfile.triton -t {TRITON_IMAGE} ." in each for each in (text, page))
    versions = re.findall(r'(?:io\.portalis|org\.opencontainers\.image)\.version="(.*)"', text)
    assert versions == [portalis.__version__] * 2


def test_the_pins_equal_those_of_the_service_image() -> None:
    nim = DOCKERFILE.parent / "nim"

    def wasmtime(file: Path) -> str:
        return file.read_text().partition("\nwasmtime==")[2]

    assert wasmtime(nim / "triton" / "requirements.txt") == wasmtime(nim / "requirements.txt") != ""


@pytest.mark.slow
def test_the_image_has_its_configuration(built: Built) -> None:
    config = built.config()
    assert config["User"] == "1000:1000"
    assert config["Cmd"] == ["tritonserver", "--model-repository=/models"]
    assert config["Entrypoint"] == built.engine.inspect_image(built.base.image)["Config"]["Entrypoint"]
    assert {"8000/tcp", "8001/tcp", "8002/tcp"} <= config["ExposedPorts"].keys()
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "python3", "-I", "/opt/portalis/health.py"]
    assert config["Labels"]["org.opencontainers.image.base.name"] == built.base.image
    assert config["Labels"]["org.opencontainers.image.title"] == "portalis-triton"


@pytest.mark.slow
def test_the_image_adds_only_the_backend_and_its_wheels(
    before: dict[str, list[Any]], after: dict[str, list[Any]]
) -> None:
    ours = re.compile(
        r"/opt/tritonserver/backends/wasm(/.*)?|/opt/portalis(/health\.py|/__pycache__.*)?|/var/cache/triton"
        r"|/usr/(local/)?lib/python3(\.\d+)?/(dist|site)-packages/(wasmtime|numpy).*"
        r"|/usr/(local/)?bin/f2py"
    )
    added = after.keys() - before.keys()
    assert not [path for path in sorted(added) if ours.fullmatch(path) is None]
    assert not before.keys() - after.keys()
    runtime = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/.dockerenv"}
    changed = {path for path in before.keys() & after.keys() - runtime if before[path] != after[path]}
    assert changed == set()


@pytest.mark.slow
def test_the_image_adds_no_compiler_and_no_wheel_files(
    before: dict[str, list[Any]], after: dict[str, list[Any]]
) -> None:
    for path in after.keys() - before.keys():
        assert Path(path).name not in COMPILERS
        assert not path.endswith((".whl", ".tar.gz"))
    assert not [path for path in after.keys() - before.keys() if "/.cache/pip" in path or path.startswith("/build")]


@pytest.mark.slow
def test_the_server_cannot_write_the_added_files(after: dict[str, list[Any]]) -> None:
    for path, (mode, owner, *_) in after.items():
        if path.startswith(("/opt/tritonserver/backends/wasm", "/opt/portalis")):
            assert (int(mode, 8) & 0o022, owner) == (0, 0), path
    assert after["/var/cache/triton"][0] == oct(0o041777)


@pytest.mark.slow
def test_the_backend_equals_the_output_of_install_backend(
    built: Built, after: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")  # the image's Python, which runs the planner process
    folder = install_backend(tmp_path)
    expected = {str(path.relative_to(tmp_path)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    root = "/opt/tritonserver/backends/"
    found = {
        path.removeprefix(root): size
        for path, (mode, _, _, size) in after.items()
        if path.startswith(f"{root}wasm/") and "__pycache__" not in path and mode.startswith("0o100")
    }
    # each names the Python that installed it
    assert found.pop("wasm/interpreter") and expected.pop("wasm/interpreter")
    assert found == expected
    assert "wasm/libtriton_wasm.so" in found
    # compiled during the build: the server's user cannot write it
    assert any("/wasm/portalis_backend/__pycache__/program." in path for path in after)


@pytest.mark.slow
def test_an_image_built_on_itself_installs_nothing(built: Built, tmp_path: Path) -> None:
    """Distributions of the base image are kept, here all of them: neither wheels nor a network are needed."""
    triton_context().write_to(tmp_path / "context")
    tag = f"{TAG}-again"
    log = build(built.engine, tag, tmp_path / "context", dockerfile="Dockerfile", TRITON_IMAGE=built.image)
    assert not [line for line in log if "Installing collected packages" in line]
    layers = [layer["Size"] for layer in built.engine.history(tag)]
    assert 0 < sum(layers[: len(layers) - len(built.engine.history(built.image))]) < 4 << 20
    built.engine.remove_image(tag)


@pytest.mark.slow
def test_a_base_image_without_the_python_backend_fails_the_build_with_a_reason(built: Built, tmp_path: Path) -> None:
    from tests import parts

    if built.base.host is None:
        pytest.skip("the other engine has the image without Triton")
    triton_context().write_to(tmp_path / "context")
    with pytest.raises(
        AssertionError, match="the base image has no /opt/tritonserver/backends/python/triton_python_ba"
    ):
        build(built.engine, f"{TAG}-x", tmp_path / "context", dockerfile="Dockerfile", TRITON_IMAGE=parts.BASE_IMAGE)


@pytest.mark.slow
def test_a_wheel_with_a_different_hash_fails_the_build(built: Built, tmp_path: Path) -> None:
    if built.base.wheelhouse is None:
        pytest.skip("this base is built on with the package index, which has the right wheels")
    triton_context(wheelhouse=built.base.wheelhouse).write_to(tmp_path / "context")
    (wheel,) = (tmp_path / "context" / "wheelhouse").glob("wasmtime-*.whl")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("wasmtime/more.py", "print('not from where it should be')")
    with pytest.raises(AssertionError) as caught:
        build(built.engine, f"{TAG}-y", tmp_path / "context", dockerfile="Dockerfile", TRITON_IMAGE=built.base.image)
    assert "DO NOT MATCH THE HASHES" in str(caught.value)
    assert "pip could not install the wheels (see above)" in str(caught.value)
