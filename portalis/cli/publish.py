"""`portalis publish`: what a run has made, in a registry."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from ..escaping import printable
from .engines import NAMES, engine_named
from .failures import of_run
from .package import DEFAULT_SPEC

if TYPE_CHECKING:
    from ..oci.address import Address
    from ..oci.credentials import Credentials
    from ..publishing.publishing_plan import PublishingPlan
    from ..publishing.push import Outcome
    from ..spec.container import ContainerRuntime

PARTLY = 3


def publish(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[OUTPUT_DIR]", help=f"What `portalis package` wrote; that of {DEFAULT_SPEC} otherwise."
        ),
    ] = None,
    registry: Annotated[
        str | None, typer.Option(metavar="URL", help=f"Such as registry.example.com/team; {DEFAULT_SPEC}'s otherwise.")
    ] = None,
    username: Annotated[str | None, typer.Option(metavar="NAME", help="Log in as, with --password-stdin.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="Speak to the registry without TLS. This machine's own is anyway.")
    ] = False,
    engine: Annotated[
        str | None, typer.Option(metavar="ENGINE", help="docker or podman: which has the images. The spec's otherwise.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go where, and ask nobody.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only references and errors.")] = False,
) -> None:
    """Publish images, modules, archive, chart and extension, each with its SBOM and provenance, and print references.

    What the registry has already is not sent again: publishing anew goes on where it stopped, or does nothing.

    Credentials: --username and --password-stdin, or PORTALIS_REGISTRY_USERNAME and PORTALIS_REGISTRY_PASSWORD, or those
    of `docker login` or `podman login`, with their credential helpers.

    Exit codes: 0 success, 3 some things failed, 1 nothing was published, 2 bad usage. What fails leaves publish.sh in
    OUTPUT_DIR, which publishes by hand.

    Example: portalis publish out --registry registry.example.com/team --dry-run
    """
    from ..oci import address as addresses
    from ..publishing.publication import package_of, read_report
    from ..publishing.publishing_plan import make_plan

    folder, registry, runtime = _settled(folder, registry, engine)
    address = addresses.parse(registry, plain_http=plain_http)
    report = read_report(folder)
    package = package_of(folder, report)
    plan = make_plan(package, address)
    if not plan.images and not plan.artifacts:
        raise UsageError(f"there is nothing to publish in {folder}", remediation="Package with more targets.")
    for each in () if quiet else plan.notes:
        print(f"note: {printable(each)}", file=sys.stderr)
    if dry_run:
        _tell_plan(plan, as_json=as_json)
        return
    login = _login(address, username, password_stdin=password_stdin)
    outcome = _carry_out(plan, login, runtime, quiet=quiet or as_json)
    script = _settle(folder, plan, outcome, runtime)
    from ..publishing.publication import note

    note(folder, report, package, outcome.published)
    _tell(outcome, script, as_json=as_json)
    if outcome.failures:
        raise typer.Exit(PARTLY if outcome.published else 1)


def _settled(folder: Path | None, registry: str | None, engine: str | None) -> tuple[Path, str, ContainerRuntime]:
    """What is not given on the command line is the spec's. Raises UsageError."""
    runtime = engine_named(NAMES[0] if engine is None else engine)
    source = Path(DEFAULT_SPEC)
    if (folder is None or registry is None) and source.exists():
        from ..spec import read_spec

        spec = read_spec(source)
        of_run(spec.run_id)
        registry = registry or spec.registry_url
        folder = folder or spec.output_directory
        runtime = runtime if engine else spec.container_config.runtime
    if folder is None:
        raise UsageError(f"there is no {DEFAULT_SPEC} here", remediation="Name the output directory to publish.")
    if registry is None:
        raise UsageError(
            "no registry is named", remediation=f"Say --registry URL, or set registry_url in {DEFAULT_SPEC}."
        )
    return folder, registry, runtime


def _login(address: Address, username: str | None, *, password_stdin: bool) -> Credentials | None:
    from ..oci import credentials

    if not password_stdin:
        if username is not None:
            raise UsageError("--username has no password", remediation="Say --password-stdin, and hand it over there.")
        return credentials.find(address)
    if username is None:
        raise UsageError("--password-stdin has no name", remediation="Say --username NAME.")
    secret = sys.stdin.readline().rstrip("\r\n")
    if not secret:
        raise UsageError("there is no password on standard input", remediation="Pipe it in: … <FILE, or pass … |.")
    return credentials.Credentials(username=username, secret=secret, source="the command line")


def _carry_out(plan: PublishingPlan, login: Credentials | None, runtime: ContainerRuntime, *, quiet: bool) -> Outcome:
    from ..publishing.publication import carry_out
    from .signals import cleaning_up

    def say(text: str) -> None:
        if not quiet:
            print(f"  {printable(text)}", file=sys.stderr, flush=True)

    with cleaning_up():
        return carry_out(plan, login, runtime=runtime, say=say)


def _settle(folder: Path, plan: PublishingPlan, outcome: Outcome, runtime: ContainerRuntime) -> Path | None:
    """The script for what failed; without failure there is none, and one of an earlier time goes."""
    from ..engines.engine_commands import engine_program
    from ..output.package_layout import PUBLISH_SCRIPT
    from ..publishing.script import write_script

    if outcome.failures:
        return write_script(plan, folder, engine_program(runtime))
    (folder / PUBLISH_SCRIPT).unlink(missing_ok=True)
    return None


def _tell_plan(plan: PublishingPlan, *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = []
    for each in plan.artifacts:
        reference = f"{plan.address.reference(each.repository)}:{each.tag}"
        size = sum(part.blob.size for part in each.manifest.parts)
        digest = each.manifest.descriptor()["digest"]
        attached = [{"kind": about.kind.value, "name": about.file.name} for about in each.attached]
        rows.append(
            {
                "kind": each.kind.value,
                "name": each.name,
                "reference": reference,
                "digest": digest,
                "size_bytes": size,
                "attached": attached,
            }
        )
    for image in plan.images:
        reference = f"{plan.address.reference(image.repository)}:{image.tag}"
        rows.append({"kind": "Image", "name": image.reference, "reference": reference})
    if as_json:
        print(json.dumps({"registry": str(plan.address), "would_publish": rows, "notes": plan.notes}, indent=2))
        return
    for row in rows:
        print(f"{row['kind']:<10} {printable(row['name'])} -> {printable(row['reference'])}")
        for about in row.get("attached", ()):
            print(f"{'':<10} with {printable(about['name'])} ({about['kind']})")


def _tell(outcome: Outcome, script: Path | None, *, as_json: bool) -> None:
    if as_json:
        told = {
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
        print(json.dumps(told, indent=2))
        return
    for each in outcome.published:
        print(f"{printable(each.reference)}  {printable(each.name)}{'' if each.sent else ' (was there)'}")
    for failure in outcome.failures:
        print(f"error: {printable(failure.reference)}: {printable(failure.message)}", file=sys.stderr)
        print(f"  {printable(failure.remediation)}", file=sys.stderr)
    for reference in outcome.untried:
        print(f"not tried: {printable(reference)}", file=sys.stderr)
    if script is not None:
        print(
            f"{printable(str(script))} publishes by hand; its first lines name the programs that it needs",
            file=sys.stderr,
        )
