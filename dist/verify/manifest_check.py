"""Checks what is in a package against its own manifest: missing, extra and changed files, and the manifest's schema."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from ...contracts.package_manifest import FORMAT, ArtifactEntry, PackageManifest
from ...manifest_text import manifest_name, parse_manifest
from ...spec.distribution import ManifestFormat
from ..archive.contents import WASM
from ..archive.paths import path_trouble
from .package_contents import Seen
from .refused import AGAIN
from .shipped import Finding
from .subject import Checked, Subject

NAME = "manifest"
MANIFESTS = {manifest_name(how): how for how in ManifestFormat}
SHOWN = 20  # errors of a schema: one that is wrong is mostly wrong everywhere


def check_manifest(subject: Subject) -> Checked:
    """The manifest at the top of the package."""
    names = [name for name in MANIFESTS if name in subject.files]
    if not names:
        if not subject.whole:
            return Checked(name=NAME, told="not found, as the package cannot be read to its end")
        return Checked(name=NAME, told="the package has no manifest, as with generate_manifest = false")
    if len(names) > 1:
        return _wrong(names[0], [f"{' and '.join(names)} are both there"])
    (name,) = names
    try:
        manifest = parse_manifest(subject.kept[name].decode(), MANIFESTS[name], len(subject.files))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:SHOWN]
        return _wrong(name, [f"{'.'.join(map(str, each['loc'])) or 'the whole'}: {each['msg']}" for each in found])
    except ValueError as error:  # also JSON's, TOML's, YAML's and that of bytes that are not UTF-8
        return _wrong(name, [str(error).split("\n")[0]])
    findings = (*_about(subject, manifest), *_modules(subject, manifest), *_differences(subject, name, manifest))
    count = len(subject.files) - 1
    return Checked(name=NAME, told=f"{count} files are compared with {name}", findings=findings, proves=True)


def entries_of(manifest: PackageManifest) -> Iterator[ArtifactEntry]:
    """All files that a manifest lists."""
    for kind in type(manifest.artifacts).model_fields:
        yield from getattr(manifest.artifacts, kind)


def _about(subject: Subject, manifest: PackageManifest) -> Iterator[Finding]:
    if manifest.version != FORMAT:
        yield _finding(f"the manifest has the version {manifest.version!a}, and this portalis knows {FORMAT}")
    expected = f"{manifest.package_name}-{manifest.package_version}"
    if subject.top and subject.top != expected:
        yield _finding(f"the manifest is that of {expected!a}, and the archive has the folder {subject.top!a}")


def _modules(subject: Subject, manifest: PackageManifest) -> Iterator[Finding]:
    """What the manifest says of the build is said of the modules that are there."""
    for module in manifest.build_info.wasm_binaries:
        seen = subject.files.get(f"{WASM}/{module.name}.wasm")
        said = Seen(size_bytes=module.size_bytes, sha256=module.checksum_sha256)
        if seen is not None and seen != said:
            yield _finding(f"the manifest has two digests or sizes of the module {module.name!a}")


def _differences(subject: Subject, name: str, manifest: PackageManifest) -> Iterator[Finding]:
    listed: dict[str, ArtifactEntry] = {}
    for entry in entries_of(manifest):
        if (why := path_trouble(entry.path)) is not None:
            yield _finding(f"the manifest lists {entry.path!a}, which {why}")
        if entry.path in listed:
            yield _finding(f"the manifest lists {entry.path!a} twice")
        listed[entry.path] = entry
    for path in sorted(listed.keys() - subject.files.keys()) if subject.whole else ():
        yield _finding(f"missing: {path!a}, which the manifest lists, is not there")
    for path in sorted(subject.files.keys() - listed.keys() - {name}):
        yield _finding(f"extra: {path!a} is there, and the manifest does not list it")
    for path in sorted(listed.keys() & subject.files.keys()):
        yield from _changed(path, listed[path], subject.files[path])


def _changed(path: str, entry: ArtifactEntry, seen: Seen) -> Iterator[Finding]:
    if seen.size_bytes != entry.size_bytes:
        yield _finding(f"changed: {path!a} has {seen.size_bytes} bytes, and {entry.size_bytes} in the manifest")
    elif seen.sha256 != entry.checksum_sha256:
        yield _finding(f"changed: {path!a} has the SHA-256 {seen.sha256}, and {entry.checksum_sha256} in the manifest")


def _wrong(name: str, whys: list[str]) -> Checked:
    findings = tuple(_finding(f"{name} is no manifest of a package: {why}") for why in whys)
    return Checked(name=NAME, told=f"{name} cannot be read", findings=findings)


def _finding(message: str) -> Finding:
    return Finding(check=NAME, message=message, remediation=AGAIN)
