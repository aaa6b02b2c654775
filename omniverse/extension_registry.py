"""A folder that Kit takes for an extension registry: version 2 of the layout, with this one package in it.

The layout is the one that Kit 110.4 writes when it publishes (omni.kit.registry.nucleus, "Registry 2.0 Architecture"):

    v2/registry.gz                        the digests of the two below, by their names as Kit keeps them
    v2/summaries.gz                       the latest package of each extension, for who looks for one
    v2/packages/<name>.gz                 a line for each package: its id, and what the solver needs
    v2/archives/<name>/<package id>.zip   the extension
    v2/archives/<name>/<package id>.json  all of its configuration
    v2/resources/<digest>.png             icon and preview, to be shown before anything is installed

It is static: a web server that serves it, or a file system that holds it, is a registry, and Kit publishes further
packages into it. All files depend on the extension and on the date alone.
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

from ..output.zips import ZipMember, write_zip
from .extension_toml import CONFIG

VERSION = PurePosixPath("v2")
_SOLVER = ("packageId", "id", "name", "version", "metadata", "archivePath", "publish", "target")
_SHOWN = ("title", "category", "authors", "repository", "keywords", "preview_image", "icon")
_PICTURES = ("preview_image", "icon")
_TEXTS = ("readme", "changelog")
_LEVEL = 6  # with the wheels in it, 9 takes twice as long for one part in a hundred
_EPOCH = 315_532_800  # 1980, the earliest time that a ZIP can say


def write_registry(
    extension: Path, target: Path, *, package_id: str, date: int, packed: Path | None = None
) -> Sequence[PurePosixPath]:
    """Write the registry with the extension in the folder `extension` (called by its id) to the folder `target`.

    Returns the paths of all files, relative to `target`; `date` is in seconds since 1970, `packed` the archive where
    there is one already. Raises OSError.
    """
    name = extension.name
    config = tomlkit.parse((extension / CONFIG).read_text(encoding="utf-8")).unwrap()
    package = _package(extension, config["package"], package_id, date)
    files = _pictures(extension, package)
    at_archives = PurePosixPath("archives", name)
    texts = {key: (extension / package[key]).read_text(encoding="utf-8") for key in _TEXTS}
    files[at_archives / f"{package_id}.json"] = _json({**config, "package": {**package, **texts}})

    short = {key: package[key] for key in _SOLVER}
    about = {"package": short, "dependencies": config.get("dependencies", {})}
    shown = {key: package[key] for key in (*_SHOWN, *(f"{each}_remote" for each in _PICTURES))}
    indexed = {
        PurePosixPath("packages", name): package_id.encode() + b" " + _json(about) + b"\n",
        PurePosixPath("summaries"): _json({package_id: {**about, "package": {**short, **shown}}}),
    }
    digests = {f"{path}.json": _digest(content) for path, content in indexed.items()}
    indexed[PurePosixPath("registry")] = _json({"files": digests})
    files |= {path.with_name(f"{path.name}.gz"): _packed(content) for path, content in indexed.items()}

    for path, content in files.items():
        file = target / VERSION / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    place = at_archives / f"{package_id}.zip"
    if packed is None:
        write_extension_zip(extension, target / VERSION / place)
    else:
        shutil.copyfile(packed, target / VERSION / place)
    return [VERSION / path for path in (*files, place)]


def _package(extension: Path, told: Mapping[str, Any], package_id: str, date: int) -> dict[str, Any]:
    """``[package]``, and what Kit adds to it when it publishes."""
    identifier, _, metadata = package_id.partition("+")
    return {
        **told,
        "id": identifier,
        "packageId": package_id,
        "name": extension.name,
        "metadata": metadata,
        "archivePath": f"./archives/{extension.name}/{package_id}.zip",
        "publish": {"date": date},
    }


def _pictures(extension: Path, package: dict[str, Any]) -> dict[PurePosixPath, bytes]:
    """The pictures by their digests, which is what `package` says of them then."""
    files = {}
    for key in _PICTURES:
        content = (extension / package[key]).read_bytes()
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        path = PurePosixPath("resources", f"{digest}{PurePosixPath(package[key]).suffix}")
        package[f"{key}_remote"] = f"./{path}"
        files[path] = content
    return files


def _digest(content: bytes) -> str:
    # Kit compares it with the one that it has seen before, and recomputes it when it publishes
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()[:16]


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=True).encode()


def _packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def write_extension_zip(folder: Path, target: Path) -> None:
    """Pack all files of `folder` into `target`, which must not exist. Raises OSError."""
    with target.open("xb") as file:
        write_zip(file, _members(folder), epoch=_EPOCH, level=_LEVEL)


def _members(folder: Path) -> Iterator[ZipMember]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        # no mode of the file on disk: Kit makes all that it unpacks readable, and runs none of it as a program
        yield ZipMember(name=name, content=path.open("rb"), size_bytes=path.stat().st_size)
