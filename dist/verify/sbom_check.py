"""Checks an SBOM against the archive that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from ...output.package_layout import SBOM_ENDING
from ...spec.distribution import ChecksumAlgorithm
from ..archive.checksums import checksums
from ..archive.contents import WASM
from ..attest.dsse import Malformed, json_object
from ..attest.ingredient import PREFIX, Kind
from ..attest.statement import Statement
from .shipped import Finding, Shipped, data_of

_KIND, _PATH = f"{PREFIX}kind", f"{PREFIX}path"


def sbom_findings(shipped: Shipped, said: Statement | None) -> Iterator[Finding]:
    """The SBOM beside the archive is the one in it, and names the modules that are there."""
    bill, inside = shipped.beside(SBOM_ENDING), shipped.contents.get(SBOM_ENDING)
    if not bill.is_file():
        if inside is not None and (said is None or bill.name not in {each.name for each in said.subjects}):
            yield _bill(f"{bill.name} is not there, and the archive holds an SBOM")
        return
    digest = checksums(bill, (ChecksumAlgorithm.SHA256,))[ChecksumAlgorithm.SHA256]
    if digest != inside:
        yield _bill(f"{bill.name} is not the SBOM in the archive")
    try:
        listed = _modules(json_object(data_of(bill), "an SBOM"))
    except Malformed as error:
        yield _bill(f"{bill.name} {error}")
        return
    modules = {path: digest for path, digest in shipped.contents.items() if PurePosixPath(path).parts[0] == WASM}
    for path in sorted({*modules, *listed}):
        if path not in listed:
            yield _bill(f"the module {path!a} is in the archive, and not in the SBOM")
        elif path not in modules:
            yield _bill(f"the SBOM lists the module {path!a}, which is not in the archive")
        elif modules[path] not in listed[path]:
            yield _bill(f"the module {path!a} is not the one that the SBOM lists: its SHA-256 is {modules[path]}")


def _modules(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """The SHA-256 digests of the modules in an SBOM, by their paths in the archive."""
    if document.get("bomFormat") != "CycloneDX":
        raise Malformed("is no CycloneDX document")
    found: dict[str, list[str]] = {}
    for component in _tables(document.get("components")):
        told = {each.get("name"): each.get("value") for each in _named(component.get("properties"))}
        path = told.get(_PATH)
        if told.get(_KIND) == Kind.Module.value and isinstance(path, str):
            hashes = [each.get("content") for each in _tables(component.get("hashes")) if each.get("alg") == "SHA-256"]
            found.setdefault(path, []).extend(each for each in hashes if isinstance(each, str))
    return found


def _named(value: Any) -> list[dict[str, Any]]:
    return [each for each in _tables(value) if isinstance(each.get("name"), str)]


def _tables(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _bill(message: str) -> Finding:
    return Finding(check="sbom", message=message)
