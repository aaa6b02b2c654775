"""Which names each ecosystem takes. Every rule gives the reason why a name is refused, or nothing."""

from __future__ import annotations

import keyword
import re

# the OCI distribution specification: path components of a repository, and tags
_OCI_PART = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_OCI_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_OCI_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
# RFC 1123 labels, which Kubernetes wants for Services and Deployments
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


# as `portalis.nim.service.settings.Name` has it
_SERVED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


# Triton 2.51 starts the process of a Python model through a shell, with the names of the model and of its instance
# group in the command, unquoted: `;` ends the command there, and the load never ends (other characters do worse).
_SHELL = frozenset("\t\n\r \"'`$&;|<>()[]{}*?!#~\\")


def shell_problem(name: str) -> str | None:
    """Why a name that Triton hands to a shell is not safe there."""
    found = sorted(_SHELL.intersection(name))
    if found:
        return f"has {found[0]!r}, and Triton hands the name to a shell as it is"
    return None if name.isprintable() else "has characters that cannot be printed"


def triton_problem(name: str) -> str | None:
    """Why Triton (and the file system under a model repository) does not take `name` for a model."""
    if not name or name in (".", "..") or name.startswith("."):
        return "is hidden or no folder name, and a model is a folder of the repository"
    if "/" in name or not name.isprintable():
        return "has a slash or characters that cannot be printed, and a model is a folder of the repository"
    if len(name.encode()) > 200:
        return "is longer than the 200 bytes that a folder name can well have"
    return shell_problem(name)


def service_problem(name: str) -> str | None:
    """Why the service, whose models are parts of paths and of file names, does not take `name` for one."""
    if _SERVED.fullmatch(name):
        return None
    return (
        "is no name for a model of the service: ASCII letters, digits, dots, dashes and underscores,"
        " a letter or digit first, at most 128"
    )


def oci_parts(name: str) -> tuple[str, str]:
    """The registry that an image's name begins with, "" for none, and the rest."""
    host, slash, rest = name.partition("/")
    return (host, rest) if slash and (host == "localhost" or "." in host or ":" in host) else ("", name)


def oci_problem(name: str) -> str | None:
    """Why a registry does not take `name` for a repository."""
    host, path = oci_parts(name)
    if len(name) > 255:
        return "is longer than 255 characters"
    if host and _OCI_HOST.fullmatch(host) is None:
        return f"begins with {host!r}, which is no registry's host"
    if all(_OCI_PART.fullmatch(part) for part in path.split("/")):
        return None
    return "is no image name: lower-case letters and digits, with single dots, dashes or underscores between"


def oci_tag_problem(tag: str) -> str | None:
    """Why a registry does not take `tag`."""
    if _OCI_TAG.fullmatch(tag):
        return None
    return "is no image tag: letters, digits, dots, dashes and underscores, at most 128"


def python_problem(name: str) -> str | None:
    """Why Python does not take the dotted `name` for a module."""
    for part in name.split("."):
        if not part.isidentifier() or not part.isascii() or keyword.iskeyword(part):
            return f"is no Python module name: {part!r} is no identifier"
    return None


def kubernetes_problem(name: str) -> str | None:
    """Why Kubernetes does not take `name` for a Service or Deployment."""
    if len(name) > 63:
        return "is longer than the 63 characters that Kubernetes takes"
    if _DNS_LABEL.fullmatch(name):
        return None
    return "is no Kubernetes name: lower-case letters, digits and dashes, beginning and ending with a letter or digit"
