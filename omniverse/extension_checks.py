"""Checks of a generated extension: Kit's publishing check, reproduced without Kit, and an import of its Python modules.

Kit 110.4 (omni.kit.registry.nucleus, ``verification.py``) requires four strings, four files, a changelog with the
version as a heading, and a semantic version. The check here also requires paths inside the extension, valid images,
and each Python module and its tests in the directories that Kit searches. It rejects everything that Kit rejects, and
more.
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
_MAX_REASON = 300  # characters: a reason can contain a name of any length
_TEXTS = ("version", "title", "description", "category")
_IMAGES = ("preview_image", "icon")
_FILES = ("readme", *_IMAGES, "changelog")
# Kit's pattern for a heading of a changelog: `## [1.2.3] - 2024-05-06`, date and brackets optional
_HEADING = re.compile(r"\[?(?P<version>[^(\]|\s)]+)\]?( - \d{4}-\d{2}-\d{2})?")
_KNOWN_TARGETS = frozenset(f"cp{version.replace('.', '')}" for version in KIT_PYTHONS.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionFinding:
    """A reason why an extension cannot be published, and its remediation."""

    what: str
    remediation: str

    def __str__(self) -> str:
        return self.what


def check_extension(folder: Path) -> list[ExtensionFinding]:
    """Findings of the publishing check for the extension in `folder`, a directory named by the extension's id."""
    try:
        config = tomlkit.parse((folder / CONFIG).read_text(encoding="utf-8")).unwrap()
    except (OSError, UnicodeDecodeError, TOMLKitError) as problem:
        return [
            ExtensionFinding(
                what=f"{CONFIG} cannot be read: {problem}", remediation=f"Write {CONFIG} as TOML in UTF-8."
            )
        ]
    package = _table(config, "package")
    results = (_id(folder.name), _texts(package), _files(folder, package), _target(package), _modules(folder, config))
    return [finding for findings in results for finding in findings]


def _id(identifier: str) -> Iterator[ExtensionFinding]:
    if identifier.partition(".")[0].lower() == "omni":
        yield ExtensionFinding(
            what=f"the id {identifier} begins with omni., which is reserved for NVIDIA",
            remediation="Choose another extension_name.",
        )


def _texts(package: Mapping[str, Any]) -> Iterator[ExtensionFinding]:
    for key in _TEXTS:
        if not _text(package, key):
            yield _not_set(key, "a string")
    version = _text(package, "version")
    if version and not semver.Version.is_valid(version):
        yield ExtensionFinding(
            what=f"expected a semantic version as package.version, got {version!r}",
            remediation="Write it as 1.2.3 or 1.2.3-rc.1.",
        )


def _files(folder: Path, package: Mapping[str, Any]) -> Iterator[ExtensionFinding]:
    for key in _FILES:
        path = _text(package, key)
        if not path:
            yield _not_set(key, "the path of a file in the extension")
        elif "\n" in path and key not in _IMAGES:
            continue  # Kit also accepts the text itself
        elif not _is_inside(path) or not _is_file(folder / path):
            yield ExtensionFinding(
                what=f"package.{key} names {path!r}, but the extension has no such file",
                remediation="Add the file, or name an existing one.",
            )
        elif key in _IMAGES and (reason := png_problem(folder / path)) is not None:
            yield ExtensionFinding(
                what=f"package.{key} names {path!r}, which {reason}", remediation="Replace it with a PNG."
            )
    yield from _changelog(folder, package)


def _changelog(folder: Path, package: Mapping[str, Any]) -> Iterator[ExtensionFinding]:
    changelog = _text(package, "changelog")
    version = _text(package, "version").partition("+")[0]  # Kit sets its own build metadata
    try:
        text = changelog if "\n" in changelog else (folder / changelog).read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:
        if isinstance(problem, UnicodeDecodeError):
            yield ExtensionFinding(
                what=f"{changelog} is not UTF-8: {problem}", remediation="Write the changelog in UTF-8."
            )
        return  # `_files` reports a missing file
    if version and version not in _versions(text):
        where = "package.changelog" if "\n" in changelog else changelog
        yield ExtensionFinding(
            what=f"{where} has no heading with the version {version}", remediation=f"Add the heading `## [{version}]`."
        )


def _target(package: Mapping[str, Any]) -> Iterator[ExtensionFinding]:
    for python in _table(package, "target").get("python") or ():
        if python not in _KNOWN_TARGETS and "*" not in str(python):
            yield ExtensionFinding(
                what=f"package.target.python names {python!r}, which is not the Python of any supported Kit",
                remediation=f"Use one of {', '.join(sorted(_KNOWN_TARGETS))}: Kit lists the extension for no other.",
            )


def _modules(folder: Path, config: Mapping[str, Any]) -> Iterator[ExtensionFinding]:
    modules = _table(config, "python").get("module")
    names = [str(each.get("name") or "") for each in modules or () if isinstance(each, Mapping)]
    if folder.name not in names:
        yield ExtensionFinding(
            what=f"python.module does not name {folder.name}",
            remediation=f'Add [[python.module]] with name = "{folder.name}".',
        )
    for name in filter(None, names):
        module = PurePosixPath(*name.split("."))
        if not _is_file(folder / module / "__init__.py"):
            yield ExtensionFinding(
                what=f"python.module names {name}, but {module}/__init__.py is missing",
                remediation="Add the module, or remove its name.",
            )
        elif config.get("test") and not _is_file(folder / module / "tests" / "__init__.py"):
            yield ExtensionFinding(
                what=f"[[test]] is set, but {module}/tests/__init__.py, in which Kit looks for tests, is missing",
                remediation="Add the tests, or remove [[test]].",
            )


def _versions(changelog: str) -> set[str]:
    headings = (line.lstrip(" #").rstrip() for line in changelog.splitlines() if line.lstrip().startswith("#"))
    return {found["version"] for line in headings if (found := _HEADING.fullmatch(line))}


def _not_set(key: str, kind: str) -> ExtensionFinding:
    return ExtensionFinding(what=f"package.{key} is not set", remediation=f"Set package.{key} to {kind}.")


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(table: Mapping[str, Any], key: str) -> str:
    """The string at `key`; empty if it is missing or has another type."""
    value = table.get(key)
    return value if isinstance(value, str) else ""


def _is_inside(path: str) -> bool:
    return not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts and "\\" not in path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # not a valid file name
        return False


def check_imports(folder: Path, identifier: str) -> list[ExtensionFinding]:
    """Findings for Python modules of the extension `identifier` that cannot be imported; `folder` is not changed.

    The import runs in a separate process without Kit. A generated name that Python does not accept would break every
    module of the extension, and would otherwise show only in Kit.
    """
    # -S: without installed packages; -B: without writing bytecode
    command = [sys.executable, "-I", "-S", "-B", str(PROBE), str(folder), identifier]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        failures = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return [_import_finding(identifier, f"the import did not end within {TIMEOUT_S} s")]
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return [_import_finding(identifier, last[0])]
    return [_import_finding(name, reason) for name, reason in failures]


def _import_finding(name: str, reason: str) -> ExtensionFinding:
    return ExtensionFinding(
        what=f"{name} cannot be imported: {reason[:_MAX_REASON]}",
        remediation="Rename the tensors and modules in this message in the spec, and please report this.",
    )
