"""`portalis publish`: pushes the artifacts of a package to a registry."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from ..escaping import printable
from .failures import set_run_id
from .shared_options import DEFAULT_SPEC, ENGINES, parse_engine

if TYPE_CHECKING:
    from ..oci.address import Address
    from ..oci.credentials import Credentials
    from ..publishing.publishing_plan import PublishingPlan
    from ..publishing.push import PublishingOutcome
    from ..spec.container import ContainerRuntime

_EXIT_PARTIAL = 3


def publish(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[OUTPUT_DIR]",
            help=f"Directory that `portalis package` wrote; by default the one of {DEFAULT_SPEC}.",
        ),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help=f"Registry, for example registry.example.com/team; by default the one of {DEFAULT_SPEC}.",
        ),
    ] = None,
    username: Annotated[
        str | None, typer.Option(metavar="NAME", help="User name for the registry; requires --password-stdin.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    plain_http: Annotated[
        bool,
        typer.Option("--plain-http", help="Connect without TLS. This is the default for registries on this machine."),
    ] = False,
    engine: Annotated[
        str | None,
        typer.Option(metavar="ENGINE", help="Engine that has the images, docker or podman; by default the spec's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be published, without contacting the registry.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print references and errors only, no progress.")
    ] = False,
) -> None:
    """Publish images, modules, archive, chart and extension, each with its SBOM and provenance, and print references.

    Content that the registry already has is not sent again: publishing again resumes where it stopped, or does nothing.

    Credentials: --username and --password-stdin, or PORTALIS_REGISTRY_USERNAME and PORTALIS_REGISTRY_PASSWORD, or the
    login of `docker login` or `podman login`, with their credential helpers.

    Exit codes: 0 success, 3 some artifacts failed, 1 nothing was published, 2 bad usage. After a failure, OUTPUT_DIR
    contains publish.sh, a script that publishes everything without portalis.

    Example: portalis publish out --registry registry.example.com/team --dry-run
    """
    from ..oci.address import parse_address
    from ..output.report_file import read_report
    from ..publishing.published_package import package_from_report
    from ..publishing.publishing_plan import make_plan
    from ..publishing.record import record_published

    folder, registry, runtime = _with_spec_defaults(folder, registry, engine)
    address = parse_address(registry, plain_http=plain_http)
    report = read_report(folder)
    package = package_from_report(folder, report)
    plan = make_plan(package, address)
    if not plan.images and not plan.artifacts:
        raise UsageError(f"nothing to publish in {folder}", remediation="Enable more targets, and package again.")
    for note in () if quiet else plan.notes:
        print(f"note: not published: {printable(note)}", file=sys.stderr)
    if dry_run:
        _print_plan(plan, as_json=as_json)
        return
    credentials = _credentials(address, username, password_stdin=password_stdin)
    outcome = _publish(plan, credentials, runtime, quiet=quiet or as_json)
    script = _update_script(folder, plan, outcome, runtime)
    record_published(folder, report, package, outcome.published)
    _print_outcome(outcome, script, as_json=as_json)
    if outcome.failures:
        raise typer.Exit(_EXIT_PARTIAL if outcome.published else 1)


def _with_spec_defaults(
    folder: Path | None, registry: str | None, engine: str | None
) -> tuple[Path, str, ContainerRuntime]:
    """The values of the command line, and those of the spec for the missing ones. Raises UsageError."""
    runtime = parse_engine(ENGINES[0] if engine is None else engine)
    source = Path(DEFAULT_SPEC)
    if (folder is None or registry is None) and source.exists():
        from ..spec import read_spec

        spec = read_spec(source)
        set_run_id(spec.run_id)
        registry = registry or spec.registry_url
        folder = folder or spec.output_directory
        runtime = runtime if engine else spec.container_config.runtime
    if folder is None:
        raise UsageError(
            f"{DEFAULT_SPEC} does not exist, and no output directory is specified",
            remediation="Name the output directory to publish.",
        )
    if registry is None:
        raise UsageError(
            "no registry is specified", remediation=f"Use --registry URL, or set registry_url in {DEFAULT_SPEC}."
        )
    return folder, registry, runtime


def _credentials(address: Address, username: str | None, *, password_stdin: bool) -> Credentials | None:
    from ..oci.credentials import Credentials
    from ..oci.logins import find_credentials

    if not password_stdin:
        if username is not None:
            raise UsageError(
                "--username requires a password",
                remediation="Add --password-stdin, and pass the password on standard input.",
            )
        return find_credentials(address)
    if username is None:
        raise UsageError("--password-stdin requires a user name", remediation="Add --username NAME.")
    secret = sys.stdin.readline().rstrip("\r\n")
    if not secret:
        raise UsageError(
            "no password on standard input", remediation="Pass it there, for example with <FILE or `pass NAME |`."
        )
    return Credentials(username=username, secret=secret, source="the command line")


def _publish(
    plan: PublishingPlan, credentials: Credentials | None, runtime: ContainerRuntime, *, quiet: bool
) -> PublishingOutcome:
    from ..publishing.push import publish_plan
    from .signals import signals_as_exit

    def on_progress(text: str) -> None:
        if not quiet:
            print(f"  {printable(text)}", file=sys.stderr, flush=True)

    with signals_as_exit():
        return publish_plan(plan, credentials, runtime=runtime, on_progress=on_progress)


def _update_script(
    folder: Path, plan: PublishingPlan, outcome: PublishingOutcome, runtime: ContainerRuntime
) -> Path | None:
    """Write the publishing script if there was a failure, else remove the script of an earlier run."""
    from ..engines.engine_commands import engine_program
    from ..publishing.script import remove_script, write_script

    if outcome.failures:
        return write_script(plan, folder, engine_program(runtime))
    remove_script(folder)
    return None


def _print_plan(plan: PublishingPlan, *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "kind": artifact.kind.value,
            "name": artifact.name,
            "reference": plan.reference(artifact),
            "digest": artifact.manifest.descriptor()["digest"],
            "size_bytes": sum(each.blob.size for each in artifact.manifest.blobs),
            "attached": [{"kind": each.kind.value, "name": each.file.name} for each in artifact.attached],
        }
        for artifact in plan.artifacts
    ]
    rows += [{"kind": "Image", "name": image.reference, "reference": plan.reference(image)} for image in plan.images]
    if as_json:
        print(json.dumps({"registry": str(plan.address), "would_publish": rows, "notes": plan.notes}, indent=2))
        return
    for row in rows:
        print(f"{row['kind']:<10} {printable(row['name'])} -> {printable(row['reference'])}")
        for attached in row.get("attached", ()):
            print(f"{'':<10} with {printable(attached['name'])} ({attached['kind']})")


def _print_outcome(outcome: PublishingOutcome, script: Path | None, *, as_json: bool) -> None:
    if as_json:
        document = {
            "published": [
                json.loads(each.model_dump_json()) | {"reference": each.reference} for each in outcome.published
            ],
            "failures": [
                {"reference": each.reference, "message": each.message, "remediation": each.remediation}
                for each in outcome.failures
            ],
            "untried": list(outcome.untried),
            "script": None if script is None else str(script),
        }
        print(json.dumps(document, indent=2))
        return
    for each in outcome.published:
        suffix = "" if each.sent else " (already published)"
        print(f"{printable(each.reference)}  {printable(each.name)}{suffix}")
    for failure in outcome.failures:
        print(f"error: {printable(failure.reference)}: {printable(failure.message)}", file=sys.stderr)
        print(f"  {printable(failure.remediation)}", file=sys.stderr)
    for reference in outcome.untried:
        print(f"not attempted: {printable(reference)}", file=sys.stderr)
    if script is not None:
        print(
            f"{printable(str(script))} publishes without portalis; its first lines name the required logins",
            file=sys.stderr,
        )
