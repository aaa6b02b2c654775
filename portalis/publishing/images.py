"""Images in the registry: whether the one that was built is there; an engine pushes it where it is not."""

from __future__ import annotations

from collections.abc import Callable

from ..bounded import parse_json
from ..contracts.published import PublishedArtifact, PublishedKind
from ..oci.errors import Untrustworthy
from ..oci.registry import Registry
from ..oci.transport import BOUNDS
from .publishing_plan import PlannedImage

PushImage = Callable[[PlannedImage], None]
"""Has an engine push an image to the registry. Raises PortalisError."""


def publish_image(planned: PlannedImage, registry: Registry, push_image: PushImage) -> PublishedArtifact:
    """The image in the registry, pushed where another or none is there. Raises what the registry and `push_image`
    raise, and Untrustworthy where the registry has another one afterwards."""
    digest = _digest(planned, registry)
    sent = digest is None
    if digest is None:
        # engines tell a refusal in words of their own, each in others
        registry.check_access(planned.repository)
        push_image(planned)
        digest = _digest(planned, registry)
    if digest is None:
        raise Untrustworthy(
            f"{registry.address.host} does not have {planned.reference} after it was pushed",
            remediation="See whether somebody else pushes the same tag, and publish again.",
        )
    return PublishedArtifact(
        kind=PublishedKind.Image,
        name=planned.reference,
        repository=registry.address.reference(planned.repository),
        tag=planned.tag,
        digest=digest,
        sent=sent,
    )


def _digest(planned: PlannedImage, registry: Registry) -> str | None:
    """The digest of the image's manifest in the registry, None where the tag is another image's. An image's id is the
    digest of its config, or with some engines that of its manifest."""
    found = registry.manifest(planned.repository, planned.tag)
    if found is None:
        return None
    try:
        config = parse_json(found.content, BOUNDS)["config"]["digest"]
    except (ValueError, LookupError, TypeError):
        config = None
    ours = planned.image_id if planned.image_id.startswith("sha256:") else f"sha256:{planned.image_id}"
    return found.digest if ours in (config, found.digest) else None
