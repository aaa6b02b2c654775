"""Writes an extension's archive, and an extension registry for Kit (layout version 2) with this one package.

The layout is that of Kit 110.4 when it publishes (omni.kit.registry.nucleus, "Registry 2.0 Architecture"):

    v2/registry.gz                        the digests of the next two files, by the names that Kit caches them under
    v2/summaries.gz                       the latest package of each extension, for a search
    v2/packages/<name>.gz                 a line for each package: its id, and the fields that the solver needs
    v2/archives/<name>/<package id>.zip   the extension
    v2/archives/<name>/<package id>.json  its whole configuration
    v2/resources/<digest>.png             icon and preview image, shown before the extension is installed

A registry is a set of static files, on a web server or in a file system; Kit can publish more packages to it. The
files depend only on the extension and the date.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import tomlkit

from ..output.zips import EARLIEST_EPOCH, ZipMember, write_zip
from .extension_toml import CONFIG

VERSION = PurePosixPath("v2")
_SOLVER = ("packageId", "id", "name", "version", "metadata", "archivePath", "publish", "target")
_DISPLAYED = ("title", "category", "authors", "repository", "keywords", "preview_image", "icon")
_IMAGES = ("preview_image", "icon")
_TEXTS = ("readme", "changelog")
_LEVEL = 6  # with wheels in the archive, level 9 takes twice as long and saves 1 %


def write_registry(
    extension: Path, target: Path, *, package_id: str, date: int, packed: Path | None = None
) -> Sequence[PurePosixPath]:
    """Write a registry with the extension in the directory `extension`, which is named by its id, to `target`.

    Returns the paths of all files, relative to `target`. `date` is in seconds since 1970; `packed` is the archive, if
    it exists already. Raises OSError.
    """
    name = extension.name
    config = tomlkit.parse((extension / CONFIG).read_text(encoding="utf-8")).unwrap()
    package = _package(extension, config["package"], package_id, date)
    files = _images(extension, package)
    archives = PurePosixPath("archives", name)
    texts = {key: (extension / package[key]).read_text(encoding="utf-8") for key in _TEXTS}
    files[archives / f"{package_id}.json"] = _json({**config, "package": {**package, **texts}})

    short = {key: package[key] for key in _SOLVER}
    about = {"package": short, "dependencies": config.get("dependencies", {})}
    displayed = {key: package[key] for key in (*_DISPLAYED, *(f"{each}_remote" for each in _IMAGES))}
    indexed = {
        PurePosixPath("packages", name): package_id.encode() + b" " + _json(about) + b"\n",
        PurePosixPath("summaries"): _json({package_id: {**about, "package": {**short, **displayed}}}),
    }
    digests = {f"{path}.json": _digest(content) for path, content in indexed.items()}
    indexed[PurePosixPath("registry")] = _json({"files": digests})
    files |= {path.with_name(f"{path.name}.gz"): _gzip(content) for path, content in indexed.items()}

    for path, content in files.items():
        file = target / VERSION / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    archive = archives / f"{package_id}.zip"
    if packed is None:
        write_extension_zip(extension, target / VERSION / archive)
    else:
        shutil.copyfile(packed, target / VERSION / archive)
    return [VERSION / path for path in (*files, archive)]


def _package(extension: Path, package: Mapping[str, Any], package_id: str, date: int) -> dict[str, Any]:
    """The table ``[package]``, with the keys that Kit adds when it publishes."""
    identifier, _, metadata = package_id.partition("+")
    return {
        **package,
        "id": identifier,
        "packageId": package_id,
        "name": extension.name,
        "metadata": metadata,
        "archivePath": f"./archives/{extension.name}/{package_id}.zip",
        "publish": {"date": date},
    }


def _images(extension: Path, package: dict[str, Any]) -> dict[PurePosixPath, bytes]:
    """The images, named by their digests; the names are added to `package`."""
    files = {}
    for key in _IMAGES:
        content = (extension / package[key]).read_bytes()
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        path = PurePosixPath("resources", f"{digest}{PurePosixPath(package[key]).suffix}")
        package[f"{key}_remote"] = f"./{path}"
        files[path] = content
    return files


def _digest(content: bytes) -> str:
    # Kit compares the digest with its cached one, and computes it again when it publishes
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()[:16]


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=True).encode()


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def write_extension_zip(folder: Path, target: Path) -> None:
    """Write all files of `folder` to the ZIP `target`, which must not exist. Raises OSError.

    The extension's files are at the root of the archive. The same files result in the same bytes.
    """
    with target.open("xb") as file:
        write_zip(file, _members(folder), epoch=EARLIEST_EPOCH, level=_LEVEL)


def _members(folder: Path) -> Iterator[ZipMember]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        # without the file's mode: Kit makes every unpacked file readable, and executes none of them
        yield ZipMember(name=name, content=path.open("rb"), size_bytes=path.stat().st_size)
