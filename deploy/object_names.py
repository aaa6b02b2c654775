"""What the objects of a deployment are called: names that Kubernetes and Compose both take."""

from __future__ import annotations

import re

from ..naming import kubernetes_problem, oci_parts

_BETWEEN = re.compile(r"[/._]+")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def workload_name(image: str) -> str:
    """The name for what runs `image` (a repository, without a tag): ``acme-image-ops`` for "host:5000/acme/image_ops".

    It need not be valid: `trouble` tells.
    """
    return _BETWEEN.sub("-", oci_parts(image)[1]).lower()


def trouble(name: str) -> str | None:
    """Why no Deployment with a Service can be called `name`."""
    if (why := kubernetes_problem(name)) is not None:
        return why
    # Services are stricter than all else: RFC 1035, as their name is one of a host
    return (
        "begins with a digit, and the name of a Kubernetes Service begins with a letter" if name[0].isdigit() else None
    )


def label_value(text: str) -> str | None:
    """`text` as the value of a label, where a version's ``+`` is not allowed; None where it cannot be one."""
    value = text.replace("+", "_")
    return value if _LABEL.fullmatch(value) else None
