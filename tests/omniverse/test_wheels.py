"""The wheels of an extension: only the pinned files for a Kit's Python."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.tags import parse_tag

from portalis import pins
from portalis.omniverse import kit_target, prebundle, wheels
from portalis.omniverse.wheels import BundledWheel, NoWheels
from portalis.pins import Pin
from portalis.problems import InputProblems
from tests import parts
from tests.parts import ROOT

from .conftest import Package


def wheel(files: dict[str, bytes], **modes: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = modes.get(name.replace(".", "_"), 0o100644) << 16
            archive.writestr(entry, data)
    return made.getvalue()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a wheel of each name, which are the pinned ones."""
    folder = tmp_path / "house"
    folder.mkdir()
    found = []
    for name, tags in (("numpy", "cp312-cp312-manylinux_2_28_x86_64"), ("wasmtime", "py3-none-manylinux1_x86_64")):
        data = wheel({f"{name}/__init__.py": b"x = 1\n", f"{name}-1.0.dist-info/licenses/LICENSE": b"free"})
        (folder / f"{name}-1.0-{tags}.whl").write_bytes(data)
        found.append(Pin(name=name, version="1.0", hashes=frozenset({hashlib.sha256(data).hexdigest()})))
    monkeypatch.setattr(wheels, "select_pins", lambda *_: tuple(found))
    return folder


def test_numpy_and_wasmtime_are_pinned_with_hashes_for_every_kit() -> None:
    for pin in pins.select_pins(*wheels.NAMES):
        assert len(pin.hashes) > 1
        assert all(len(each) == 64 for each in pin.hashes)
    assert set(kit_target.KIT_PYTHONS.values()) <= {"3.10", "3.11", "3.12", "3.13"}


def test_a_line_that_is_not_a_pin_is_rejected() -> None:
    with pytest.raises(ValueError, match="expected a pinned requirement .*, got numpy>=2"):
        list(pins.parse_pins("numpy>=2\n"))
    text = "# a comment\n\nname-it==1.2 ; python_full_version < '3.11' \\\n    --hash=sha256:" + "a" * 64 + "\n"
    (pin,) = pins.parse_pins(text)
    assert (str(pin), sorted(pin.hashes)) == ("name-it==1.2", ["a" * 64])
    assert next(pins.parse_pins(pin.requirement())) == pin


@pytest.mark.parametrize(
    ("tags", "python", "expected"),
    [
        ("cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64", "3.12", True),
        ("cp312-cp312-manylinux_2_17_x86_64", "3.10", False),
        ("py3-none-manylinux1_x86_64", "3.10", True),
        ("py3-none-any", "3.11", True),
        ("cp38-abi3-manylinux_2_28_x86_64", "3.12", True),
        ("cp312-abi3-manylinux_2_28_x86_64", "3.11", False),
        ("cp312-cp312-manylinux_2_28_aarch64", "3.12", False),
        ("cp312-cp312-musllinux_1_2_x86_64", "3.12", False),
        ("cp312-cp312-win_amd64", "3.12", False),
        ("cp312-cp312t-manylinux_2_28_x86_64", "3.12", False),
    ],
)
def test_the_name_of_a_wheel_decides_which_python_accepts_it(tags: str, python: str, expected: bool) -> None:
    assert wheels.fits(parse_tag(tags), python) is expected


def test_the_wheels_of_a_directory_are_unpacked_with_their_licenses(house: Path, package: Package) -> None:
    package.config |= {"prebundle": True, "wheelhouse": str(house)}
    made = package.make()
    assert made.warnings == ()
    found = sorted(str(path.relative_to(package.folder)) for path in (package.folder / "pip_prebundle").rglob("*.*"))
    assert "pip_prebundle/numpy/__init__.py" in found
    assert (package.folder / "pip_prebundle/wasmtime-1.0.dist-info/licenses/LICENSE").read_bytes() == b"free"
    first = package.files()
    package.make()
    assert package.files() == first


def test_a_directory_without_the_wheel_is_a_warning_and_the_extension_is_generated(
    house: Path, package: Package
) -> None:
    package.config |= {"prebundle": True, "wheelhouse": str(house), "required_kit_version": "106.0"}
    made = package.make()
    (warning,) = made.warnings
    assert warning.message.endswith("lacks the pinned wheels for Python 3.10 on 64-bit Linux: numpy==1.0")
    assert "pip download --dest DIRECTORY" in warning.remediation
    assert "--python-version 3.10" in warning.remediation
    assert made.artifacts.omniverse_packages[0].validated
    assert not (package.folder / "pip_prebundle").exists()


def test_a_wheel_with_a_different_digest_is_ignored(house: Path) -> None:
    (path,) = house.glob("numpy-*")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(NoWheels, match="numpy==1.0"):
        wheels.get_wheels("3.12", house, print)


def test_a_wheelhouse_that_is_not_a_directory_is_reported_before_files_are_written(package: Package) -> None:
    file = package.input("wheels.txt", b"")
    package.config["wheelhouse"] = file
    with pytest.raises(InputProblems, match=r"omniverse_config\.wheelhouse: .*wheels\.txt is not a directory"):
        package.read()


def test_wheels_in_the_cache_are_not_downloaded_again(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    reports: list[str] = []
    found = wheels.get_wheels("3.12", None, reports.append, cache=house)
    assert [each.name for each in found] == ["numpy", "wasmtime"]
    assert reports == []


def test_a_failed_download_is_reported_with_reason_and_remediation(
    house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    reports: list[str] = []
    with pytest.raises(NoWheels, match=r"cannot download numpy==1.0.* for Python 3.12: ERROR") as caught:
        wheels.get_wheels("3.12", None, reports.append, cache=tmp_path / "cache")
    assert "omniverse_config.wheelhouse" in caught.value.remediation
    assert reports == ["downloading numpy==1.0 and wasmtime==1.0 for Python 3.12"]


def test_pip_fills_the_cache(house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(house))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for path in house.glob("*.whl"):
        name = path.name.split("-")[0]
        meta = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
        files = {f"{name}.py": b"", f"{name}-1.0.dist-info/METADATA": meta, f"{name}-1.0.dist-info/RECORD": b""}
        files[f"{name}-1.0.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
        path.write_bytes(wheel(files))
    found = tuple(
        Pin(
            name=path.name.split("-")[0],
            version="1.0",
            hashes=frozenset({hashlib.sha256(path.read_bytes()).hexdigest()}),
        )
        for path in sorted(house.glob("*.whl"))
    )
    monkeypatch.setattr(wheels, "select_pins", lambda *_: found)
    cache = tmp_path / "cache"
    assert [each.name for each in wheels.get_wheels("3.12", None, print, cache=cache)] == ["numpy", "wasmtime"]
    assert sorted(path.name for path in cache.iterdir()) == sorted(path.name for path in house.iterdir())


@pytest.mark.parametrize("name", ["../up.py", "/abs.py", "a/../../b.py", "C:/x.py", "a\\b.py"])
def test_a_path_outside_the_directory_is_rejected(name: str) -> None:
    made = BundledWheel(name="numpy", version="1.0", data=wheel({name: b""}))
    with pytest.raises(ValueError, match="numpy|is not inside"):
        prebundle.unpack_wheels([made])


def test_a_link_is_rejected() -> None:
    data = wheel({"link.py": b"/etc/passwd"}, link_py=stat.S_IFLNK | 0o777)
    with pytest.raises(ValueError, match="which points outside the directory"):
        prebundle.unpack_wheels([BundledWheel(name="numpy", version="1.0", data=data)])


def test_files_that_a_wheel_would_install_elsewhere_are_unpacked_for_import() -> None:
    files = {"n-1.data/purelib/n.py": b"", "n-1.data/scripts/run": b"", "n-1.dist-info/METADATA": b""}
    tree = prebundle.unpack_wheels([BundledWheel(name="n", version="1", data=wheel(files))])
    assert [str(entry.path) for entry in tree] == ["pip_prebundle/n-1.dist-info/METADATA", "pip_prebundle/n.py"]


KITS = {"106.5": "3.10", "107.3": "3.11", "110.4": "3.12"}
WITHOUT_KIT = """
import sys, types
from pathlib import Path
sys.dont_write_bytecode = True
root = Path(sys.argv[1])
# the package without its __init__, which is for Kit
for name in ("acme", "acme.softmax"):
    package = types.ModuleType(name)
    package.__path__ = [str(root.joinpath(*name.split(".")))]
    sys.modules[name] = package
from acme.softmax import bundled
bundled.add(root)
bundled.check("wasmtime>=50,<51")
import json
import numpy as np
from acme.softmax.programs import Programs
table = json.loads((root / "acme" / "softmax" / "modules.json").read_text())
programs = Programs(root, table, {})
print(np.__file__)
print(programs.call("softmax", None, np.zeros((1, 4), np.float32)).tolist())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kit_version", list(KITS))
@pytest.mark.bulk
def test_the_wheels_run_in_the_python_of_each_kit(package: Package, kit_version: str) -> None:
    python = parts.python(KITS[kit_version])
    try:
        wheels.get_wheels(KITS[kit_version], None, print)
    except NoWheels as problem:
        parts.skip_or_fail(f"the wheels of NumPy and Wasmtime: {problem}")
    package.binaries = package.binaries[1:]
    package.config = {
        "required_kit_version": kit_version,
        "extension_name": "acme.softmax",
        "package_as_extension": False,
    }
    package.make()
    # without site-packages: imports come from the extension
    command = [str(python), "-I", "-S", "-c", WITHOUT_KIT, str(package.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where, result = done.stdout.splitlines()
    assert where == f"/{package.folder}/pip_prebundle/numpy/__init__.py"
    assert result == "[[0.25, 0.25, 0.25, 0.25]]"


def test_modules_inside_kit_use_the_syntax_of_the_oldest_python() -> None:
    for path in (ROOT / "omniverse" / "inside").glob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
