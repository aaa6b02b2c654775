"""Carries a plan out: one artifact after the other, each with what refers to it. What fails is told beside the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..contracts.published import PublishedArtifact, PublishedKind
from ..errors import PortalisError
from ..oci.errors import AccessDenied, Unreachable
from ..oci.registry import Pushed, Registry
from .images import PushImage, publish_image
from .publishing_plan import PlannedArtifact, PlannedImage, PublishingPlan

_TOLD_BYTES = 8 << 20  # a blob that is smaller arrives before anybody wonders

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Something that was not published. `denied` is the registry's refusal, where it was one."""

    reference: str
    message: str
    remediation: str
    denied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What has become of a plan."""

    published: tuple[PublishedArtifact, ...]
    failures: tuple[Failure, ...]
    untried: tuple[str, ...] = ()
    """What was not tried, since it would have failed the same way."""


def publish(plan: PublishingPlan, registry: Registry, push_image: PushImage, say: Say = lambda _: None) -> Outcome:
    """Publish everything. A registry that cannot be reached, or refuses us, is not asked for the rest."""
    published: list[PublishedArtifact] = []
    failures: list[Failure] = []
    waiting: list[PlannedArtifact | PlannedImage] = [*plan.artifacts, *plan.images]
    while waiting:
        planned = waiting.pop(0)
        reference = f"{plan.address.reference(planned.repository)}:{planned.tag}"
        say(f"publishing {reference}")
        try:
            if isinstance(planned, PlannedImage):
                published.append(publish_image(planned, registry, push_image))
            else:
                published.extend(_push(planned, registry, say))
        except (PortalisError, OSError) as problem:
            failures.append(_failure(reference, problem, registry))
            if isinstance(problem, (AccessDenied, Unreachable)):
                break
    untried = tuple(f"{plan.address.reference(each.repository)}:{each.tag}" for each in waiting)
    return Outcome(published=tuple(published), failures=tuple(failures), untried=untried)


def _push(planned: PlannedArtifact, registry: Registry, say: Say) -> Iterator[PublishedArtifact]:
    pushed = registry.push(planned.repository, planned.tag, planned.manifest, _progress(planned.name, say))
    yield _published(registry, planned.kind, planned.name, pushed, tag=planned.tag)
    for each in planned.attached:
        about = registry.push(planned.repository, None, each.manifest)
        yield _published(registry, each.kind, each.file.name, about, subject=pushed.digest)


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


def _progress(name: str, say: Say) -> Callable[[int, int], None]:
    """Tells each tenth of a large blob."""
    told = -1

    def progress(sent: int, size: int) -> None:
        nonlocal told
        tenth = sent * 10 // size if size else 10
        if size >= _TOLD_BYTES and tenth != told:
            told = tenth
            say(f"{name}: {sent >> 20} of {size >> 20} MiB sent")

    return progress


def _failure(reference: str, problem: PortalisError | OSError, registry: Registry) -> Failure:
    if isinstance(problem, PortalisError):
        message, remediation = problem.message, problem.remediation
    else:
        message, remediation = f"{problem.filename}: {problem.strerror}", "Check the file system, and publish again."
    return Failure(
        reference=reference,
        message=registry.clean(message),
        remediation=registry.clean(remediation),
        denied=isinstance(problem, AccessDenied),
    )
