"""A package on disk, as publishing sees it: its manifest and artifacts, and the current paths of its files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..contracts.output import Artifacts, PackagingAgentOutput
from ..contracts.package_manifest import PackageManifest
from ..errors import UsageError
from ..naming import oci_tag_problem
from ..oci.blobs import Blob, blob_of
from ..output.report_file import PACKAGE_AGAIN

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package in the directory `folder`.

    `root` is the directory that the paths in `artifacts` start with: the output directory when the package was created.
    `files` maps the path of each file, relative to `folder`, to its SHA-256. `modules` maps names of modules to files
    outside the package.
    """

    manifest: PackageManifest
    artifacts: Artifacts
    folder: Path
    root: PurePosixPath
    files: Mapping[PurePosixPath, str]
    modules: Mapping[str, Path]

    def relative_path(self, path: str) -> PurePosixPath:
        """Convert a path of `artifacts` to a path relative to `folder`. Raises UsageError if it is outside."""
        try:
            relative = PurePosixPath(path).relative_to(self.root)
        except ValueError:
            raise UsageError(f"{path} is not in the package", remediation=PACKAGE_AGAIN) from None
        if ".." in relative.parts:
            raise UsageError(f"{path} points outside the package", remediation=PACKAGE_AGAIN)
        return relative

    def blob(self, path: PurePosixPath) -> Blob:
        """A file of the package as a blob. Raises UsageError if it is missing or has changed."""
        file = self.folder / path
        try:
            blob = blob_of(file)
        except OSError as error:
            raise UsageError(f"{file}: {error.strerror}", remediation=PACKAGE_AGAIN) from None
        expected = self.files.get(path)
        if expected is not None and blob.digest != f"sha256:{expected}":
            raise UsageError(f"{file} has changed since it was packaged", remediation=PACKAGE_AGAIN)
        return blob

    def module_files(self) -> Iterator[tuple[str, PurePosixPath | Path | None]]:
        """The name of each module with its file: relative to the package if a file of the package has its content, else
        an absolute path, else None."""
        by_hash = {digest: path for path, digest in sorted(self.files.items(), reverse=True) if path.suffix == ".wasm"}
        for module in self.manifest.build_info.wasm_binaries:
            yield module.name, by_hash.get(module.checksum_sha256) or self.modules.get(module.name)

    @property
    def name(self) -> str:
        """The first component of the names of the package's repositories. Raises UsageError."""
        return repository_name(self.manifest.package_name)

    @property
    def tag(self) -> str:
        """The version as a tag, with dashes for plus signs, which tags cannot contain. Raises UsageError."""
        tag = self.manifest.package_version.replace("+", "-")
        if (problem := oci_tag_problem(tag)) is not None:
            raise UsageError(f"the version {tag!r} {problem}", remediation="Choose another package_version.")
        return tag

    def annotations(self, title: str) -> dict[str, str]:
        """The annotations of a manifest. They depend on the package only, not on when it is published."""
        annotations = {
            "org.opencontainers.image.title": title,
            "org.opencontainers.image.version": self.manifest.package_version,
            "org.opencontainers.image.created": self.manifest.created_at,
            "org.opencontainers.image.description": self.manifest.description,
        }
        return {key: value for key, value in annotations.items() if value}


def package_from_report(folder: Path, report: PackagingAgentOutput) -> Package:
    """The package in `folder` that `report` describes. The directory may have been moved since it was created."""
    manifest = report.package_metadata.package_manifest
    assert manifest is not None
    root = _original_root(report) or PurePosixPath(folder.absolute())
    files = {
        PurePosixPath(path).relative_to(root): digest
        for path, digest in report.package_metadata.checksums.items()
        if PurePosixPath(path).is_relative_to(root)
    }
    return Package(
        manifest=manifest, artifacts=report.artifacts, folder=folder.absolute(), root=root, files=files, modules={}
    )


def repository_name(name: str) -> str:
    """`name` as a component of a repository name: in lower case, with dashes for invalid characters. Raises
    UsageError."""
    component = _NOT_IN_NAMES.sub("-", name.lower()).strip("-")
    if not component:
        raise UsageError(
            f"{name!r} contains no letter or digit for a repository name",
            remediation="Choose a package_name, or a name of the module, with a letter or digit.",
        )
    return component


def _original_root(report: PackagingAgentOutput) -> PurePosixPath | None:
    """The directory in which the package was created: the part of an absolute path before its path in the manifest."""
    manifest = report.package_metadata.package_manifest
    assert manifest is not None
    inventory = manifest.artifacts
    for kind in type(inventory).model_fields:
        for entry in getattr(inventory, kind):
            for path in report.package_metadata.checksums:
                if path.endswith(f"/{entry.path}"):
                    return PurePosixPath(path.removesuffix(f"/{entry.path}"))
    return None
