"""Names of deployed objects, valid for Kubernetes and for Compose, and values of labels."""

from __future__ import annotations

import re

from ..naming import kubernetes_problem, oci_parts

_SEPARATORS = re.compile(r"[/._]+")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def workload_name(image: str) -> str:
    """The name of the workload that runs `image` (a repository, without a tag).

    It is ``acme-image-ops`` for "host:5000/acme/image_ops". It can be invalid: see `object_name_problem`.
    """
    return _SEPARATORS.sub("-", oci_parts(image)[1]).lower()


def object_name_problem(name: str) -> str | None:
    """The reason that `name` is invalid for a Deployment or a Service; None if it is valid."""
    if (reason := kubernetes_problem(name)) is not None:
        return reason
    if name[0].isdigit():  # a Service's name is a host name (RFC 1035), which is stricter than other names
        return "begins with a digit, but the name of a Kubernetes Service must begin with a letter"
    return None


def label_value(text: str) -> str | None:
    """`text` as the value of a label, with ``_`` for ``+``, which labels cannot contain; None if it is invalid."""
    value = text.replace("+", "_")
    return value if _LABEL.fullmatch(value) else None
