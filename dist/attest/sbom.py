"""The software bill of materials, as CycloneDX 1.6 JSON. The one module that imports `cyclonedx`.

Two runs over the same package give the same bytes: the serial number comes from the content, the time from the job.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from urllib.parse import urlsplit

from ... import __version__
from ...errors import MissingPart
from ...spec import PackageSpec
from ...spec.distribution import PublishMetadata
from .components import LICENSES
from .ingredient import PREFIX, Ingredient, Kind, purl

try:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentScope, ComponentType
    from cyclonedx.model.contact import OrganizationalContact, OrganizationalEntity
    from cyclonedx.model.license import License
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL
except ImportError:
    raise MissingPart(
        "an SBOM needs the package cyclonedx-python-lib, which is not installed",
        remediation="Install it: pip install 'portalis[attest]'. Or set distribution_config.sbom to false.",
    ) from None

TYPES = {
    Kind.Module: ComponentType.LIBRARY,
    Kind.Runtime: ComponentType.FRAMEWORK,
    Kind.Backend: ComponentType.FRAMEWORK,
    Kind.Distribution: ComponentType.LIBRARY,
    Kind.Image: ComponentType.CONTAINER,
    Kind.BaseImage: ComponentType.CONTAINER,
    Kind.Extension: ComponentType.APPLICATION,
}
HASHES = {
    "sha256": HashAlgorithm.SHA_256,
    "sha384": HashAlgorithm.SHA_384,
    "sha512": HashAlgorithm.SHA_512,
    "blake3": HashAlgorithm.BLAKE3,
}
_URL = re.compile(r"[a-z][a-z0-9+.-]*://(?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
KIND = f"{PREFIX}kind"
ROOT = "package"


def sbom(spec: PackageSpec, found: Iterable[Ingredient], created_at: str) -> bytes:
    """The document for the package of `spec`, made of the ingredients `found`."""
    found = tuple(found)
    root = _root(spec)
    components = {each.ref: _component(each) for each in found}
    bom = Bom(
        serial_number=uuid.UUID(int=0),
        components=components.values(),
        metadata=BomMetaData(
            timestamp=datetime.fromisoformat(created_at.replace("Z", "+00:00")),
            tools=ToolRepository(components=[_tool()]),
            component=root,
            authors=root.authors,
        ),
    )
    needed = {ref for each in found for ref in each.needs}
    bom.register_dependency(root, [part for ref, part in components.items() if ref not in needed or _own(ref)])
    for each in found:
        bom.register_dependency(components[each.ref], [components[ref] for ref in each.needs if ref in components])
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(_text(bom).encode()).hexdigest())
    return (_text(bom) + "\n").encode()


def _own(ref: str) -> bool:
    return ref.startswith("module:")  # the package is made of them, whatever else contains them


def _text(bom: Bom) -> str:
    return JsonV1Dot6(bom).output_as_string(indent=2)


def _root(spec: PackageSpec) -> Component:
    config = spec.distribution_config
    people = config.publish_metadata
    return Component(
        bom_ref=ROOT,
        type=ComponentType.APPLICATION,
        name=spec.package_name,
        version=spec.package_version,
        description=spec.description or None,
        licenses=_licenses(config.license_type or ""),
        purl=_purl(purl("generic", spec.package_name, spec.package_version)),
        authors=[OrganizationalContact(name=people.author)] if people.author else (),
        supplier=OrganizationalEntity(name=people.maintainer) if people.maintainer else None,
        external_references=_links(people),
    )


def _links(people: PublishMetadata) -> Iterator[ExternalReference]:
    for kind, url in (
        (ExternalReferenceType.WEBSITE, people.homepage),
        (ExternalReferenceType.VCS, people.repository),
        (ExternalReferenceType.DOCUMENTATION, people.documentation_url),
    ):
        if url is not None and _is_url(url):
            yield ExternalReference(type=kind, url=XsUri(url))


def _is_url(text: str) -> bool:
    # the schema wants an IRI; what a spec has there is free text
    try:
        return _URL.fullmatch(text) is not None and urlsplit(text).port != 0
    except ValueError:
        return False


def _component(each: Ingredient) -> Component:
    return Component(
        bom_ref=each.ref,
        type=TYPES[each.kind],
        name=each.name,
        version=each.version or None,
        scope=ComponentScope.OPTIONAL if each.optional else ComponentScope.REQUIRED,
        hashes=[HashType(alg=HASHES[name], content=digest) for name, digest in each.digests if name in HASHES],
        licenses=_licenses(each.license),
        purl=_purl(each.purl),
        properties=[
            Property(name=KIND, value=each.kind.value),
            *(Property(name=f"{PREFIX}{name}", value=value) for name, value in each.properties),
        ],
    )


def _purl(text: str) -> PackageURL | None:
    return PackageURL.from_string(text) if text else None


def _tool() -> Component:
    return Component(
        bom_ref="portalis",
        type=ComponentType.APPLICATION,
        name="portalis",
        version=__version__,
        licenses=_licenses(LICENSES["portalis"]),
    )


def _licenses(text: str) -> Iterable[License]:
    """An identifier or an expression where SPDX knows it, else a name."""
    return [LicenseFactory().make_from_string(text)] if text.strip() else []
