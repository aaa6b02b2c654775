"""The SBOM (software bill of materials) as CycloneDX 1.6 JSON. The only module that imports `cyclonedx`.

The same package gives the same bytes: the serial number is derived from the content, and the time is the job's.
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
from .components import LICENSES, PROPERTY_PREFIX, ComponentKind, PackageComponent, purl

try:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentScope, ComponentType
    from cyclonedx.model.contact import OrganizationalContact, OrganizationalEntity
    from cyclonedx.model.license import License
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6
except ImportError:
    raise MissingPart(
        "an SBOM needs the package cyclonedx-python-lib, which is not installed",
        remediation="Install it: pip install 'portalis[attest]'. Or set distribution_config.sbom to false.",
    ) from None

TYPES = {
    ComponentKind.Module: ComponentType.LIBRARY,
    ComponentKind.Runtime: ComponentType.FRAMEWORK,
    ComponentKind.Backend: ComponentType.FRAMEWORK,
    ComponentKind.Distribution: ComponentType.LIBRARY,
    ComponentKind.Image: ComponentType.CONTAINER,
    ComponentKind.BaseImage: ComponentType.CONTAINER,
    ComponentKind.Extension: ComponentType.APPLICATION,
}
HASHES = {
    "sha256": HashAlgorithm.SHA_256,
    "sha384": HashAlgorithm.SHA_384,
    "sha512": HashAlgorithm.SHA_512,
    "blake3": HashAlgorithm.BLAKE3,
}
_URL = re.compile(r"[a-z][a-z0-9+.-]*://(?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_KIND = f"{PROPERTY_PREFIX}kind"
_ROOT_REF = "package"


def create_sbom(spec: PackageSpec, components: Iterable[PackageComponent], created_at: str) -> bytes:
    """Create the SBOM of the package of `spec`, which consists of `components`."""
    components = tuple(components)
    root = _root(spec)
    converted = {each.ref: _component(each) for each in components}
    bom = Bom(
        serial_number=uuid.UUID(int=0),
        components=converted.values(),
        metadata=BomMetaData(
            timestamp=datetime.fromisoformat(created_at.replace("Z", "+00:00")),
            tools=ToolRepository(components=[_tool()]),
            component=root,
            authors=root.authors,
        ),
    )
    needed = {ref for each in components for ref in each.needs}
    top_level = [each for ref, each in converted.items() if ref not in needed or _is_module(ref)]
    bom.register_dependency(root, top_level)
    for each in components:
        bom.register_dependency(converted[each.ref], [converted[ref] for ref in each.needs if ref in converted])
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(_text(bom).encode()).hexdigest())
    return (_text(bom) + "\n").encode()


def _is_module(ref: str) -> bool:
    return ref.startswith("module:")  # the package depends on its modules directly, even if an image contains them


def _text(bom: Bom) -> str:
    return JsonV1Dot6(bom).output_as_string(indent=2)


def _root(spec: PackageSpec) -> Component:
    config = spec.distribution_config
    publish = config.publish_metadata
    return Component(
        bom_ref=_ROOT_REF,
        type=ComponentType.APPLICATION,
        name=spec.package_name,
        version=spec.package_version,
        description=spec.description or None,
        licenses=_licenses(config.license_type or ""),
        purl=purl("generic", spec.package_name, spec.package_version),
        authors=[OrganizationalContact(name=publish.author)] if publish.author else (),
        supplier=OrganizationalEntity(name=publish.maintainer) if publish.maintainer else None,
        external_references=_links(publish),
    )


def _links(publish: PublishMetadata) -> Iterator[ExternalReference]:
    for kind, url in (
        (ExternalReferenceType.WEBSITE, publish.homepage),
        (ExternalReferenceType.VCS, publish.repository),
        (ExternalReferenceType.DOCUMENTATION, publish.documentation_url),
    ):
        if url is not None and _is_url(url):
            yield ExternalReference(type=kind, url=XsUri(url))


def _is_url(text: str) -> bool:
    # the schema requires an IRI; in a spec these keys are free text
    try:
        return _URL.fullmatch(text) is not None and urlsplit(text).port != 0
    except ValueError:
        return False


def _component(component: PackageComponent) -> Component:
    return Component(
        bom_ref=component.ref,
        type=TYPES[component.kind],
        name=component.name,
        version=component.version or None,
        scope=ComponentScope.OPTIONAL if component.optional else ComponentScope.REQUIRED,
        hashes=[HashType(alg=HASHES[name], content=digest) for name, digest in component.digests if name in HASHES],
        licenses=_licenses(component.license),
        purl=component.purl,
        properties=[
            Property(name=_KIND, value=component.kind.value),
            *(Property(name=f"{PROPERTY_PREFIX}{name}", value=value) for name, value in component.properties),
        ],
    )


def _tool() -> Component:
    return Component(
        bom_ref="portalis",
        type=ComponentType.APPLICATION,
        name="portalis",
        version=__version__,
        licenses=_licenses(LICENSES["portalis"]),
    )


def _licenses(text: str) -> Iterable[License]:
    """An SPDX identifier or expression if SPDX defines it, else a license name."""
    return [LicenseFactory().make_from_string(text)] if text.strip() else []
