"""Takes in all that a run works on, and tells all that is wrong with it at once, before anything is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import UsageError
from ..inspection import Inspection, WasmError, inspect_module
from ..output import refuse_what_is_not_ours
from ..problems import InputProblems, Problem, did_you_mean
from ..spec import PackageSpec, WasmBinaryPath
from ..target import Module, Target
from . import requested_targets as requests
from .options import Options
from .target_registry import TARGETS
from .upstream import Upstream, read_upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The inspected modules, and what is known of their making."""

    modules: tuple[Module, ...]
    upstream: Upstream


def take_in(spec: PackageSpec, options: Options, source: str) -> Taken:
    """What a run works on. Raises UsageError for what the command line asks for, and InputProblems, under the name
    `source`, with everything that the targets, the modules and the reports of earlier stages are refused for."""
    options.check()
    known = [binary.module_name for binary in spec.wasm_binaries]
    for name in options.modules:
        if name not in known:
            raise UsageError(f"the package has no module {name!r}", remediation=did_you_mean(name, known))
    if not options.force:
        refuse_what_is_not_ours(spec.output_directory)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        # wasmtime works outside Python's lock; the targets are imported meanwhile
        inspecting = [pool.submit(_inspect, binary) for binary in spec.wasm_binaries]
        wanted = [target for target in _targets(options) if target.skip_reason(spec) is None]
        problems = [problem for target in wanted for problem in target.spec_problems(spec)]
        upstream, wrong = read_upstream(spec)
        found = [each.result() for each in inspecting]
    problems += [
        Problem(where=f"wasm_binaries[{i}].path", message=each) for i, each in enumerate(found) if isinstance(each, str)
    ]
    if wanted and (problems or wrong):
        raise InputProblems([*problems, *wrong], source=source)
    modules = tuple(
        Module(name=binary.module_name, path=binary.path, binary=binary, inspection=each)
        for binary, each in zip(spec.wasm_binaries, found)
        if not isinstance(each, str) and binary.module_name in (options.modules or known)
    )
    if not wanted:
        raise _nothing_to_run(spec, options, modules)
    return Taken(modules=modules, upstream=upstream)


def _targets(options: Options) -> list[Target]:
    return [each.load() for name, each in TARGETS.items() if options.leaves_out(name) is None]


def _nothing_to_run(spec: PackageSpec, options: Options, modules: Sequence[Module]) -> UsageError:
    """Why each target does not run that the command line names, and why no module can be served where that is so."""
    lines, remediation = ["no target is left to run"], "Leave out --only or --skip, or enable a target."
    lines += [
        f"  --only {name}: {reason}"
        for name, each in TARGETS.items()
        if name in options.only and (reason := each.load().skip_reason(spec)) is not None
    ]
    why = [(module, reason) for module in modules if (reason := requests.why_unservable(module)) is not None]
    if why and any(name in requests.SERVING for name in options.only):
        lines += [f"  {module.name} cannot be served: {reason}" for module, reason in why]
        keys = " or ".join(requests.KEYS[name] for name in options.only if name in requests.SERVING)
        remediation = f"{requests.remedy(why[0][0])}; then set {keys} to true."
    return UsageError("\n".join(lines), remediation=remediation)


def _inspect(binary: WasmBinaryPath) -> Inspection | str:
    """What the module is, or why it is none."""
    try:
        declared = binary.interface.model_dump(mode="json", exclude_none=True) or None
        inspection = inspect_module(binary.path, declared, "spec")
    except (WasmError, OSError) as error:
        return str(error)
    if inspection.invalid is not None:
        return f"{binary.path} is not a valid module: {inspection.invalid}"
    return inspection
