"""What the file name of a wheel says (packaging.python.org, "Binary distribution format")."""

from __future__ import annotations

import re


def normalised(name: str) -> str:
    """The name of a distribution, however it is written."""
    return re.sub(r"[-_.]+", "-", name).lower()


def takes(minor: int, interpreters: str, abis: str) -> bool:
    """Whether CPython 3.`minor` takes a wheel of these tags, each perhaps several with dots between (PEP 425)."""
    own, older = f"cp3{minor}", range(2, minor + 1)
    found, abi = set(interpreters.split(".")), set(abis.split("."))
    return (
        (own in found and bool(abi & {own, "none"}))
        or ("abi3" in abi and bool(found & {f"cp3{each}" for each in older}))
        or ("none" in abi and bool(found & {"py3", *(f"py3{each}" for each in older)}))
    )
