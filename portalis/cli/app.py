"""The Typer application: one command per module; errors are a short block on stderr.

No slow imports here (numpy, wasmtime, tritonclient): `portalis --help` imports every command.
"""

from __future__ import annotations

import functools
import inspect as inspect_module
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from .. import __version__
from .annotate import annotate
from .build_images import build_images
from .demo import demo
from .doctor import doctor
from .failures import INTERRUPTED, report_error, report_usage
from .infer import infer
from .init import init
from .inspect import inspect
from .install_backend import install_backend
from .keygen import keygen
from .package import package
from .publish import publish
from .run import run_service
from .schema import schema
from .serve import serve
from .verify import verify

# from Click, or from the copy in newer versions of Typer
_CLICK_EXCEPTION: Any = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException")

app = typer.Typer(
    name="portalis",
    help="WebAssembly modules as Triton Inference Server deployments: sandboxed, batched, over NumPy tensors.",
    epilog="Start with `portalis demo`, then run `portalis init MODULE` and `portalis package` on your own module.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> int:
    """Run the command line of this process and return its exit code."""
    arguments = sys.argv[1:]
    try:
        if "--json" in arguments[: arguments.index("--") if "--" in arguments else None]:
            return _run_with_json_errors()
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _run_with_json_errors() -> int:
    """Run the command line, print usage errors as JSON as well, and return the exit code."""
    try:
        return int(app(standalone_mode=False) or 0)
    except _CLICK_EXCEPTION as problem:
        context = getattr(problem, "ctx", None)
        name = context.info_name or "" if context is not None and context.parent is not None else ""
        report_usage(problem.format_message(), name, problem.exit_code)
        return int(problem.exit_code)
    except typer.Abort:
        return 1


def _show_version(requested: bool) -> None:
    if requested:
        print(f"portalis {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def report_errors(command: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Wrap `command` so that its exceptions are printed as errors. Every command gets `--json`; for a command without
    JSON output it applies to errors only."""
    signature = inspect_module.signature(command, eval_str=True)
    json_for_errors_only = "as_json" not in signature.parameters

    @functools.wraps(command)
    def run_command(*args: Any, **options: Any) -> Any:
        as_json = bool(options.pop("as_json") if json_for_errors_only else options.get("as_json"))
        try:
            return command(*args, **options)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:  # `portalis … | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except Exception as problem:
            if os.environ.get("PORTALIS_DEBUG"):
                raise
            raise typer.Exit(report_error(problem, name, as_json=as_json)) from None

    if json_for_errors_only:
        option = Annotated[bool, typer.Option("--json", help="Print an error as JSON.")]
        parameter = inspect_module.Parameter(
            "as_json", inspect_module.Parameter.KEYWORD_ONLY, default=False, annotation=option
        )
        changed = signature.replace(parameters=[*signature.parameters.values(), parameter])
        run_command.__signature__ = changed  # type: ignore[attr-defined]
        run_command.__annotations__ = {**command.__annotations__, "as_json": option}
    return run_command


def _add(name: str, command: Callable[..., Any], **settings: Any) -> None:
    app.command(name, **settings)(report_errors(command, name))


PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": False}

_add("inspect", inspect)
_add("annotate", annotate)
_add("init", init)
_add("package", package)
_add("build-images", build_images)
_add("publish", publish)
_add("install-backend", install_backend)
_add("serve", serve, context_settings=PASS_THROUGH)
_add("run", run_service)
_add("infer", infer)
_add("demo", demo)
_add("keygen", keygen)
_add("verify", verify)
_add("schema", schema)
_add("doctor", doctor)
