"""Attestations of an archive: its SBOM, and its provenance, signed if `signing_key` is set.

If one of them cannot be created, the stage fails. The exception is an SBOM that the spec does not request explicitly:
if the extra is not installed, it is skipped with a warning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from ...contracts.output import PackagingWarning, WarningSeverity
from ...errors import MissingPart, PortalisError
from ...output.package_layout import SBOM_ENDING, SIGNED_ENDING, UNSIGNED_ENDING
from ...problems import Problem
from ...spec import PackageSpec
from ...spec.distribution import DistributionConfiguration
from ...target import Job, StageError
from ..archive import Member, bytes_member, workspace_root
from ..archive_errors import archive_error
from .components import PackageComponent, package_components
from .dsse import Signer, create_envelope
from .passphrase import signing_passphrase
from .provenance import FinishedArchive, create_provenance

_KEY = "distribution_config.signing_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestations:
    """The inputs of the attestations, known before the archive is written. `inside` are those files that are also
    members of the archive."""

    components: tuple[PackageComponent, ...]
    inside: tuple[Member, ...]
    signer: Signer | None
    warnings: tuple[PackagingWarning, ...]


def signing_problems(spec: PackageSpec) -> Iterator[Problem]:
    """Yield problems with the signing key: it cannot be loaded, has nothing to sign, or would be packed itself."""
    config = spec.distribution_config
    if config.signing_key is None:
        return
    if not config.provenance:
        yield Problem(
            where=_KEY,
            message="signing_key is set but provenance is false, so nothing would be signed",
            remediation="Set provenance to true, or remove signing_key.",
            also=("distribution_config.provenance",),
        )
        return
    try:
        root = workspace_root(spec) if config.include_source_rust else None
    except StageError:
        root = None  # the stage reports this error
    if root is not None and config.signing_key.resolve().is_relative_to(root.resolve()):
        yield Problem(
            where=_KEY,
            message=f"{config.signing_key} is inside the Rust source, which is packed into the archive",
            remediation=f"Move the key out of {root}, and set distribution_config.signing_key to its new path.",
        )
    try:
        _signer(config)
    except PortalisError as error:
        yield Problem(where=_KEY, message=error.message, remediation=error.remediation)


def prepare_attestations(job: Job) -> Attestations:
    """Load the key, determine the components, and create the SBOM. Raises StageError."""
    from ...inspection import WasmError

    config = job.spec.distribution_config
    try:
        signer = _signer(config) if config.provenance else None
        components = package_components(job) if config.sbom or config.provenance else ()
    except PortalisError as error:
        if isinstance(error, StageError):
            raise
        raise archive_error(error.message, remediation=error.remediation) from None
    except (OSError, ValueError, WasmError) as error:
        raise archive_error(
            f"the components of the package cannot be determined: {error}",
            remediation="Make sure that the files of the package are readable, then package again.",
        ) from None
    inside, warnings = _sbom(job, components) if config.sbom else ((), ())
    key_warnings = tuple(_key_warnings(config))
    return Attestations(components=components, inside=inside, signer=signer, warnings=(*warnings, *key_warnings))


def attestation_members(job: Job, attestations: Attestations, finished: FinishedArchive) -> tuple[Member, ...]:
    """Create the sidecar files of the finished archive: SBOM and provenance."""
    name = finished.name
    sboms = tuple(bytes_member(f"{name}.{SBOM_ENDING}", _bytes(each), each.kind) for each in attestations.inside)
    if not job.spec.distribution_config.provenance:
        return sboms
    statement = create_provenance(job, dataclasses.replace(finished, sidecars=sboms), attestations.components)
    if attestations.signer is None:
        return (*sboms, bytes_member(f"{name}.{UNSIGNED_ENDING}", statement, "provenance"))
    envelope = create_envelope(statement, attestations.signer)
    return (*sboms, bytes_member(f"{name}.{SIGNED_ENDING}", envelope, "provenance"))


def _signer(config: DistributionConfiguration) -> Signer | None:
    """Raises UsageError, and MissingPart if the extra is not installed."""
    if config.signing_key is None:
        return None
    from .keys import load_private_key

    return load_private_key(config.signing_key, signing_passphrase())


def _sbom(
    job: Job, components: tuple[PackageComponent, ...]
) -> tuple[tuple[Member, ...], tuple[PackagingWarning, ...]]:
    config = job.spec.distribution_config
    try:
        from .sbom import create_sbom
    except MissingPart as missing:
        if "sbom" in config.model_fields_set:
            raise archive_error(missing.message, remediation=missing.remediation) from None
        warning = PackagingWarning(
            message=f"no SBOM was created: {missing.message}",
            severity=WarningSeverity.Medium,
            remediation=missing.remediation,
        )
        return (), (warning,)
    return (bytes_member(SBOM_ENDING, create_sbom(job.spec, components, job.created_at), "sbom"),), ()


def _key_warnings(config: DistributionConfiguration) -> Iterator[PackagingWarning]:
    key = config.signing_key
    if key is not None and key.stat().st_mode & 0o077:
        yield PackagingWarning(
            message=f"users other than its owner can access the signing key {key}",
            severity=WarningSeverity.High,
            remediation=f"Run: chmod 600 {key}",
        )


def _bytes(member: Member) -> bytes:
    assert isinstance(member.content, bytes)
    return member.content
