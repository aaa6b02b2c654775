"""Publishing from an output directory: the package as its report has it, and a report that tells of the publishing."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from ..atomic_files import replacing
from ..contracts.errors import ErrorType, PublishingError
from ..contracts.output import PackagingAgentOutput
from ..contracts.published import PublishedArtifact
from ..digests import file_digest
from ..errors import UsageError
from ..escaping import escape_hidden
from ..oci.backoff import Backoff
from ..oci.credentials import Credentials
from ..oci.registry import Registry
from ..output.package_layout import PUBLISH_SCRIPT, REPORT
from ..spec.container import ContainerRuntime
from ..target import StageError
from .engine_push import EnginePush
from .published_package import Package
from .publishing_plan import PublishingPlan
from .push import Outcome, publish

_REPORT_LIMIT = 256 << 20


def carry_out(
    plan: PublishingPlan,
    credentials: Credentials | None,
    *,
    runtime: ContainerRuntime = ContainerRuntime.Docker,
    say: Callable[[str], None] = lambda _: None,
    backoff: Backoff | None = None,
) -> Outcome:
    """Publish what is planned, images through the engine. What fails is in the outcome."""
    policy = backoff or Backoff(on_retry=say)
    with (
        Registry(plan.address, credentials, backoff=policy) as registry,
        EnginePush(plan.address, credentials, runtime, say) as push_image,
    ):
        return publish(plan, registry, push_image, say)


def failure_of(plan: PublishingPlan, outcome: Outcome) -> StageError:
    """The error of what was not published."""
    first, count = outcome.failures[0], len(outcome.failures) + len(outcome.untried)
    more = f" (and {count - 1} more)" if count > 1 else ""
    return StageError(
        ErrorType.PublishingError,
        f"{first.reference} was not published{more}: {first.message}",
        remediation=first.remediation,
        details=PublishingError(
            registry_url=str(plan.address),
            auth_error=next((each.message for each in outcome.failures if each.denied), None),
            push_errors=(
                *(f"{each.reference}: {each.message}" for each in outcome.failures),
                *(f"{reference}: not tried" for reference in outcome.untried),
            ),
        ),
    )


def read_report(folder: Path) -> PackagingAgentOutput:
    """The report of an output directory. Raises UsageError where there is none, or the run had failed."""
    path = folder / REPORT
    try:
        if path.stat().st_size > _REPORT_LIMIT:
            raise UsageError(
                f"{path} is no report: it is too large", remediation="Make the package again with `portalis package`."
            )
        report = PackagingAgentOutput.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{folder} is no output directory: it has no {REPORT}",
            remediation="Name one that `portalis package` wrote.",
        ) from None
    except (ValidationError, UnicodeDecodeError):
        raise UsageError(
            f"{path} is no report of this version of portalis",
            remediation="Make the package again with `portalis package`.",
        ) from None
    if report.package_metadata.package_manifest is None:
        raise UsageError(
            f"{path} tells of a run that failed", remediation="Make the package again with `portalis package`."
        )
    return report


def package_of(folder: Path, report: PackagingAgentOutput) -> Package:
    """The package that lies in `folder`, which may have been moved since it was made."""
    manifest = report.package_metadata.package_manifest
    assert manifest is not None
    root = _root(report) or PurePosixPath(folder.absolute())
    files = {
        PurePosixPath(path).relative_to(root): digest
        for path, digest in report.package_metadata.checksums.items()
        if PurePosixPath(path).is_relative_to(root)
    }
    return Package(
        manifest=manifest, artifacts=report.artifacts, folder=folder.absolute(), root=root, files=files, modules={}
    )


def _root(report: PackagingAgentOutput) -> PurePosixPath | None:
    """The folder that the package was made in: what is before a path that the manifest has relative to it."""
    manifest = report.package_metadata.package_manifest
    assert manifest is not None
    inventory = manifest.artifacts
    for kind in type(inventory).model_fields:
        for entry in getattr(inventory, kind):
            for path in report.package_metadata.checksums:
                if path.endswith(f"/{entry.path}"):
                    return PurePosixPath(path.removesuffix(f"/{entry.path}"))
    return None


def note(
    folder: Path, report: PackagingAgentOutput, package: Package, published: tuple[PublishedArtifact, ...]
) -> None:
    """Enter what was published, and the script where there is one, in the report on disk. Raises OSError."""
    before = {(each.repository, each.digest): each for each in report.published}
    entries = before | {(each.repository, each.digest): each for each in published}
    checksums, script = dict(report.package_metadata.checksums), folder / PUBLISH_SCRIPT
    checksums.pop(str(package.root / PUBLISH_SCRIPT), None)
    if script.is_file():
        checksums[str(package.root / PUBLISH_SCRIPT)] = file_digest(script).sha256
    metadata = report.package_metadata.model_copy(update={"checksums": checksums})
    changed = report.model_copy(update={"published": tuple(entries.values()), "package_metadata": metadata})
    path = folder / REPORT
    with replacing(path, mode=stat.S_IMODE(path.stat().st_mode)) as temporary:
        temporary.write_text(escape_hidden(changed.model_dump_json(indent=2, by_alias=True)), encoding="utf-8")
