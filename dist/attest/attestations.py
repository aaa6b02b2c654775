"""What goes along with an archive so that others can check it: the SBOM, and the provenance, signed where there is a
key.

Both are made, or the stage fails: only an SBOM that nobody has asked for in so many words may be missing, with a
warning.
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
from ..archive.members import Member, from_bytes
from ..archive.rust_source import workspace_root
from ..archive_errors import failed
from .components import ingredients
from .dsse import Signer, sealed
from .ingredient import Ingredient
from .passphrase import passphrase
from .provenance import Result, provenance

_KEY = "distribution_config.signing_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """What is known before the archive is written: `inside` are the files that go into it too."""

    used: tuple[Ingredient, ...]
    inside: tuple[Member, ...]
    signer: Signer | None
    warnings: tuple[PackagingWarning, ...]


def problems(spec: PackageSpec) -> Iterator[Problem]:
    """A key that cannot sign, has nothing to sign, or would be packed itself."""
    config = spec.distribution_config
    if config.signing_key is None:
        return
    if not config.provenance:
        yield Problem(
            where=_KEY,
            message="there is a key, but provenance is false: nothing would be signed",
            remediation="Set provenance to true, or leave the key out.",
            also=("distribution_config.provenance",),
        )
        return
    try:
        root = workspace_root(spec) if config.include_source_rust else None
    except StageError:
        root = None  # told by the stage
    if root is not None and config.signing_key.resolve().is_relative_to(root.resolve()):
        yield Problem(
            where=_KEY,
            message=f"{config.signing_key} is inside the Rust source, which is packed into the archive",
            remediation=f"Move the key out of {root}, and name its new place as distribution_config.signing_key.",
        )
    try:
        _signer(config)
    except PortalisError as error:
        yield Problem(where=_KEY, message=error.message, remediation=error.remediation)


def prepare(job: Job) -> Papers:
    """Load the key, and make the SBOM. Raises StageError."""
    from ...inspection import WasmError

    config = job.spec.distribution_config
    try:
        signer = _signer(config) if config.provenance else None
        used = ingredients(job) if config.sbom or config.provenance else ()
    except PortalisError as error:
        if isinstance(error, StageError):
            raise
        raise failed(error.message, remediation=error.remediation) from None
    except (OSError, ValueError, WasmError) as error:
        raise failed(
            f"it cannot be told what the package is made of: {error}",
            remediation="See that its files can be read, and package again.",
        ) from None
    inside, warnings = _sbom(job, used) if config.sbom else ((), ())
    return Papers(used=used, inside=inside, signer=signer, warnings=(*warnings, *_exposed(config)))


def beside(job: Job, papers: Papers, result: Result) -> tuple[Member, ...]:
    """The files that lie beside the finished archive: SBOM, and provenance."""
    name = result.name
    bills = tuple(from_bytes(f"{name}.{SBOM_ENDING}", _bytes(each), each.kind) for each in papers.inside)
    if not job.spec.distribution_config.provenance:
        return bills
    said = provenance(job, dataclasses.replace(result, beside=bills), papers.used)
    if papers.signer is None:
        return (*bills, from_bytes(f"{name}.{UNSIGNED_ENDING}", said, "provenance"))
    return (*bills, from_bytes(f"{name}.{SIGNED_ENDING}", sealed(said, papers.signer), "provenance"))


def _signer(config: DistributionConfiguration) -> Signer | None:
    """Raises UsageError, and MissingPart where the extra is not installed."""
    if config.signing_key is None:
        return None
    from .keys import load_private

    return load_private(config.signing_key, passphrase())


def _sbom(job: Job, used: tuple[Ingredient, ...]) -> tuple[tuple[Member, ...], tuple[PackagingWarning, ...]]:
    config = job.spec.distribution_config
    try:
        from .sbom import sbom
    except MissingPart as missing:
        if "sbom" in config.model_fields_set:
            raise failed(missing.message, remediation=missing.remediation) from None
        warning = PackagingWarning(
            message=f"there is no SBOM: {missing.message}",
            severity=WarningSeverity.Medium,
            remediation=missing.remediation,
        )
        return (), (warning,)
    return (from_bytes(SBOM_ENDING, sbom(job.spec, used, job.created_at), "sbom"),), ()


def _exposed(config: DistributionConfiguration) -> Iterator[PackagingWarning]:
    key = config.signing_key
    if key is not None and key.stat().st_mode & 0o077:
        yield PackagingWarning(
            message=f"others than its owner may use the signing key {key}",
            severity=WarningSeverity.High,
            remediation=f"Run: chmod 600 {key}",
        )


def _bytes(member: Member) -> bytes:
    assert isinstance(member.content, bytes)
    return member.content
