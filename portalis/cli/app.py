"""The Typer application: one command per module, errors as a short block on stderr.

Nothing imported here may be slow (no numpy, wasmtime, tritonclient): `portalis --help` imports every command.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from .. import __version__
from ..errors import PortalisError
from ..problems import InputProblems
from .annotate import annotate
from .build_images import build_images
from .demo import demo
from .doctor import doctor
from .infer import infer
from .init import init
from .inspect import inspect
from .install_backend import install_backend
from .keygen import keygen
from .package import package
from .printable import printable
from .publish import publish
from .run import run as run_service
from .schema import schema
from .serve import serve
from .verify import verify

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it

app = typer.Typer(
    name="portalis",
    help="WebAssembly modules as Triton Inference Server deployments: sandboxed, batched, over NumPy tensors.",
    epilog="Start with `portalis demo`, then `portalis init MODULE` and `portalis package` on a module of your own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> int:
    """Run the command line of this process; its exit code."""
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"portalis {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def reporting(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command`, with whatever it raises printed for a user instead of thrown at one."""

    @functools.wraps(command)
    def run_command(*args: Any, **options: Any) -> Any:
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
            raise typer.Exit(_report(problem, as_json=bool(options.get("as_json")))) from None

    return run_command


def _report(problem: Exception, *, as_json: bool) -> int:
    """Print `problem` for its reader; the exit code."""
    remediation, code = "", 1
    if isinstance(problem, PortalisError):
        message, remediation, code = problem.message, problem.remediation, problem.exit_code
    elif _is_wasm_error(problem):
        message = str(problem)
    elif isinstance(problem, OSError):
        where = f"{problem.filename}: " if problem.filename else ""
        message = where + (problem.strerror or str(problem))
    else:
        message = f"portalis failed where it should not: {type(problem).__name__}: {problem}"
        remediation = "Please report this; PORTALIS_DEBUG=1 shows where it happened."
    if as_json:
        error: dict[str, Any] = {"type": type(problem).__name__, "message": message, "remediation": remediation}
        if isinstance(problem, InputProblems):
            keys = ("where", "message", "remediation")
            error["problems"] = [{key: getattr(each, key) for key in keys} for each in problem.problems]
        print(json.dumps({"error": error}, indent=2))
    else:
        print(f"error: {printable(message, keep=NEWLINE)}", file=sys.stderr)
        for line in remediation.splitlines():
            print(f"  {printable(line)}", file=sys.stderr)
    return code


def _is_wasm_error(problem: Exception) -> bool:
    # the runtime is not imported for this: when nothing imported it, nothing raised its errors
    runtime = sys.modules.get("portalis.backend.errors")
    return runtime is not None and isinstance(problem, runtime.WasmError)


NEWLINE = "\n"  # a WebAssembly backtrace has several lines
PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": False}

app.command()(reporting(inspect))
app.command()(reporting(annotate))
app.command()(reporting(init))
app.command()(reporting(package))
app.command("build-images")(reporting(build_images))
app.command()(reporting(publish))
app.command("install-backend")(reporting(install_backend))
app.command(context_settings=PASS_THROUGH)(reporting(serve))
app.command("run")(reporting(run_service))
app.command()(reporting(infer))
app.command()(reporting(demo))
app.command()(reporting(keygen))
app.command()(reporting(verify))
app.command()(reporting(schema))
app.command()(reporting(doctor))
