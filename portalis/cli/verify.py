"""`portalis verify`: checks the integrity of a package, the safety of its paths, and its signature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..escaping import printable

if TYPE_CHECKING:
    from ..dist.verify import VerificationReport

SHOWN = 30


def verify(
    package: Annotated[
        Path, typer.Argument(metavar="ARCHIVE|DIR", help="An archive, an unpacked one, or an output directory.")
    ],
    key: Annotated[Path | None, typer.Option("--key", help="The public key (PEM) of the required signature.")] = None,
    max_bytes: Annotated[
        int | None, typer.Option("--max-bytes", min=1, help="Maximum total size of the files; default: 64 GiB.")
    ] = None,
    max_entries: Annotated[
        int | None,
        typer.Option("--max-entries", min=1, help="Maximum number of files and directories; default: 100000."),
    ] = None,
    max_ratio: Annotated[
        int | None, typer.Option("--max-ratio", min=1, help="Maximum ratio of unpacked to packed size; default: 200.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a package before it is unpacked: checksums, manifest against contents, safe paths, signature.

    Nothing is unpacked to disk. The exit code is 1 if a check fails, and 2 if there is nothing to verify.
    """
    from ..dist.verify import ReadLimits, verify_package

    given = {"max_bytes": max_bytes, "max_entries": max_entries, "max_ratio": max_ratio}
    limits = ReadLimits(**{name: value for name, value in given.items() if value is not None})
    signer = None
    if key is not None:
        from ..dist.attest.keys import load_public_key

        signer = load_public_key(key)
    report = verify_package(package, limits, signer)
    if as_json:
        print(json.dumps(_data(report), indent=2))
    else:
        _show(report)
    if not report.verified:
        raise typer.Exit(1)


def _data(report: VerificationReport) -> dict[str, Any]:
    return {
        "path": str(report.path),
        "verified": report.verified,
        "format": report.archive_format.value if report.archive_format else None,
        "files": report.file_count,
        "size_bytes": report.size_bytes,
        "digests": {algorithm.value: digest for algorithm, digest in report.digests.items()},
        "checks": [
            {
                "name": check.name,
                "passed": not check.findings,
                "told": check.summary,
                "findings": [{"message": each.message, "remediation": each.remediation} for each in check.findings],
            }
            for check in report.checks
        ],
        "archives": [_data(each) for each in report.archives],
    }


def _show(report: VerificationReport) -> None:
    """Print one line per check, followed by its findings, and each remediation once."""
    for check in report.checks:
        wrong = check.findings
        print(f"{'FAILED' if wrong else 'ok':<8}{check.name:<12}{printable('' if wrong else check.summary)}".rstrip())
        remedies: dict[str, None] = {}
        for finding in wrong[:SHOWN]:
            print(f"          {printable(finding.message)}")
            remedies[finding.remediation] = None
        if len(wrong) > SHOWN:
            print(f"          and {len(wrong) - SHOWN} more (--json shows all)")
        for remedy in remedies:
            print(f"          -> {printable(remedy)}")
    for each in report.archives:
        _show(each)
    count = len(report.findings) + sum(len(each.findings) for each in report.archives)
    verdict = "verified" if report.verified else f"NOT verified: {count} finding{'' if count == 1 else 's'}"
    print(f"{printable(str(report.path))}: {verdict}")
