"""The check that Kit makes before it publishes an extension, made here without Kit, and what else would fail later.

Kit 110.4 (omni.kit.registry.nucleus, ``verification.py``) wants four texts, four files, a changelog with the version
as a heading, and a semantic version. Beyond that: paths stay inside the extension, pictures are pictures, and each
Python module, and the tests below it, lies where Kit looks. What Kit refuses is refused here; not the other way round.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import semver
import tomlkit
from tomlkit.exceptions import TOMLKitError

from .extension_toml import CONFIG
from .kit_target import KIT_PYTHONS
from .png import png_problem

PROBE = Path(__file__).with_name("import_probe.py")
TIMEOUT_S = 120
_SHOWN = 300  # characters of a reason: a name in it may be of any length
_TEXTS = ("version", "title", "description", "category")
_PICTURES = ("preview_image", "icon")
_FILES = ("readme", *_PICTURES, "changelog")
# as Kit reads a line of a changelog: `## [1.2.3] - 2024-05-06`, the date and the brackets optional
_HEADING = re.compile(r"\[?(?P<version>[^(\]|\s)]+)\]?( - \d{4}-\d{2}-\d{2})?")
_KNOWN_TARGETS = frozenset(f"cp{version.replace('.', '')}" for version in KIT_PYTHONS.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionFinding:
    """One thing that keeps an extension from being published, and what mends it."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return self.what


def check_extension(folder: Path) -> list[ExtensionFinding]:
    """What is wrong with the extension in `folder`, which is called by its id; empty when nothing is."""
    try:
        config = tomlkit.parse((folder / CONFIG).read_text(encoding="utf-8")).unwrap()
    except (OSError, UnicodeDecodeError, TOMLKitError) as problem:
        return [
            ExtensionFinding(what=f"{CONFIG} cannot be read: {problem}", remedy=f"Write {CONFIG} as TOML in UTF-8.")
        ]
    package = _table(config, "package")
    found = (_id(folder.name), _texts(package), _files(folder, package), _target(package), _modules(folder, config))
    return [fault for faults in found for fault in faults]


def _id(identifier: str) -> Iterator[ExtensionFinding]:
    if identifier.partition(".")[0].lower() == "omni":
        yield ExtensionFinding(
            what=f"the id {identifier} begins with omni., which is NVIDIA's own",
            remedy="Choose another extension_name.",
        )


def _texts(package: Mapping[str, Any]) -> Iterator[ExtensionFinding]:
    for key in _TEXTS:
        if not _text(package, key):
            yield _not_set(key, "a text")
    version = _text(package, "version")
    if version and not semver.Version.is_valid(version):
        yield ExtensionFinding(
            what=f"package.version is {version!r}, and no semantic version", remedy="Write it as 1.2.3 or 1.2.3-rc.1."
        )


def _files(folder: Path, package: Mapping[str, Any]) -> Iterator[ExtensionFinding]:
    for key in _FILES:
        path = _text(package, key)
        if not path:
            yield _not_set(key, "the path of a file in the extension")
        elif "\n" in path and key not in _PICTURES:
            continue  # the text itself, which Kit takes too
        elif not _is_inside(path) or not _is_file(folder / path):
            yield ExtensionFinding(
                what=f"package.{key} is {path!r}, and there is no such file in the extension",
                remedy="Add the file, or name one that is there.",
            )
        elif key in _PICTURES and (why := png_problem(folder / path)) is not None:
            yield ExtensionFinding(what=f"package.{key} is {path!r}, which {why}", remedy="Put a PNG there.")
    yield from _changelog(folder, package)


def _changelog(folder: Path, package: Mapping[str, Any]) -> Iterator[ExtensionFinding]:
    told = _text(package, "changelog")
    version = _text(package, "version").partition("+")[0]  # Kit puts a build of its own there
    try:
        text = told if "\n" in told else (folder / told).read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:
        if isinstance(problem, UnicodeDecodeError):
            yield ExtensionFinding(what=f"{told} is no UTF-8: {problem}", remedy="Write the changelog in UTF-8.")
        return  # that it is not there is told already
    if version and version not in _versions(text):
        where = "package.changelog" if "\n" in told else told
        yield ExtensionFinding(
            what=f"{where} has no heading with the version {version}", remedy=f"Add the heading `## [{version}]`."
        )


def _target(package: Mapping[str, Any]) -> Iterator[ExtensionFinding]:
    for python in _table(package, "target").get("python") or ():
        if python not in _KNOWN_TARGETS and "*" not in str(python):
            yield ExtensionFinding(
                what=f"package.target.python names {python!r}, which is the Python of no Kit",
                remedy=f"Write one of {', '.join(sorted(_KNOWN_TARGETS))}: Kit shows the extension nowhere else.",
            )


def _modules(folder: Path, config: Mapping[str, Any]) -> Iterator[ExtensionFinding]:
    modules = _table(config, "python").get("module")
    names = [str(each.get("name") or "") for each in modules or () if isinstance(each, Mapping)]
    if folder.name not in names:
        yield ExtensionFinding(
            what=f"python.module does not name {folder.name}",
            remedy=f'Add [[python.module]] with name = "{folder.name}".',
        )
    for name in filter(None, names):
        place = PurePosixPath(*name.split("."))
        if not _is_file(folder / place / "__init__.py"):
            yield ExtensionFinding(
                what=f"python.module names {name}, and {place}/__init__.py is not there",
                remedy="Add the module, or take its name out.",
            )
        elif config.get("test") and not _is_file(folder / place / "tests" / "__init__.py"):
            yield ExtensionFinding(
                what=f"[[test]] is there, and {place}/tests/__init__.py, in which Kit looks for tests, is not",
                remedy="Add the tests, or take [[test]] out.",
            )


def _versions(changelog: str) -> set[str]:
    headings = (line.lstrip(" #").rstrip() for line in changelog.splitlines() if line.lstrip().startswith("#"))
    return {found["version"] for line in headings if (found := _HEADING.fullmatch(line))}


def _not_set(key: str, kind: str) -> ExtensionFinding:
    return ExtensionFinding(what=f"package.{key} is not set", remedy=f"Set package.{key} to {kind}.")


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = table.get(key)
    return found if isinstance(found, Mapping) else {}


def _text(table: Mapping[str, Any], key: str) -> str:
    """The text at `key`; empty where there is none, or something else."""
    found = table.get(key)
    return found if isinstance(found, str) else ""


def _is_inside(path: str) -> bool:
    return not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts and "\\" not in path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def check_imports(folder: Path, identifier: str) -> list[ExtensionFinding]:
    """What cannot be imported of the extension `identifier` in `folder`, where nothing is left behind."""
    # -S: nothing that is installed here is needed; -B: no bytecode is written
    command = [sys.executable, "-I", "-S", "-B", str(PROBE), str(folder), identifier]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        found = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return [_import_fault(identifier, f"the import did not end within {TIMEOUT_S} s")]
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return [_import_fault(identifier, last[0])]
    return [_import_fault(name, why) for name, why in found]


def _import_fault(name: str, why: str) -> ExtensionFinding:
    return ExtensionFinding(
        what=f"{name} cannot be imported: {why[:_SHOWN]}",
        remedy="Give the tensors and modules that it names other names in the spec, and please report this.",
    )
