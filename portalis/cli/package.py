"""`portalis package`: everything that a deployment needs, from one spec file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from .failures import of_run
from .signals import cleaning_up

if TYPE_CHECKING:
    from ..contracts.output import PackagingAgentOutput
    from ..pipeline import Listener, Options
    from ..spec import PackageSpec

DEFAULT_SPEC = "portalis.toml"
EXIT_CODES = {"success": 0, "partial_success": 3, "failure": 1}


def package(
    spec: Annotated[
        Path | None, typer.Argument(metavar="[SPEC]", help=f"TOML, YAML or JSON; {DEFAULT_SPEC} when not given.")
    ] = None,
    contract: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="A packaging-input.json instead of a spec.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The output directory, instead of the spec's.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="TARGET", help="Only this target (repeatable).")] = None,
    skip: Annotated[list[str] | None, typer.Option(metavar="TARGET", help="Not this target (repeatable).")] = None,
    validate: Annotated[
        str, typer.Option(metavar="DEPTH", help="static, or live: also on a real Triton, with one inference a model.")
    ] = "static",
    keep_versions: Annotated[
        bool, typer.Option("--keep-versions", help="Keep the models' other versions of the output directory.")
    ] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure, write nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an output directory that portalis has not written.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report here too, also when the run failed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only what went wrong.")] = False,
) -> None:
    """Package modules for deployment, as SPEC says.

    The output directory is replaced as a whole, at the end: a run that fails or is killed leaves what was there.

    Targets: nim, triton, omniverse, docs, deployment, archive, publish.

    Exit codes: 0 success, 3 partial success (see the report), 1 failure, 2 bad spec or usage.

    Example: portalis package --only triton --validate live
    """
    from ..pipeline import Options
    from .progress import listener

    if validate not in ("static", "live"):
        raise UsageError(f"--validate {validate}: there is no such depth", remediation="Use static or live.")
    if report is not None and report.is_dir():
        raise UsageError(f"{report} is a directory", remediation="Name the file to write with --report.")
    source = source_of(spec, contract)
    wanted = _read(source, is_contract=contract is not None)
    of_run(wanted.run_id)
    wanted = _adjusted(wanted, source, output, keep_versions=keep_versions, fail_fast=fail_fast)
    options = Options(only=tuple(only or ()), skip=tuple(skip or ()), live=validate == "live", force=force)
    with cleaning_up(), listener(quiet=quiet or as_json) as told:
        made = _made(wanted, options, told, source, is_contract=contract is not None)
    _tell(made, wanted.output_directory, report, as_json=as_json, quiet=quiet)
    raise typer.Exit(EXIT_CODES[made.status.value])


def source_of(spec: Path | None, contract: Path | None = None) -> Path:
    """The file that a run reads. Raises UsageError where there are two, or none."""
    if contract is not None and spec is not None:
        raise UsageError(
            f"{spec} and --input {contract} are two inputs", remediation="Name the spec, or give --input alone."
        )
    if contract is None and spec is None and not Path(DEFAULT_SPEC).exists():
        raise UsageError(
            f"there is no {DEFAULT_SPEC} here",
            remediation="Write one with `portalis init MODULE`, or name a spec file.",
        )
    return contract or spec or Path(DEFAULT_SPEC)


def _read(source: Path, *, is_contract: bool) -> PackageSpec:
    from ..contracts.input import read_input
    from ..spec import read_spec

    return read_input(source) if is_contract else read_spec(source)


def _made(
    spec: PackageSpec, options: Options, told: Listener, source: Path, *, is_contract: bool
) -> PackagingAgentOutput:
    from ..contracts.input import in_contract
    from ..pipeline import run_pipeline
    from ..problems import InputProblems

    try:
        return run_pipeline(spec, options, told, source=str(source))
    except InputProblems as found:
        if not is_contract:
            raise
        raise InputProblems(map(in_contract, found.problems), source=found.source) from None


def _adjusted(
    spec: PackageSpec, source: Path, output: Path | None, *, keep_versions: bool, fail_fast: bool
) -> PackageSpec:
    """`spec` with what the command line says otherwise, checked anew."""
    from ..problems import InputProblems
    from ..spec.invariants import invariant_problems
    from ..spec.paths import resolve_path

    changes: dict[str, object] = {}
    if output is not None:
        changes["output_directory"] = resolve_path(output, Path.cwd())
    if fail_fast:
        changes["fail_on_partial_errors"] = True
    if keep_versions:
        changes["triton_config"] = spec.triton_config.model_copy(update={"keep_versions": True})
    changed = spec.model_copy(update=changes)
    problems = list(invariant_problems(changed, source.absolute().parent)) if output is not None else []
    if problems:
        raise InputProblems(problems, source="the command line")
    return changed


def _tell(made: PackagingAgentOutput, output: Path, report: Path | None, *, as_json: bool, quiet: bool) -> None:
    from ..output.report_file import report_text, write_report
    from .summary import result, troubles

    if report is not None:
        write_report(report, made)
    if as_json:
        print(report_text(made))
        return
    for line in troubles(made, quiet=quiet):
        print(line, file=sys.stderr)
    if not quiet:
        for line in result(made, output):
            print(line)
