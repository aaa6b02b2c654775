"""An image on its way to a registry, which the engine itself speaks to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from . import podman
from .image import EngineFailed
from .log_text import sentence, shown_line
from .sdk import auth_header, telling, unless_gone


def push(
    client: Any,
    address: str,
    reference: str,
    repository: str,
    tag: str,
    *,
    login: Mapping[str, str],
    by_podman: bool,
    plain_http: bool,
    on_line: Callable[[str], None],
) -> None:
    """Push the image `reference` as ``repository:tag``; the name that it has for that goes again. `login` is a name and
    a password, or an ``identitytoken``; without it nobody is logged in, whatever Docker's config says. Raises
    EngineFailed with the engine's own words."""
    target = f"{repository}:{tag}"
    with telling(f"cannot push {reference} as {target}", address):
        known = {name for image in client.images() for name in image.get("RepoTags") or ()}
        client.tag(reference, repository, tag)
        try:
            if by_podman:
                told = podman.push(client, repository, tag, auth_header(login), tls=not plain_http)
            else:
                told = client.push(repository, tag, auth_config=dict(login), stream=True, decode=True)
            failure = _follow(told, on_line)
        finally:
            if target not in known and target != reference:
                with contextlib.suppress(Exception), unless_gone():
                    client.remove_image(target, noprune=True)
    if failure:
        raise EngineFailed(
            f"cannot push {reference} as {target}: {failure}",
            remediation="See that the engine reaches the registry, and trusts it: Docker does without TLS on"
            " its own machine, and for registries that its settings name.",
        )


def _follow(steps: Any, on_line: Callable[[str], None]) -> str:
    """Read what the engine tells to its end. Returns its word on its failure, "" for none."""
    failure, said = "", dict[str, str]()
    for step in steps:
        failure = sentence(str(step.get("error") or failure))
        layer, status = (shown_line(str(step.get(key, ""))) for key in ("id", "status"))
        if status and said.get(layer) != status:  # progress comes many times a second
            said[layer] = status
            on_line(f"{layer}: {status}" if layer else status)
    return failure
