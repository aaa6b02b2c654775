"""Checks signature, provenance and SBOM, which lie beside the archive."""

from __future__ import annotations

import os

from ...output.package_layout import SBOM_ENDING, SIGNED_ENDING, UNSIGNED_ENDING
from ..attest.dsse import Verifier
from .attestation_check import findings
from .shipped import Finding, Shipped
from .subject import Check, Checked, Subject

NAME = "provenance"
_UNSIGNED = Finding(
    check="signature",
    message="a folder is not signed: its files may be anyone's, whatever its manifest says",
    remediation="Verify the archive with --key, and unpack that one.",
)


def signature_check(key: Verifier | None) -> Check:
    """The check with this public key; without one what is there has to be right, but may be anyone's."""

    def check(subject: Subject) -> Checked:
        if not subject.is_archive:
            told = "that of an archive lies beside it; this is a folder"
            return Checked(name=NAME, told=told, findings=() if key is None else (_UNSIGNED,))
        contents = {path: seen.sha256 for path, seen in subject.files.items()}
        shipped = Shipped(archive=subject.path, top=subject.top, contents=contents, digests=subject.digests)
        here = [
            ending
            for ending in (SIGNED_ENDING, UNSIGNED_ENDING, SBOM_ENDING)
            if os.path.lexists(shipped.beside(ending))
        ]
        # an archive alone is whole without them; its SBOM is also in it
        found = tuple(findings(shipped, key)) if here or key is not None else ()
        if key is not None:
            return Checked(name=NAME, told=f"signed with the key {key.keyid}", findings=found, proves=not found)
        told = "who has made it is not checked: no --key was given"
        told = f"{', '.join(here)} beside it; {told}" if here else f"none beside it; {told}"
        stated = SIGNED_ENDING in here or UNSIGNED_ENDING in here
        return Checked(name=NAME, told=told, findings=found, proves=stated and not found)

    return check
