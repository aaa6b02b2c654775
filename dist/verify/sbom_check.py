"""Checks an SBOM against the archive that it describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from ...output.package_layout import SBOM_ENDING
from ...spec.distribution import ChecksumAlgorithm
from ..archive import WASM, file_checksums
from ..attest.components import PROPERTY_PREFIX, ComponentKind
from ..attest.dsse import Malformed, parse_json_object
from ..attest.statement import Statement
from .received_package import ReceivedPackage, VerificationFinding, read_sidecar

_KIND, _PATH = f"{PROPERTY_PREFIX}kind", f"{PROPERTY_PREFIX}path"


def sbom_findings(package: ReceivedPackage, statement: Statement | None) -> Iterator[VerificationFinding]:
    """Check that the SBOM next to the archive is identical to the one in it, and that its modules are those of the
    archive. `statement` is the provenance, if it is valid: the provenance check reports a missing SBOM that it
    lists."""
    path, inside = package.sidecar(SBOM_ENDING), package.files.get(SBOM_ENDING)
    if not path.is_file():
        listed = statement is not None and path.name in {each.name for each in statement.subjects}
        if inside is not None and not listed:
            yield _finding(f"{path.name} is missing, but the archive contains an SBOM")
        return
    digest = file_checksums(path, (ChecksumAlgorithm.SHA256,))[ChecksumAlgorithm.SHA256]
    if inside is None or digest != inside.sha256:
        yield _finding(f"{path.name} differs from the SBOM in the archive")
    try:
        in_sbom = _modules(parse_json_object(read_sidecar(path), "an SBOM"))
    except Malformed as error:
        yield _finding(f"{path.name} {error}")
        return
    modules = {name: file.sha256 for name, file in package.files.items() if PurePosixPath(name).parts[0] == WASM}
    for name in sorted({*modules, *in_sbom}):
        if name not in in_sbom:
            yield _finding(f"the module {name!a} is in the archive but not in the SBOM")
        elif name not in modules:
            yield _finding(f"the module {name!a} is in the SBOM but not in the archive")
        elif modules[name] not in in_sbom[name]:
            yield _finding(f"the module {name!a} differs from the SBOM: its SHA-256 is {modules[name]}")


def _modules(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """The SHA-256 digests of the modules in an SBOM, by path in the archive."""
    if document.get("bomFormat") != "CycloneDX":
        raise Malformed("is not a CycloneDX document")
    modules: dict[str, list[str]] = {}
    for component in _objects(document.get("components")):
        properties = {each["name"]: each.get("value") for each in _named_objects(component.get("properties"))}
        path = properties.get(_PATH)
        if properties.get(_KIND) == ComponentKind.Module.value and isinstance(path, str):
            hashes = [each.get("content") for each in _objects(component.get("hashes")) if each.get("alg") == "SHA-256"]
            modules.setdefault(path, []).extend(each for each in hashes if isinstance(each, str))
    return modules


def _named_objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in _objects(value) if isinstance(each.get("name"), str)]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _finding(message: str) -> VerificationFinding:
    return VerificationFinding(check="sbom", message=message)
