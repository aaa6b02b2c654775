"""The build context that an installed portalis writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from portalis.errors import UsageError
from portalis.images import TRITON_IMAGE
from portalis.nim.triton import triton_context
from portalis.nim.triton.__main__ import main
from portalis.spec.container import ContainerRuntime
from tests.layout.tree import copy_tree


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_context_is_written_and_the_build_command_printed(tmp_path: Path) -> None:
    folder = tmp_path / "context"
    command = [sys.executable, "-m", "portalis.nim.triton", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"build it with: docker build -t {TRITON_IMAGE} {folder}\n"
    written = files(folder)
    assert written.keys() == {str(path) for path in triton_context().files}
    assert b"ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:" in written["Dockerfile"]
    assert {"backend/triton/model.py", "portalis/wasm_backend.py", "nim/triton/assemble.py"} <= written.keys()
    # the image can be built for both architectures
    libraries = {f"backend/lib/{machine}/libtriton_wasm.so" for machine in ("aarch64", "x86_64")}
    assert {"backend/adapter/adapter.wasm", "backend/lib/x86_64/libwasm_core.so", *libraries} <= written.keys()
    assert not [name for name in written if name.endswith((".c", ".h"))]


def test_the_manifests_name_the_image_and_the_command_that_builds_it() -> None:
    from portalis.deploy.workload import triton_image_command

    command = f"python -m portalis.nim.triton triton-image && docker build -t {TRITON_IMAGE} triton-image"
    assert triton_image_command(ContainerRuntime.Docker) == command


def test_an_installed_portalis_and_a_checkout_have_the_same_context(tmp_path: Path) -> None:
    """A checkout's context consists of the files that .dockerignore includes, and of its Dockerfile.triton."""
    from docker.utils.build import exclude_paths

    clone, folder = copy_tree(tmp_path / "clone"), tmp_path / "context"
    for name in (
        "wheelhouse/a-1-py3-none-any.whl",
        "wheelhouse/notes.txt",
        "backend/__pycache__/program.pyc",
        "backend/x.so",
        "backend/lib/x86_64/__pycache__/x.so",
        "backend/adapter/other.wasm",
    ):
        (clone / name).parent.mkdir(exist_ok=True, parents=True)
        (clone / name).write_bytes(b"here for a build")
    triton_context(wheelhouse=clone / "wheelhouse").write_to(folder)
    patterns = [line for line in (clone / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    sent = {name for name in exclude_paths(str(clone), patterns, "Dockerfile.triton") if (clone / name).is_file()}
    written = files(folder)
    assert written.pop("Dockerfile") == (clone / "Dockerfile.triton").read_bytes()
    assert {name: (clone / name).read_bytes() for name in sent - {"Dockerfile.triton", ".dockerignore"}} == written


def test_the_context_contains_the_wheels(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a-1-py3-none-any.whl").write_bytes(b"wheel")
    (tmp_path / "wheels" / "requirements.txt").write_text("a==1")
    main([str(tmp_path / "context"), "--wheelhouse", str(tmp_path / "wheels")])
    assert {name for name in files(tmp_path / "context") if name.startswith("wheelhouse/")} == {
        "wheelhouse/a-1-py3-none-any.whl"
    }


def test_a_different_triton_image_is_a_build_argument() -> None:
    assert triton_context(triton_image="registry.example/triton:1").arguments == {
        "TRITON_IMAGE": "registry.example/triton:1"
    }
    assert triton_context().arguments == {}


def test_a_wheelhouse_without_wheels_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no wheels found in") as caught:
        triton_context(wheelhouse=tmp_path)
    assert "pip download" in caught.value.remediation


@pytest.mark.parametrize("inside", ["file", "file/context"])
def test_a_directory_that_cannot_be_created_is_an_error_without_a_traceback(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write to"):
        main([str(tmp_path / inside)])


def test_a_directory_that_is_not_empty_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-m", "portalis.nim.triton", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path} is not empty\nName a directory that is new or empty.\n"
    assert files(tmp_path) == {"mine": b"mine"}
