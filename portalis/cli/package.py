"""`portalis package`: generates everything a deployment needs from one spec file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from .failures import set_run_id
from .shared_options import DEFAULT_SPEC, EXIT_CODES, input_file
from .signals import signals_as_exit

if TYPE_CHECKING:
    from ..contracts.output import PackagingAgentOutput
    from ..pipeline import Listener, Options
    from ..spec import PackageSpec


def package(
    spec: Annotated[
        Path | None, typer.Argument(metavar="[SPEC]", help=f"TOML, YAML or JSON; default: {DEFAULT_SPEC}.")
    ] = None,
    contract: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="A packaging-input.json instead of a spec.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The output directory; overrides the spec.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="TARGET", help="Only this target (repeatable).")] = None,
    skip: Annotated[list[str] | None, typer.Option(metavar="TARGET", help="Skip this target (repeatable).")] = None,
    validate: Annotated[
        str,
        typer.Option(
            metavar="DEPTH", help="static, or live: also load the models in a real Triton and run one inference each."
        ),
    ] = "static",
    keep_versions: Annotated[
        bool, typer.Option("--keep-versions", help="Keep other versions of the models in the output directory.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first failure and write nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an output directory that portalis did not write.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the report to this file, even if the run fails.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Package the modules of SPEC for deployment.

    The output directory is replaced as a whole at the end; a run that fails or is killed leaves it unchanged.

    Targets: nim, triton, omniverse, docs, deployment, archive, publish.

    Exit codes: 0 success, 3 partial success (see the report), 1 failure, 2 invalid spec or usage.

    Example: portalis package --only triton --validate live
    """
    from ..pipeline import Options
    from .progress import progress_listener

    if validate not in ("static", "live"):
        raise UsageError(f"--validate {validate}: unknown kind of validation", remediation="Use static or live.")
    if report is not None and report.is_dir():
        raise UsageError(f"{report} is a directory", remediation="Pass the file to write with --report.")
    source = input_file(spec, contract)
    requested = _read(source, is_contract=contract is not None)
    set_run_id(requested.run_id)
    requested = _with_options(requested, source, output, keep_versions=keep_versions, fail_fast=fail_fast)
    options = Options(only=tuple(only or ()), skip=tuple(skip or ()), live=validate == "live", force=force)
    with signals_as_exit(), progress_listener(quiet=quiet or as_json) as listener:
        result = _run(requested, options, listener, source, is_contract=contract is not None)
    _print_result(result, requested.output_directory, report, as_json=as_json, quiet=quiet)
    raise typer.Exit(EXIT_CODES[result.status.value])


def _read(source: Path, *, is_contract: bool) -> PackageSpec:
    from ..contracts.input import read_input
    from ..spec import read_spec

    return read_input(source) if is_contract else read_spec(source)


def _run(
    spec: PackageSpec, options: Options, listener: Listener, source: Path, *, is_contract: bool
) -> PackagingAgentOutput:
    from ..contracts.input import in_contract
    from ..pipeline import run_pipeline
    from ..problems import InputProblems

    try:
        return run_pipeline(spec, options, listener, source=str(source))
    except InputProblems as error:
        if not is_contract:
            raise
        raise InputProblems(map(in_contract, error.problems), source=error.source) from None


def _with_options(
    spec: PackageSpec, source: Path, output: Path | None, *, keep_versions: bool, fail_fast: bool
) -> PackageSpec:
    """`spec` with the settings of the command line, checked again."""
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


def _print_result(
    result: PackagingAgentOutput, output: Path, report: Path | None, *, as_json: bool, quiet: bool
) -> None:
    from ..output.report_file import report_text, write_report
    from .summary import diagnostic_lines, result_lines

    if report is not None:
        write_report(report, result)
    if as_json:
        print(report_text(result))
        return
    for line in diagnostic_lines(result, quiet=quiet):
        print(line, file=sys.stderr)
    if not quiet:
        for line in result_lines(result, output):
            print(line)
