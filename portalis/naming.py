"""The names that each ecosystem accepts. Every function returns the reason why a name is not accepted, or None."""

from __future__ import annotations

import keyword
import re

# the OCI distribution specification: path components of a repository, and tags
_OCI_PART = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_OCI_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_OCI_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
# a reference to an image in a registry; none of its characters has a meaning in a Dockerfile
_IMAGE_REFERENCE = re.compile(
    r"([A-Za-z0-9.-]+(:\d+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
# RFC 1123 labels, which Kubernetes requires for Services and Deployments
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

# as in `portalis.nim.service.settings.Name`
_SERVED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

# Triton 2.51 starts the process of a Python model through a shell, with the unquoted names of the model and of its
# instance group in the command: a `;` ends the command, so that loading never ends; other characters do worse
_SHELL = frozenset("\t\n\r \"'`$&;|<>()[]{}*?!#~\\")


def shell_problem(name: str) -> str | None:
    """The reason why a name is not safe in the shell that Triton passes it to."""
    unsafe = sorted(_SHELL.intersection(name))
    if unsafe:
        return f"contains {unsafe[0]!r}, and Triton passes the name unquoted to a shell"
    return None if name.isprintable() else "contains unprintable characters"


def triton_problem(name: str) -> str | None:
    """The reason why Triton, or the file system of a model repository, does not accept `name` for a model."""
    if not name or name in (".", "..") or name.startswith("."):
        return "is empty or begins with a dot, and a model is a directory of the repository"
    if "/" in name or not name.isprintable():
        return "contains a slash or unprintable characters, and a model is a directory of the repository"
    if len(name.encode()) > 200:
        return "is longer than 200 bytes, the limit for a directory name"
    return shell_problem(name)


def service_problem(name: str) -> str | None:
    """The reason why the service, which uses names of models in paths and file names, does not accept `name`."""
    if _SERVED.fullmatch(name):
        return None
    return (
        "is not a model name that the service accepts: use at most 128 ASCII letters, digits, dots, dashes and"
        " underscores, beginning with a letter or digit"
    )


def oci_parts(name: str) -> tuple[str, str]:
    """The registry in an image's name ("" for none), and the remaining path."""
    host, slash, rest = name.partition("/")
    return (host, rest) if slash and (host == "localhost" or "." in host or ":" in host) else ("", name)


def oci_problem(name: str) -> str | None:
    """The reason why a registry does not accept `name` for a repository."""
    host, path = oci_parts(name)
    if len(name) > 255:
        return "is longer than 255 characters"
    if host and _OCI_HOST.fullmatch(host) is None:
        return f"begins with {host!r}, which is not a valid registry"
    if all(_OCI_PART.fullmatch(part) for part in path.split("/")):
        return None
    return (
        "is not a valid image name: use lower-case letters and digits, separated by single dots, dashes or underscores"
    )


def oci_tag_problem(tag: str) -> str | None:
    """The reason why a registry does not accept `tag`."""
    if _OCI_TAG.fullmatch(tag):
        return None
    return "is not a valid image tag: use at most 128 letters, digits, dots, dashes and underscores"


def is_image_reference(text: str) -> bool:
    """Whether `text` is an image's name with an optional registry, tag and digest.

    Repeated separators are accepted, which `oci_problem` rejects: the image exists already, under any name that its
    registry allowed.
    """
    return _IMAGE_REFERENCE.fullmatch(text) is not None


def python_problem(name: str) -> str | None:
    """The reason why Python does not accept the dotted `name` for a module."""
    for part in name.split("."):
        if not part.isidentifier() or not part.isascii() or keyword.iskeyword(part):
            return f"is not a valid Python module name: {part!r} is not an identifier"
    return None


def kubernetes_problem(name: str) -> str | None:
    """The reason why Kubernetes does not accept `name` for a Service or Deployment."""
    if len(name) > 63:
        return "is longer than 63 characters, the limit of Kubernetes"
    if _DNS_LABEL.fullmatch(name):
        return None
    return (
        "is not a valid Kubernetes name: use lower-case letters, digits and dashes, beginning and ending with a letter"
        " or digit"
    )
