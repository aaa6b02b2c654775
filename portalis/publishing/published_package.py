"""A package that lies on disk, as publishing sees it: what was made, and where each file of it is now."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..contracts.output import Artifacts
from ..contracts.package_manifest import PackageManifest
from ..errors import UsageError
from ..naming import oci_tag_trouble
from ..oci.blobs import Blob, blob_of

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package: `files` are the SHA-256 of all its files, by their paths relative to `folder`, where they lie now;
    `root` is the folder that the paths of `artifacts` begin with. `modules` are files of modules, by their names, that
    are not among them."""

    manifest: PackageManifest
    artifacts: Artifacts
    folder: Path
    root: PurePosixPath
    files: Mapping[PurePosixPath, str]
    modules: Mapping[str, Path]

    def relative(self, path: str) -> PurePosixPath:
        """A path of `artifacts`, relative to the package. Raises UsageError."""
        try:
            found = PurePosixPath(path).relative_to(self.root)
        except ValueError:
            raise UsageError(
                f"{path} is not in the package", remediation="Make the package again with `portalis package`."
            ) from None
        if ".." in found.parts:
            raise UsageError(
                f"{path} leads out of the package", remediation="Make the package again with `portalis package`."
            )
        return found

    def blob(self, path: PurePosixPath) -> Blob:
        """A file of the package. Raises UsageError where it is gone, or is not what was packaged."""
        place = self.folder / path
        try:
            blob = blob_of(place)
        except OSError as error:
            raise UsageError(
                f"{place}: {error.strerror}", remediation="Make the package again with `portalis package`."
            ) from None
        known = self.files.get(path)
        if known is not None and blob.digest != f"sha256:{known}":
            raise UsageError(
                f"{place} has changed since it was packaged",
                remediation="Make the package again with `portalis package`.",
            )
        return blob

    def module_files(self) -> Iterator[tuple[str, PurePosixPath | Path | None]]:
        """Each module, and the file of the package that has it, else a file elsewhere, None where there is none."""
        by_hash = {digest: path for path, digest in sorted(self.files.items(), reverse=True) if path.suffix == ".wasm"}
        for module in self.manifest.build_info.wasm_binaries:
            yield module.name, by_hash.get(module.checksum_sha256) or self.modules.get(module.name)

    @property
    def name(self) -> str:
        """What its repositories are called by."""
        return repository_name(self.manifest.package_name)

    @property
    def tag(self) -> str:
        """The version as a tag, which may have no plus. Raises UsageError."""
        tag = self.manifest.package_version.replace("+", "-")
        if (trouble := oci_tag_trouble(tag)) is not None:
            raise UsageError(f"the version {tag!r} {trouble}", remediation="Choose another package_version.")
        return tag

    def annotations(self, title: str) -> dict[str, str]:
        """What manifests say of the package; the same however often it is published."""
        about = self.manifest
        found = {
            "org.opencontainers.image.title": title,
            "org.opencontainers.image.version": about.package_version,
            "org.opencontainers.image.created": about.created_at,
            "org.opencontainers.image.description": about.description,
        }
        return {key: value for key, value in found.items() if value}


def repository_name(name: str) -> str:
    """`name` as a part of a repository's name: in lower case, with dashes for what may not be in it. Raises
    UsageError."""
    found = _NOT_IN_NAMES.sub("-", name.lower()).strip("-")
    if not found:
        raise UsageError(
            f"{name!r} has no letter or digit for a repository's name",
            remediation="Choose a package_name, or a name of the module, with one.",
        )
    return found
