"""What is in the image, and what is not; and that every way to build it builds the same."""

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

# prints every file of the image, with what tells files apart
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
    """Every file and folder in `image`: mode, owner, group, size."""
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
    # an exception has its reason in the line above it
    lines = DOCKERFILE.read_text().splitlines()
    exceptions = [i for i, line in enumerate(lines) if "hadolint ignore" in line]
    assert all(lines[i - 1].startswith("# ") for i in exceptions)


def test_the_dockerfile_says_this_version() -> None:
    text = DOCKERFILE.read_text()
    page = (DOCKERFILE.parent / "docs" / "triton-image.md").read_text()
    assert all(f"docker build -f Dockerfile.triton -t {TRITON_IMAGE} ." in each for each in (text, page))
    told = re.findall(r'(?:io\.portalis|org\.opencontainers\.image)\.version="(.*)"', text)
    assert told == [portalis.__version__] * 2


def test_the_pins_are_those_of_the_service_image() -> None:
    nim = DOCKERFILE.parent / "nim"

    def wasmtime(file: Path) -> str:
        return file.read_text().partition("\nwasmtime==")[2]

    assert wasmtime(nim / "triton" / "requirements.txt") == wasmtime(nim / "requirements.txt") != ""


@pytest.mark.slow
def test_it_is_configured(built: Built) -> None:
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
def test_it_adds_the_backend_its_wheels_and_nothing_else(
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
def test_no_compiler_is_added_and_no_wheel_left(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> None:
    for path in after.keys() - before.keys():
        assert Path(path).name not in COMPILERS
        assert not path.endswith((".whl", ".tar.gz"))
    assert not [path for path in after.keys() - before.keys() if "/.cache/pip" in path or path.startswith("/build")]


@pytest.mark.slow
def test_nothing_of_it_can_be_written_by_the_server(after: dict[str, list[Any]]) -> None:
    for path, (mode, owner, *_) in after.items():
        if path.startswith(("/opt/tritonserver/backends/wasm", "/opt/portalis")):
            assert (int(mode, 8) & 0o022, owner) == (0, 0), path
    assert after["/var/cache/triton"][0] == oct(0o041777)


@pytest.mark.slow
def test_the_backend_is_what_install_backend_writes(
    built: Built, after: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")  # the image's, which its planner runs with
    folder = install_backend(tmp_path)
    expected = {str(path.relative_to(tmp_path)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    root = "/opt/tritonserver/backends/"
    found = {
        path.removeprefix(root): size
        for path, (mode, _, _, size) in after.items()
        if path.startswith(f"{root}wasm/") and "__pycache__" not in path and mode.startswith("0o100")
    }
    # each names the Python that laid it out
    assert found.pop("wasm/interpreter") and expected.pop("wasm/interpreter")
    assert found == expected
    assert "wasm/libtriton_wasm.so" in found
    # compiled beforehand: the server's user could not write it
    assert any("/wasm/portalis_backend/__pycache__/program." in path for path in after)


@pytest.mark.slow
def test_built_on_itself_it_installs_nothing_again(built: Built, tmp_path: Path) -> None:
    """What the base image has stays: NumPy in NVIDIA's images, all of it here. No wheel and no network is needed."""
    triton_context().write_to(tmp_path / "context")
    tag = f"{TAG}-again"
    log = build(built.engine, tag, tmp_path / "context", dockerfile="Dockerfile", TRITON_IMAGE=built.image)
    assert not [line for line in log if "Installing collected packages" in line]
    layers = [layer["Size"] for layer in built.engine.history(tag)]
    assert 0 < sum(layers[: len(layers) - len(built.engine.history(built.image))]) < 4 << 20
    built.engine.remove_image(tag)


@pytest.mark.slow
def test_a_base_without_the_python_backend_fails_the_build_and_says_why(built: Built, tmp_path: Path) -> None:
    from tests import parts

    if built.base.host is None:
        pytest.skip("the other engine has the image without Triton")
    triton_context().write_to(tmp_path / "context")
    with pytest.raises(
        AssertionError, match="the base image has no /opt/tritonserver/backends/python/triton_python_ba"
    ):
        build(built.engine, f"{TAG}-x", tmp_path / "context", dockerfile="Dockerfile", TRITON_IMAGE=parts.BASE_IMAGE)


@pytest.mark.slow
def test_a_wheel_that_is_not_the_pinned_one_fails_the_build(built: Built, tmp_path: Path) -> None:
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
