"""Checks the files of a package against its manifest: missing, extra and changed files, and the manifest's schema."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from ...contracts.package_manifest import FORMAT, ArtifactEntry, PackageManifest
from ...digests import FileDigest
from ...manifest_text import manifest_name, parse_manifest
from ...spec.distribution import ManifestFormat
from ..archive import WASM, path_problem
from .received_package import CheckResult, ReceivedPackage, VerificationFinding

MANIFEST_CHECK = "manifest"
MANIFESTS = {manifest_name(each): each for each in ManifestFormat}
_MAX_SCHEMA_ERRORS = 20  # a document that is not a manifest has an error for nearly every key


def check_manifest(package: ReceivedPackage) -> CheckResult:
    """Compare the files of the package with the manifest in its top directory."""
    names = [name for name in MANIFESTS if name in package.files]
    if not names:
        missing = "the package has no manifest, as with generate_manifest = false"
        incomplete = "not found: the package cannot be read completely"
        return CheckResult(name=MANIFEST_CHECK, summary=missing if package.is_complete else incomplete)
    if len(names) > 1:
        return _invalid(names[0], [f"expected one manifest, got {' and '.join(names)}"])
    (name,) = names
    try:
        manifest = parse_manifest(package.kept[name].decode(), MANIFESTS[name], len(package.files))
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_SCHEMA_ERRORS]
        return _invalid(name, [f"{'.'.join(map(str, each['loc'])) or 'document'}: {each['msg']}" for each in errors])
    except ValueError as error:  # also the errors of JSON, TOML and YAML, and UnicodeDecodeError
        return _invalid(name, [str(error).split("\n")[0]])
    findings = (*_header(package, manifest), *_modules(package, manifest), *_files(package, name, manifest))
    summary = f"{len(package.files) - 1} files compared with {name}"
    return CheckResult(name=MANIFEST_CHECK, summary=summary, findings=findings, proves=True)


def _entries(manifest: PackageManifest) -> Iterator[ArtifactEntry]:
    for kind in type(manifest.artifacts).model_fields:
        yield from getattr(manifest.artifacts, kind)


def _header(package: ReceivedPackage, manifest: PackageManifest) -> Iterator[VerificationFinding]:
    if manifest.version != FORMAT:
        yield _finding(f"unsupported manifest version: expected {FORMAT}, got {manifest.version!a}")
    expected = f"{manifest.package_name}-{manifest.package_version}"
    if package.top and package.top != expected:
        yield _finding(f"the manifest is for {expected!a}, but the top directory of the archive is {package.top!a}")


def _modules(package: ReceivedPackage, manifest: PackageManifest) -> Iterator[VerificationFinding]:
    """Compare the modules in `build_info` with the files."""
    for module in manifest.build_info.wasm_binaries:
        digest = package.files.get(f"{WASM}/{module.name}.wasm")
        listed = FileDigest(size_bytes=module.size_bytes, sha256=module.checksum_sha256)
        if digest is not None and digest != listed:
            yield _finding(f"build_info has a different digest or size for the module {module.name!a}")


def _files(package: ReceivedPackage, name: str, manifest: PackageManifest) -> Iterator[VerificationFinding]:
    listed: dict[str, ArtifactEntry] = {}
    for entry in _entries(manifest):
        if (reason := path_problem(entry.path)) is not None:
            yield _finding(f"the manifest lists {entry.path!a}, which {reason}")
        if entry.path in listed:
            yield _finding(f"the manifest lists {entry.path!a} twice")
        listed[entry.path] = entry
    for path in sorted(listed.keys() - package.files.keys()) if package.is_complete else ():
        yield _finding(f"missing: {path!a} is in the manifest but not in the package")
    for path in sorted(package.files.keys() - listed.keys() - {name}):
        yield _finding(f"extra: {path!a} is in the package but not in the manifest")
    for path in sorted(listed.keys() & package.files.keys()):
        yield from _changed(path, listed[path], package.files[path])


def _changed(path: str, entry: ArtifactEntry, digest: FileDigest) -> Iterator[VerificationFinding]:
    if digest.size_bytes != entry.size_bytes:
        yield _finding(f"changed: {path!a}: expected {entry.size_bytes} bytes, got {digest.size_bytes}")
    elif digest.sha256 != entry.checksum_sha256:
        yield _finding(f"changed: {path!a}: expected SHA-256 {entry.checksum_sha256}, got {digest.sha256}")


def _invalid(name: str, reasons: list[str]) -> CheckResult:
    findings = tuple(_finding(f"{name} is not a valid package manifest: {reason}") for reason in reasons)
    return CheckResult(name=MANIFEST_CHECK, summary=f"{name} cannot be read", findings=findings)


def _finding(message: str) -> VerificationFinding:
    return VerificationFinding(check=MANIFEST_CHECK, message=message)
