"""The registry and the archive: the layout is Kit's own, and Kit installs from it."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portalis.examples.catalog import EXAMPLES
from portalis.omniverse import kit, kit_target
from portalis.omniverse.extension_registry import write_extension_zip
from tests import parts

from .conftest import Package

ID = "portalis_ext.two_examples"
PACKAGE_ID = f"{ID}-1.2.3+110.0.lx64.cp312"
INSTALL = b"""
import sys
import numpy as np
import omni.kit.app
name, inputs, outputs = sys.argv[1:4]
manager = omni.kit.app.get_app().get_extension_manager()
manager.sync_registry()
print("LISTED", [each["id"] for each in manager.get_registry_extensions() if each["name"] == name])
print("ENABLED", manager.set_extension_enabled_immediate(name, True))
found = manager.get_extension_dict(manager.get_enabled_extension_id(name)).get_dict()
print("INSTALLED", found["path"], found["package"]["packageId"])
import importlib
extension = importlib.import_module(name).get_extension()
np.savez(outputs, **{key: extension.call_function(key, key, array) for key, array in np.load(inputs).items()})
"""


def registry(package: Package) -> Path:
    package.config["registry"] = True
    package.make()
    return package.output / "omniverse" / "registry"


def unpack_wheels(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def digest(path: Path) -> str:
    return hashlib.sha1(gzip.decompress(path.read_bytes())).hexdigest()[:16]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_registry_is_written_only_on_request(package: Package) -> None:
    package.make()
    assert not (package.output / "omniverse" / "registry").exists()


def test_the_index_names_the_archive_with_the_solvers_fields(package: Package) -> None:
    package.config["dependencies"] = [{"extension_name": "omni.usd", "version_requirement": "1.0"}]
    v2 = registry(package) / "v2"
    line = gzip.decompress((v2 / "packages" / f"{ID}.gz").read_bytes()).decode()
    assert line.startswith(f"{PACKAGE_ID} {{")
    assert line.count("\n") == 1
    about = json.loads(line.partition(" ")[2])
    assert about["package"] == {
        "packageId": PACKAGE_ID,
        "id": f"{ID}-1.2.3",
        "name": ID,
        "version": "1.2.3",
        "metadata": "110.0.lx64.cp312",
        "archivePath": f"./archives/{ID}/{PACKAGE_ID}.zip",
        "publish": {"date": 1714979289},
        "target": {"kit": ["110.0"], "platform": ["linux-x86_64"], "python": ["cp312"]},
    }
    assert about["dependencies"]["omni.usd"] == {"version": "1.0"}
    summary = unpack_wheels(v2 / "summaries.gz")[PACKAGE_ID]
    assert summary["package"]["title"] == "two-examples"
    assert unpack_wheels(v2 / "registry.gz") == {
        "files": {
            f"packages/{ID}.json": digest(v2 / "packages" / f"{ID}.gz"),
            "summaries.json": digest(v2 / "summaries.gz"),
        }
    }
    for key in ("icon", "preview_image"):
        assert (v2 / summary["package"][f"{key}_remote"]).read_bytes() == (
            package.folder / summary["package"][key]
        ).read_bytes()
    whole = json.loads((v2 / "archives" / ID / f"{PACKAGE_ID}.json").read_text())
    assert whole["package"]["changelog"] == (package.folder / "docs" / "CHANGELOG.md").read_text()
    packed = v2 / "archives" / ID / f"{PACKAGE_ID}.zip"
    assert packed.read_bytes() == (package.output / "omniverse" / f"{PACKAGE_ID}.zip").read_bytes()
    with zipfile.ZipFile(packed) as archive:
        assert set(archive.namelist()) == files(package.folder)


def test_it_is_part_of_the_output_and_the_same_every_time(package: Package) -> None:
    package.config["registry"] = True
    made = package.make()
    first = package.files()
    assert {str(path) for path in made.tool_outputs} == {name for name in first if "/exts/" not in name}
    package.make()
    assert package.files() == first


def test_a_registry_does_not_need_a_separate_archive(package: Package) -> None:
    package.config["package_as_extension"] = False
    folder = registry(package)
    (packed,) = package.output.rglob("*.zip")
    assert packed == folder / "v2" / "archives" / ID / f"{PACKAGE_ID}.zip"
    with zipfile.ZipFile(packed) as archive:
        assert set(archive.namelist()) == files(package.folder)


def test_an_extension_that_is_not_publishable_gets_no_registry(package: Package, tmp_path: Path) -> None:
    from portalis.omniverse import extension_target as target

    package.config["registry"] = True
    job = package.job(tmp_path / "staging")
    (job.staging / "omniverse").mkdir(parents=True)
    made = target.run(job, target.generate(job))  # nothing was written
    assert len(made.errors) == 1
    assert not (job.staging / "omniverse" / "registry").exists()


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.0.0", "acme.tool-1.0.0+110.0.lx64.cp312"),
        ("3.0.0-beta.2+build.5", "acme.tool-3.0.0-beta.2+110.0.lx64.cp312"),
    ],
)
def test_the_package_id_is_kits_own(package: Package, version: str, expected: str) -> None:
    package.config |= {"extension_name": "acme.tool", "extension_version": version}
    assert kit_target.package_id(package.read()) == expected


@pytest.fixture
def kit_python(monkeypatch: pytest.MonkeyPatch) -> Path:
    python = parts.kit()
    monkeypatch.setenv("OMNI_KIT_ACCEPT_EULA", "YES")
    return python


@pytest.fixture
def served(package: Package) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(package.output / "omniverse" / "registry"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Do nothing: pytest shows the output of a failing test."""


def with_registry(python: Path, place: Path, url: str, *options: str) -> kit.KitRun:
    """Run Kit with only the registry `url`, and with separate caches under `place`."""
    settings = {
        "/exts/omni.kit.registry.nucleus/registries/0/name": "kit/default",
        "/exts/omni.kit.registry.nucleus/registries/0/url": url,
        # without Kit's own registries: the tests do not use the network
        **{f"/exts/omni.kit.registry.nucleus/registries/{i}/url": "" for i in (1, 2, 3)},
        "/exts/omni.kit.registry.nucleus/cachePath": place / "cache",
        "/app/extensions/registryEnabled": 1,
        "/app/extensions/registryCacheFull": place / "installed",
        "/app/fastShutdown": "false",
        "/app/quitAfter": 20,
    }
    arguments = [f"--{key}={value}" for key, value in settings.items()]
    return kit.run_kit(python, ["--no-window", "--portable-root", str(place / "kit"), *arguments, *options], os.environ)


def installed_and_called(python: Path, package: Package, url: str) -> str:
    """Kit's log of installing the extension from `url`; its modules returned NumPy's results."""
    inputs = {name: EXAMPLES[name].inputs() for name in ("gelu", "softmax")}
    np.savez(package.base / "inputs.npz", **{name: given["x"] for name, given in inputs.items()})
    script = package.input("install.py", INSTALL)
    command = f'"{script}" "{ID}" "{package.base / "inputs.npz"}" "{package.base / "outputs.npz"}"'
    options = ("--enable", "omni.kit.registry.nucleus", "--exec", command)
    started = with_registry(python, package.base / "place", url, *options)
    assert "[Error]" not in started.log, started.log
    for name, given in inputs.items():
        rtol, atol = EXAMPLES[name].tolerances
        expected = EXAMPLES[name].reference(given)["y"]
        np.testing.assert_allclose(np.load(package.base / "outputs.npz")[name], expected, rtol=rtol, atol=atol)
    return started.log


def test_kit_installs_from_the_directory(kit_python: Path, package: Package) -> None:
    folder = registry(package)
    log = installed_and_called(kit_python, package, str(folder))
    assert f"LISTED ['{ID}-1.2.3']" in log
    assert f"INSTALLED {package.base}/place/installed/{PACKAGE_ID} {PACKAGE_ID}" in log


def test_kit_installs_over_http(kit_python: Path, package: Package, served: str) -> None:
    registry(package)
    assert f"Extension: `{ID}-1.2.3` was installed" in installed_and_called(kit_python, package, served)


def test_kit_writes_the_same_layout_when_it_publishes_the_extension_itself(kit_python: Path, package: Package) -> None:
    ours, theirs = registry(package), package.base / "theirs"
    options = ("--ext-folder", str(package.folder.parent), "--publish", f"{ID}-1.2.3")
    started = with_registry(kit_python, package.base / "place", str(theirs), *options)
    assert "was published to the registry" in started.log, started.log
    assert {name for name in files(theirs) if not name.startswith("v2/logs/")} == files(ours)
    for name in ("summaries.gz", f"packages/{ID}.gz"):
        texts = [gzip.decompress((each / "v2" / name).read_bytes()).decode() for each in (ours, theirs)]
        our, their = (json.loads(text.removeprefix(PACKAGE_ID)) for text in texts)
        assert shape(our) == shape(their)


def test_kit_publishes_the_next_version_to_the_directory(kit_python: Path, package: Package) -> None:
    folder = registry(package)
    later = Package(base=package.base / "later", binaries=package.binaries, config={**package.config})
    later.base.mkdir()
    later.config["extension_version"] = "1.3.0"
    later.make()
    options = ("--ext-folder", str(later.folder.parent), "--publish", f"{ID}-1.3.0")
    started = with_registry(kit_python, package.base / "place", str(folder), *options)
    assert "was published to the registry" in started.log, started.log
    lines = gzip.decompress((folder / "v2" / "packages" / f"{ID}.gz").read_bytes()).decode().splitlines()
    assert [line.partition(" ")[0] for line in lines] == [PACKAGE_ID.replace("1.2.3", "1.3.0"), PACKAGE_ID]


def shape(value: Any) -> Any:
    """`value` without dates, which differ between two publications. Kit writes an empty list as an empty table."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items() if key != "date"} or None
    return value or None


def test_times_and_modes_of_the_files_do_not_change_the_archive(tmp_path: Path) -> None:
    folder = tmp_path / "ext"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "two.txt").write_text("2" * 5000)
    (folder / "a.txt").write_text("1")
    write_extension_zip(folder, tmp_path / "first.zip")
    os.utime(folder / "a.txt", (1, 1))
    (folder / "a.txt").chmod(0o600)
    write_extension_zip(folder, tmp_path / "second.zip")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "first.zip") as packed:
        assert packed.namelist() == ["a.txt", "b/two.txt"]
        assert packed.read("b/two.txt") == b"2" * 5000
        assert packed.testzip() is None
