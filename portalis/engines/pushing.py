"""Pushes an image to a registry through the engine, which connects to the registry itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from .errors import EngineFailed
from .log_text import log_sentence, plain_line
from .podman import podman_push
from .sdk import auth_header, engine_errors, ignore_not_found


def push_image(
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
    """Push the image `reference` as ``repository:tag``, and remove that tag from the engine unless it existed before.

    `login` has ``username`` and ``password``, or ``identitytoken``. An empty `login` pushes without credentials, even
    if Docker's config has some. Raises EngineFailed with the engine's message.
    """
    target = f"{repository}:{tag}"
    with engine_errors(f"cannot push {reference} as {target}", address):
        existing = {name for image in client.images() for name in image.get("RepoTags") or ()}
        client.tag(reference, repository, tag)
        try:
            if by_podman:
                steps = podman_push(client, repository, tag, auth_header(login), tls=not plain_http)
            else:
                steps = client.push(repository, tag, auth_config=dict(login), stream=True, decode=True)
            failure = _follow(steps, on_line)
        finally:
            if target not in existing and target != reference:
                with contextlib.suppress(Exception), ignore_not_found():
                    client.remove_image(target, noprune=True)
    if failure:
        raise EngineFailed(
            f"cannot push {reference} as {target}: {failure}",
            remediation="Make sure that the engine can reach the registry and trusts its certificate. Docker uses plain"
            " HTTP only for registries on its own machine and those in its insecure-registries setting.",
        )


def _follow(steps: Any, on_line: Callable[[str], None]) -> str:
    """Read the engine's progress messages to their end. Returns its error message, "" if the push succeeded."""
    failure, reported = "", dict[str, str]()
    for step in steps:
        failure = log_sentence(str(step.get("error") or failure))
        layer, status = (plain_line(str(step.get(key, ""))) for key in ("id", "status"))
        if status and reported.get(layer) != status:  # the same status arrives many times a second
            reported[layer] = status
            on_line(f"{layer}: {status}" if layer else status)
    return failure
