"""Publishes a plan: pushes its artifacts and images one by one, and collects the failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..bounded import parse_json
from ..contracts.published import PublishedArtifact, PublishedKind
from ..errors import PortalisError
from ..oci.backoff import Backoff
from ..oci.credentials import Credentials
from ..oci.errors import AccessDenied, Unreachable, Untrustworthy
from ..oci.registry import Pushed, Registry
from ..oci.transport import RESPONSE_BOUNDS
from ..spec.container import ContainerRuntime
from .engine_push import EnginePush
from .publishing_plan import ImagePush, PlannedArtifact, PublishingPlan

_PROGRESS_MIN_BYTES = 8 << 20  # uploads of smaller blobs report no progress

OnProgress = Callable[[str], None]
"""Receives a line of progress for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishingFailure:
    """An artifact that was not published. `denied` is true if the registry denied access."""

    reference: str
    message: str
    remediation: str
    denied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishingOutcome:
    """The result of publishing a plan."""

    published: tuple[PublishedArtifact, ...]
    failures: tuple[PublishingFailure, ...]
    untried: tuple[str, ...] = ()
    """References that were not attempted, because the registry could not be reached or denied access."""


def publish_plan(
    plan: PublishingPlan,
    credentials: Credentials | None,
    *,
    runtime: ContainerRuntime = ContainerRuntime.Docker,
    on_progress: OnProgress = lambda _: None,
    backoff: Backoff | None = None,
) -> PublishingOutcome:
    """Publish everything in `plan`: images through the engine `runtime`, and the rest directly.

    Failures are part of the outcome. The remaining artifacts are attempted after a failure, except after AccessDenied
    and Unreachable.
    """
    policy = backoff or Backoff(on_retry=on_progress)
    published: list[PublishedArtifact] = []
    failures: list[PublishingFailure] = []
    remaining: list[PlannedArtifact | ImagePush] = [*plan.artifacts, *plan.images]
    with (
        Registry(plan.address, credentials, backoff=policy) as registry,
        EnginePush(plan.address, credentials, runtime, on_progress) as engine_push,
    ):
        while remaining:
            planned = remaining.pop(0)
            reference = plan.reference(planned)
            on_progress(f"publishing {reference}")
            try:
                if isinstance(planned, ImagePush):
                    published.append(_publish_image(planned, registry, engine_push))
                else:
                    published.extend(_publish_artifact(planned, registry, on_progress))
            except (PortalisError, OSError) as error:
                failures.append(_failure(reference, error, registry))
                if isinstance(error, (AccessDenied, Unreachable)):
                    break
    untried = tuple(plan.reference(each) for each in remaining)
    return PublishingOutcome(published=tuple(published), failures=tuple(failures), untried=untried)


def _publish_artifact(
    planned: PlannedArtifact, registry: Registry, on_progress: OnProgress
) -> Iterator[PublishedArtifact]:
    progress = _upload_progress(planned.name, on_progress)
    pushed = registry.push(planned.repository, planned.tag, planned.manifest, progress)
    yield _published(registry, planned.kind, planned.name, pushed, tag=planned.tag)
    for each in planned.attached:
        attached = registry.push(planned.repository, None, each.manifest)
        yield _published(registry, each.kind, each.file.name, attached, subject=pushed.digest)


def _published(
    registry: Registry,
    kind: PublishedKind,
    name: str,
    pushed: Pushed,
    *,
    tag: str | None = None,
    subject: str | None = None,
) -> PublishedArtifact:
    return PublishedArtifact(
        kind=kind,
        name=name,
        repository=registry.address.reference(pushed.repository),
        tag=tag,
        digest=pushed.digest,
        subject=subject,
        size_bytes=pushed.size,
        sent=pushed.sent,
    )


def _publish_image(planned: ImagePush, registry: Registry, engine_push: EnginePush) -> PublishedArtifact:
    """Push the image through the engine unless the registry has it under its tag. Raises Untrustworthy if the registry
    has another image under the tag afterwards."""
    digest = _image_digest(planned, registry)
    sent = digest is None
    if digest is None:
        # engines report denied access with different messages, the registry's client with AccessDenied
        registry.check_access(planned.repository)
        engine_push.push(planned)
        digest = _image_digest(planned, registry)
    if digest is None:
        raise Untrustworthy(
            f"{registry.address.host} does not have {planned.reference} after the push",
            remediation="Check whether another client pushes the same tag, and publish again.",
        )
    return PublishedArtifact(
        kind=PublishedKind.Image,
        name=planned.reference,
        repository=registry.address.reference(planned.repository),
        tag=planned.tag,
        digest=digest,
        sent=sent,
    )


def _image_digest(planned: ImagePush, registry: Registry) -> str | None:
    """The digest of the image's manifest in the registry; None if the tag is missing or belongs to another image. The
    id of an image is the digest of its config, or with some engines of its manifest."""
    manifest = registry.manifest(planned.repository, planned.tag)
    if manifest is None:
        return None
    try:
        config = parse_json(manifest.content, RESPONSE_BOUNDS)["config"]["digest"]
    except (ValueError, LookupError, TypeError):
        config = None
    image_id = planned.image_id if planned.image_id.startswith("sha256:") else f"sha256:{planned.image_id}"
    return manifest.digest if image_id in (config, manifest.digest) else None


def _upload_progress(name: str, on_progress: OnProgress) -> Callable[[int, int], None]:
    """A listener that reports each tenth of a large blob."""
    reported = -1

    def progress(sent: int, size: int) -> None:
        nonlocal reported
        tenth = sent * 10 // size if size else 10
        if size >= _PROGRESS_MIN_BYTES and tenth != reported:
            reported = tenth
            on_progress(f"{name}: {sent >> 20} of {size >> 20} MiB sent")

    return progress


def _failure(reference: str, error: PortalisError | OSError, registry: Registry) -> PublishingFailure:
    if isinstance(error, PortalisError):
        message, remediation = error.message, error.remediation
    else:
        message, remediation = f"{error.filename}: {error.strerror}", "Check the file system, and publish again."
    return PublishingFailure(
        reference=reference,
        message=registry.redact(message),
        remediation=registry.redact(remediation),
        denied=isinstance(error, AccessDenied),
    )
