"""`portalis build-images`: the service images of a package alone, built and tried on a real engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from .engines import NAMES, engine_named
from .failures import of_run
from .package import DEFAULT_SPEC, EXIT_CODES, source_of
from .signals import cleaning_up

if TYPE_CHECKING:
    from ..contracts.output import PackagingAgentOutput
    from ..pipeline import Options
    from ..spec import PackageSpec


def build_images(
    spec: Annotated[
        Path | None, typer.Argument(metavar="[SPEC]", help=f"TOML, YAML or JSON; {DEFAULT_SPEC} when not given.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="ENGINE", help="docker or podman, instead of the spec's.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="MODULE", help="Only this module (repeatable).")] = None,
    package_image: Annotated[
        bool, typer.Option("--package-image", help="One image with all modules instead of one for each.")
    ] = False,
    wheelhouse: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Install from the wheels in it, without a network."),
    ] = None,
    timeout: Annotated[
        int | None, typer.Option(metavar="SECONDS", min=1, help="Give up a build that takes longer.")
    ] = None,
    export: Annotated[bool, typer.Option("--export", help="Also save each image as a tar archive.")] = False,
    no_smoke: Annotated[bool, typer.Option("--no-smoke", help="Do not try the images once they are built.")] = False,
    triton: Annotated[
        bool, typer.Option("--triton", help="Build the image of Triton with the wasm backend instead; needs no spec.")
    ] = False,
    triton_image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="What it is built on, instead of NVIDIA's current image.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where contexts, archives and the report go, as a whole."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an output directory that portalis has not written.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only what went wrong.")] = False,
) -> None:
    """Build the service images of a package, as SPEC says, and try each: it becomes healthy, infers, and stops.

    Docker is found by DOCKER_HOST, Podman by CONTAINER_HOST, or where they usually listen.

    The output directory is the spec's with -images behind its name, so that a package made before stays. The log of a
    build that fails is kept in it or, where no image could be made, beside it.

    Exit codes: 0 success, 3 some images failed (see the report), 1 failure, 2 bad spec or usage.

    Examples: portalis build-images --engine podman --export; portalis build-images --triton
    """
    from ..pipeline import Options

    runtime = None if engine is None else engine_named(engine)
    if package_image and only:
        raise UsageError(
            "--package-image and --only: the package's image has all of its modules",
            remediation="Leave --package-image or --only out.",
        )
    if triton:
        if spec is not None or only or package_image:
            raise UsageError(
                "--triton builds one image, without a spec",
                remediation="Leave the spec, --package-image and --only out.",
            )
        from .build_triton import TritonBuildOptions, build_from_options

        options = TritonBuildOptions(
            runtime=runtime or engine_named(NAMES[0]),
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
        raise UsageError("--triton-image is for --triton", remediation="Add --triton, or leave it out.")
    _build_services(
        source_of(spec),
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
    from .progress import listener

    spec = read_spec(source)
    of_run(spec.run_id)
    wanted = _adjusted(spec, source, output, {key: value for key, value in container.items() if value})
    with cleaning_up(), listener(quiet=quiet or as_json, skipped=False) as told:
        made = run_pipeline(wanted, options, told, source=str(source))
    _tell(made, wanted.output_directory, as_json=as_json, quiet=quiet)
    raise typer.Exit(EXIT_CODES[made.status.value])


def _adjusted(spec: PackageSpec, source: Path, output: Path | None, container: dict[str, object]) -> PackageSpec:
    """`spec` with what the command line says otherwise, checked anew."""
    from ..problems import InputProblems
    from ..spec.container import ContainerRuntime
    from ..spec.invariants import invariant_problems
    from ..spec.paths import resolve_path

    if "runtime" in container:
        container["runtime"] = ContainerRuntime(container["runtime"])
    own = spec.output_directory
    place = own.with_name(f"{own.name}-images") if output is None else resolve_path(output, Path.cwd())
    config = spec.container_config.model_copy(update=container)
    changes = {"output_directory": place, "enable_nim_packaging": True, "container_config": config}
    changed = spec.model_copy(update=changes)
    problems = list(invariant_problems(changed, source.absolute().parent))
    if problems:
        raise InputProblems(problems, source="the command line")
    return changed


def _tell(made: PackagingAgentOutput, output: Path, *, as_json: bool, quiet: bool) -> None:
    from ..output.report_file import report_text
    from .summary import images, troubles

    if as_json:
        print(report_text(made))
        return
    for line in troubles(made, quiet=quiet):
        print(line, file=sys.stderr)
    if not quiet:
        for line in images(made, output):
            print(line)
