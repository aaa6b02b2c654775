"""Error reports of commands: a short block on stderr, or, with `--json`, one JSON document on stdout.

For every command, the document is the error contract of packaging (requirements 4.3) under the key ``error``.
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
# the stage of a command in the contract; all others are input validation
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
    "ModuleError": "Rebuild the module as the message describes; `portalis inspect` shows its exports and imports.",
    "InterfaceError": "Declare the interface with `portalis annotate`, or in the spec; `portalis inspect` shows it.",
    "SettingsError": "Change the setting that the message names.",
    "InputError": "Pass the inputs that `portalis inspect` lists, as the message describes.",
    "Cancelled": "Send the request again, with more time.",
    "HostBusy": "Try again when this machine is less busy.",
    "InternalError": "Please report this; PORTALIS_DEBUG=1 shows where it happened.",
    "GuestTimeout": "Raise the time limit as the message describes, or use smaller inputs.",
    "MemoryLimit": "Raise the memory limit as the message describes, or use smaller inputs.",
    "AbiViolation": "Fix the module: it violates the call convention that its interface declares (`portalis inspect`).",
    "GuestError": "Fix the module, or use other inputs: it failed during the call.",
    "WasmError": "Check the module with `portalis inspect`.",
    "UsageError": "See `portalis {command} --help`.",
    "MissingPart": "`portalis doctor` lists missing components and how to install them.",
    "TritonFailed": "Fix the errors in the server's log.",
    "PortalisError": "Change what the message names; see `portalis {command} --help`.",
    "OSError": "Check that the file in the message exists and that this user can read and write it.",
}
"""Remediation of an error without its own, by its class or the nearest base class."""
_run_id: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    """The message and remediation of an error, and its classification in the error contract."""

    message: str
    remediation: str = ""
    fallback: str = ""
    """Remediation for all errors of this type; used if `remediation` is empty."""
    exit_code: int = 1
    type: str
    kind: str
    stage: str
    source: str = ""
    problems: tuple[dict[str, str], ...] = ()
    pipeline_id: str = ""


def set_run_id(pipeline_id: str) -> None:
    """Set the pipeline id of all later errors."""
    _run_id[:] = [pipeline_id]


def report_error(error: Exception, command: str, *, as_json: bool) -> int:
    """Print the error of `command` and return the exit code."""
    failure = _error_report(error, command)
    if as_json:
        print(_document(failure))
    else:
        print(f"error: {printable(failure.message, keep=NEWLINE)}", file=sys.stderr)
        for line in failure.remediation.splitlines():
            print(f"  {printable(line)}", file=sys.stderr)
    return failure.exit_code


def report_usage(message: str, command: str, exit_code: int) -> None:
    """Print the JSON document of a usage error."""
    print(
        _document(
            ErrorReport(
                message=message,
                remediation=f"See `portalis {command} --help`." if command else "See `portalis --help`.",
                exit_code=exit_code,
                type="UsageError",
                kind="ValidationError",
                stage="InputValidation",
                pipeline_id=_default_id(command),
            )
        )
    )


def _error_report(problem: Exception, command: str) -> ErrorReport:
    stage = _STAGES.get(command, "InputValidation")
    kind = _KINDS[stage]
    fields: dict[str, Any] = {"type": type(problem).__name__, "fallback": _fallback(problem, command)}
    if isinstance(problem, PortalisError):
        fields |= {"message": problem.message, "remediation": problem.remediation, "exit_code": problem.exit_code}
        if problem.exit_code == 2:
            stage, kind = "InputValidation", "ValidationError"
    elif _is_wasm_error(problem):
        fields["message"] = str(problem)
        stage, kind = "InputValidation", "ValidationError"
    elif isinstance(problem, OSError):
        where = f"{problem.filename}: " if problem.filename else ""
        fields["message"], kind = where + (problem.strerror or str(problem)), "IOError"
    else:
        fields["message"] = f"internal error: {type(problem).__name__}: {problem}"
        fields["remediation"] = "Please report this; PORTALIS_DEBUG=1 shows where it happened."
    if isinstance(problem, InputProblems):
        fields["problems"] = tuple(
            {
                "where": each.where,
                "message": each.message,
                "remediation": each.remediation or f"Change {each.where or problem.source}.",
            }
            for each in problem.problems
        )
        fields["source"] = problem.source
    known = problem.pipeline_id if isinstance(problem, PortalisError) else None
    pipeline_id = known or next(iter(_run_id), _default_id(command))
    return ErrorReport(**fields, stage=stage, kind=kind, pipeline_id=pipeline_id)


def _fallback(problem: Exception, command: str) -> str:
    found = next((_ERRORS[each.__name__] for each in type(problem).__mro__ if each.__name__ in _ERRORS), "")
    return found.replace("portalis {command}", f"portalis {command}".strip())


def _default_id(command: str) -> str:
    return f"portalis-{command}" if command else "portalis"


def _document(failure: ErrorReport) -> str:
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
    # without importing the runtime: if it is not imported, the error is not one of its errors
    runtime = sys.modules.get("portalis.backend.errors")
    return runtime is not None and isinstance(problem, runtime.WasmError)
