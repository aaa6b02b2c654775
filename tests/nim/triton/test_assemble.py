"""The build stage rejects unsuitable base images before it installs anything."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from pathlib import Path

import pytest

from portalis.nim.triton import assemble
from portalis.wasm_backend import island_files

REQUIREMENTS = (Path(assemble.__file__).parent / "requirements.txt").read_text()
OURS = f"3.{sys.version_info.minor}"


def stub(folder: Path, content: bytes) -> Path:
    """A Triton whose stub has this content; the stub of a real one names the libpython that it is linked with."""
    file = folder / "backends" / "python" / "triton_python_backend_stub"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return folder


def test_a_stub_for_this_python_is_accepted(tmp_path: Path) -> None:
    assemble.check_stub(stub(tmp_path, f"\0libpython{OURS}.so.1.0\0".encode()))


def test_a_statically_linked_stub_is_accepted(tmp_path: Path) -> None:
    assemble.check_stub(stub(tmp_path, b"\x7fELF, linked statically"))


def test_a_stub_for_a_different_python_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"python3 is Python {OURS}, but .* embeds Python 3.7. Set TRITON_IMAGE"):
        assemble.check_stub(stub(tmp_path, b"\0libpython3.7m.so.1.0\0"))


def test_a_missing_stub_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no .*triton_python_backend_stub"):
        assemble.check_stub(tmp_path)


def test_installed_distributions_are_not_installed_again() -> None:
    """This Python has some version of NumPy, and the pinned Wasmtime."""
    text = REQUIREMENTS.replace("\nwasmtime==50.0.1 ", f"\nwasmtime=={importlib.metadata.version('wasmtime')} ")
    assert assemble.missing(text) == ""


def test_missing_distributions_keep_their_markers_and_hashes() -> None:
    pin = 'no-such-thing==1.0 ; python_version >= "3.10" \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n'
    assert assemble.missing(f"# a comment\n{pin}{REQUIREMENTS.partition('wasmtime==')[0]}") == pin


def test_a_different_wasmtime_stops_the_build() -> None:
    found = importlib.metadata.version("wasmtime")
    with pytest.raises(SystemExit, match=f"the base image has wasmtime {found}, but the wasm backend requires 1.0.0"):
        assemble.missing("wasmtime==1.0.0 \\\n    --hash=sha256:00\n")


def test_the_assembled_tree_has_the_paths_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses this Python, which has NumPy and Wasmtime, instead of the image's."""
    here, base, root = tmp_path / "build", tmp_path / "base", tmp_path / "rootfs"
    here.mkdir()
    shutil.copy(Path(assemble.__file__).with_name("health.py"), here)
    (here / "requirements.txt").write_text(
        f"wasmtime=={importlib.metadata.version('wasmtime')} \\\n    --hash=sha256:00\n"
    )
    monkeypatch.setattr(assemble, "HERE", here)
    stub(base / "opt" / "tritonserver", f"libpython{OURS}.so.1.0".encode())
    assemble.main(root, base)
    made = {str(path.relative_to(root)) for path in root.rglob("*") if "__pycache__" not in path.parts}
    island = {f"opt/tritonserver/backends/wasm/portalis_backend/{path}" for path, _ in island_files()}
    assert island < made
    assert {"opt/portalis/health.py", "opt/tritonserver/backends/wasm/model.py", "var/cache/triton"} < made
    wasm = root / "opt" / "tritonserver" / "backends" / "wasm"
    assert {"libtriton_wasm.so", "plan.py"} <= {path.name for path in wasm.iterdir()}
    assert (wasm / "interpreter").read_text() == f"{sys.executable}\n"
    assert (root / "var" / "cache" / "triton").stat().st_mode & 0o7777 == 0o1777
    assert list((root / "opt" / "portalis" / "__pycache__").glob("health.*.pyc"))


def test_existing_directories_keep_their_mode(tmp_path: Path) -> None:
    base, root = tmp_path / "base", tmp_path / "root"
    (base / "opt" / "tritonserver").mkdir(parents=True)
    (base / "opt" / "tritonserver").chmod(0o750)
    (root / "opt" / "tritonserver" / "new").mkdir(parents=True)
    (root / "opt" / "tritonserver" / "new").chmod(0o755)
    assemble.keep_attributes(root, base)
    assert (root / "opt" / "tritonserver").stat().st_mode & 0o7777 == 0o750
    assert (root / "opt" / "tritonserver" / "new").stat().st_mode & 0o7777 == 0o755
