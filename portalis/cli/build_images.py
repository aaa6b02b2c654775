"""`portalis build-images`: builds the service images of a package and smoke-tests them on a container engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from .failures import set_run_id
from .shared_options import DEFAULT_SPEC, ENGINES, EXIT_CODES, input_file, parse_engine
from .signals import signals_as_exit

if TYPE_CHECKING:
    from ..contracts.output import PackagingAgentOutput
    from ..pipeline import Options
    from ..spec import PackageSpec


def build_images(
    spec: Annotated[
        Path | None, typer.Argument(metavar="[SPEC]", help=f"TOML, YAML or JSON; default: {DEFAULT_SPEC}.")
    ] = None,
    engine: Annotated[str | None, typer.Option(metavar="ENGINE", help="docker or podman; overrides the spec.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="MODULE", help="Only this module (repeatable).")] = None,
    package_image: Annotated[
        bool, typer.Option("--package-image", help="One image with all modules instead of one per module.")
    ] = False,
    wheelhouse: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="A directory of wheels, for a build without a network."),
    ] = None,
    timeout: Annotated[int | None, typer.Option(metavar="SECONDS", min=1, help="Time limit for one build.")] = None,
    export: Annotated[bool, typer.Option("--export", help="Also save each image as a tar archive.")] = False,
    no_smoke: Annotated[bool, typer.Option("--no-smoke", help="Do not smoke-test the images.")] = False,
    triton: Annotated[
        bool, typer.Option("--triton", help="Build the Triton image with the wasm backend instead; needs no spec.")
    ] = False,
    triton_image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Base image, instead of NVIDIA's current image.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The output directory, for contexts, archives and the report."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an output directory that portalis did not write.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Build the service images of the package in SPEC and smoke-test each: it becomes healthy, infers, and stops.

    The engine is found through DOCKER_HOST (Docker) or CONTAINER_HOST (Podman), else at its default socket.

    The output directory is that of the spec with the suffix -images, so that an existing package is kept. The log of a
    failed build is in the output directory or, if no image could be built, next to it.

    Exit codes: 0 success, 3 some images failed (see the report), 1 failure, 2 invalid spec or usage.

    Examples: portalis build-images --engine podman --export; portalis build-images --triton
    """
    from ..pipeline import Options

    runtime = None if engine is None else parse_engine(engine)
    if package_image and only:
        raise UsageError(
            "--package-image and --only exclude each other: the package image contains all modules",
            remediation="Omit --package-image or --only.",
        )
    if triton:
        if spec is not None or only or package_image:
            raise UsageError(
                "--triton builds one image and uses no spec",
                remediation="Omit the spec, --package-image and --only.",
            )
        from .build_triton import TritonBuildOptions, build_from_options

        options = TritonBuildOptions(
            runtime=runtime or parse_engine(ENGINES[0]),
            base=triton_image,
            wheelhouse=wheelhouse,
            timeout_s=timeout,
            export=export,
            smoke_test=not no_smoke,
            folder=output or Path(),
        )
        build_from_options(options, as_json=as_json, quiet=quiet)
        return
    if triton_image is not None:
        raise UsageError("--triton-image requires --triton", remediation="Add --triton, or omit --triton-image.")
    _build_services(
        input_file(spec),
        output,
        {
            "runtime": runtime,
            "package_image": package_image,
            "wheelhouse": wheelhouse and wheelhouse.absolute(),
            "build_timeout": timeout,
            "export_image": export,
        },
        Options(only=["nim"], modules=tuple(only or ()), smoke_tests_images=not no_smoke, force=force),
        as_json=as_json,
        quiet=quiet,
    )


def _build_services(
    source: Path,
    output: Path | None,
    container: dict[str, object],
    options: Options,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    from ..pipeline import run_pipeline
    from ..spec import read_spec
    from .progress import progress_listener

    spec = read_spec(source)
    set_run_id(spec.run_id)
    requested = _with_options(spec, source, output, {key: value for key, value in container.items() if value})
    with signals_as_exit(), progress_listener(quiet=quiet or as_json, skipped=False) as listener:
        result = run_pipeline(requested, options, listener, source=str(source))
    _print_result(result, requested.output_directory, as_json=as_json, quiet=quiet)
    raise typer.Exit(EXIT_CODES[result.status.value])


def _with_options(spec: PackageSpec, source: Path, output: Path | None, container: dict[str, object]) -> PackageSpec:
    """`spec` with the settings of the command line, checked again."""
    from ..problems import InputProblems
    from ..spec.container import ContainerRuntime
    from ..spec.invariants import invariant_problems
    from ..spec.paths import resolve_path

    if "runtime" in container:
        container["runtime"] = ContainerRuntime(container["runtime"])
    default = spec.output_directory.with_name(f"{spec.output_directory.name}-images")
    directory = default if output is None else resolve_path(output, Path.cwd())
    config = spec.container_config.model_copy(update=container)
    changes = {"output_directory": directory, "enable_nim_packaging": True, "container_config": config}
    changed = spec.model_copy(update=changes)
    problems = list(invariant_problems(changed, source.absolute().parent))
    if problems:
        raise InputProblems(problems, source="the command line")
    return changed


def _print_result(result: PackagingAgentOutput, output: Path, *, as_json: bool, quiet: bool) -> None:
    from ..output.report_file import report_text
    from .summary import diagnostic_lines, image_lines

    if as_json:
        print(report_text(result))
        return
    for line in diagnostic_lines(result, quiet=quiet):
        print(line, file=sys.stderr)
    if not quiet:
        for line in image_lines(result, output):
            print(line)
