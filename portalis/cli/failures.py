"""An error as the user of a command sees it: a short block on stderr, or, with `--json`, one JSON document on stdout.

The document is the error contract of packaging (requirements 4.3) under the key ``error``, whatever the command.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from ..errors import PortalisError
from ..escaping import printable
from ..problems import InputProblems

if TYPE_CHECKING:
    from ..contracts.errors import ErrorType, PackagingStage

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
NEWLINE = "\n"  # a WebAssembly backtrace has several lines
# what a command works on; the others only look at what they are given
_STAGES: Final = {
    "build-images": "NimGeneration",
    "run": "NimGeneration",
    "serve": "TritonConfiguration",
    "demo": "TritonConfiguration",
    "install-backend": "TritonConfiguration",
    "publish": "Publishing",
}
_KINDS: Final = {
    "NimGeneration": "ContainerBuildError",
    "TritonConfiguration": "TritonConfigError",
    "Publishing": "PublishingError",
    "InputValidation": "ValidationError",
}
_ERRORS: Final = {
    "ModuleError": "Build the module as the message says; `portalis inspect` shows what it has and needs.",
    "InterfaceError": "Declare the interface with `portalis annotate`, or in the spec; `portalis inspect` shows it.",
    "SettingsError": "Change the setting that the message names.",
    "InputError": "Give the inputs that `portalis inspect` shows, or as the message says.",
    "Cancelled": "Send the request again, with more time.",
    "HostBusy": "Try again when this machine does less.",
    "InternalError": "Please report this; PORTALIS_DEBUG=1 shows where it happened.",
    "GuestTimeout": "Give the module more time as the message says, or smaller inputs.",
    "MemoryLimit": "Give the module more memory as the message says, or smaller inputs.",
    "AbiViolation": "Fix the module: it breaks the convention that its interface declares (`portalis inspect`).",
    "GuestError": "Fix the module, or give it other inputs: it failed while it ran.",
    "WasmError": "See what `portalis inspect` shows of the module.",
    "UsageError": "See `portalis {command} --help`.",
    "MissingPart": "`portalis doctor` says what is missing on this machine, and how to get it.",
    "TritonFailed": "Fix what the lines of the server's log name.",
    "PortalisError": "Change what the message names; see `portalis {command} --help`.",
    "OSError": "See that what the message names exists, and that this user can read and write it.",
}
"""What to do about an error that has no remedy of its own, by its class or the nearest base."""
_of_run: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What failed, in words, and what that is in the contract's terms."""

    message: str
    remediation: str = ""
    fallback: str = ""
    """A remedy for all errors of the type, for a reader who has no message to look at."""
    exit_code: int = 1
    type: str
    kind: str
    stage: str
    source: str = ""
    problems: tuple[dict[str, str], ...] = ()
    pipeline_id: str = ""


def of_run(pipeline_id: str) -> None:
    """What fails from now on belongs to the run with this id."""
    _of_run[:] = [pipeline_id]


def report(problem: Exception, command: str, *, as_json: bool) -> int:
    """Tell the user of `problem`, which `command` raised; the exit code."""
    failure = _failure(problem, command)
    if as_json:
        print(_document(failure))
    else:
        print(f"error: {printable(failure.message, keep=NEWLINE)}", file=sys.stderr)
        for line in failure.remediation.splitlines():
            print(f"  {printable(line)}", file=sys.stderr)
    return failure.exit_code


def report_usage(message: str, command: str, exit_code: int) -> None:
    """Print the JSON document for a command line that no command accepts."""
    print(
        _document(
            Failure(
                message=message,
                remediation=f"See `portalis {command} --help`." if command else "See `portalis --help`.",
                exit_code=exit_code,
                type="UsageError",
                kind="ValidationError",
                stage="InputValidation",
                pipeline_id=_named(command),
            )
        )
    )


def _failure(problem: Exception, command: str) -> Failure:
    stage = _STAGES.get(command, "InputValidation")
    kind = _KINDS[stage]
    told: dict[str, Any] = {"type": type(problem).__name__, "fallback": _fallback(problem, command)}
    if isinstance(problem, PortalisError):
        told |= {"message": problem.message, "remediation": problem.remediation, "exit_code": problem.exit_code}
        if problem.exit_code == 2:
            stage, kind = "InputValidation", "ValidationError"
    elif _is_wasm_error(problem):
        told["message"] = str(problem)
        stage, kind = "InputValidation", "ValidationError"
    elif isinstance(problem, OSError):
        where = f"{problem.filename}: " if problem.filename else ""
        told["message"], kind = where + (problem.strerror or str(problem)), "IOError"
    else:
        told["message"] = f"internal error: {type(problem).__name__}: {problem}"
        told["remediation"] = "Please report this; PORTALIS_DEBUG=1 shows where it happened."
    if isinstance(problem, InputProblems):
        told["problems"] = tuple(
            {
                "where": each.where,
                "message": each.message,
                "remediation": each.remediation or f"Change {each.where or problem.source}.",
            }
            for each in problem.problems
        )
        told["source"] = problem.source
    known = problem.pipeline_id if isinstance(problem, PortalisError) else None
    pipeline_id = known or next(iter(_of_run), _named(command))
    return Failure(**told, stage=stage, kind=kind, pipeline_id=pipeline_id)


def _fallback(problem: Exception, command: str) -> str:
    found = next((_ERRORS[each.__name__] for each in type(problem).__mro__ if each.__name__ in _ERRORS), "")
    return found.replace("portalis {command}", f"portalis {command}".strip())


def _named(command: str) -> str:
    return f"portalis-{command}" if command else "portalis"


def _document(failure: Failure) -> str:
    from ..contracts.errors import ErrorContext, InputError, InputProblem, PackagingError, RemediationSuggestion

    kind: ErrorType | Any = failure.kind
    stage: PackagingStage | Any = failure.stage
    moment = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    error = PackagingError(
        error_type=kind,
        message=failure.message,
        context=ErrorContext(
            pipeline_id=failure.pipeline_id,
            stage=stage,
            timestamp=datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        ),
        remediation=RemediationSuggestion(summary=failure.remediation or failure.fallback),
        details=InputError(source=failure.source, validation_errors=tuple(_line(each) for each in failure.problems))
        if failure.problems
        else None,
        type=failure.type,
        problems=tuple(InputProblem(**each) for each in failure.problems),
    )
    return json.dumps({"error": error.model_dump(mode="json")}, indent=2)


def _line(problem: dict[str, str]) -> str:
    return f"{problem['where']}: {problem['message']}" if problem["where"] else problem["message"]


def _is_wasm_error(problem: Exception) -> bool:
    # the runtime is not imported for this: when nothing imported it, nothing raised its errors
    runtime = sys.modules.get("portalis.backend.errors")
    return runtime is not None and isinstance(problem, runtime.WasmError)
