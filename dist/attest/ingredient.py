"""One part of a package, and how the world calls it: package URLs, names of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from urllib.parse import quote

from ...naming import oci_parts

PREFIX = "portalis:"  # of the properties that an SBOM has of an ingredient


class Kind(Enum):
    """What an ingredient is."""

    Module = "module"
    Runtime = "runtime"
    Backend = "backend"
    Distribution = "distribution"
    Image = "image"
    BaseImage = "base image"
    Extension = "extension"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredient:
    """One part. `ref` is unique in a package; `digests` are pairs of an algorithm, as in-toto writes it, and hex: where
    one algorithm is there several times, one of those files is meant."""

    ref: str
    kind: Kind
    name: str
    version: str = ""
    purl: str = ""
    """A package URL."""
    digests: tuple[tuple[str, str], ...] = ()
    license: str = ""
    optional: bool = False
    properties: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()
    """The refs of others."""


def purl(kind: str, name: str, version: str = "", **qualifiers: str) -> str:
    """A package URL (https://github.com/package-url/purl-spec); "" for a name that is nothing but space."""
    path = "/".join(quote(part, safe="") for part in name.split("/") if part.strip())
    if not path:
        return ""
    behind = f"@{quote(version, safe=':')}" if version else ""
    asked: Mapping[str, str] = dict(sorted(qualifiers.items()))
    query = "&".join(f"{key}={quote(value, safe=':')}" for key, value in asked.items())
    return f"pkg:{kind}/{path}{behind}" + (f"?{query}" if query else "")


def image_purl(name: str, version: str) -> str:
    """That of a container image; `version` is its tag or digest. A registry in the name becomes a qualifier."""
    registry, rest = oci_parts(name)
    if registry and rest:
        return purl("docker", rest, version, repository_url=registry)
    return purl("docker", name, version)


def image_reference(image: str) -> tuple[str, str, str]:
    """Name, tag and digest of an image; what is not told is empty."""
    name, _, digest = image.partition("@")
    folder, _, last = name.rpartition("/")  # a colon before it is that of a port
    last, _, tag = last.partition(":")
    return str(PurePosixPath(folder, last)), tag, digest


def image_digests(digest: str) -> tuple[tuple[str, str], ...]:
    """``sha256:…`` as the digests of an ingredient; none for nothing."""
    algorithm, _, value = digest.partition(":")
    return ((algorithm, value),) if value else ()
