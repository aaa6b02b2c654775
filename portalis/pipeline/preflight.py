"""Checks all inputs of a run before anything is written, and reports all problems together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import UsageError
from ..inspection import Inspection, WasmError, inspect_module
from ..output import refuse_foreign_directory
from ..problems import InputProblems, Problem, did_you_mean
from ..spec import PackageSpec, WasmBinaryPath
from ..target import Module, Target
from .options import Options
from .requested_targets import ENABLING_KEYS, SERVING_TARGETS, serving_remediation, unservable_reason
from .target_registry import TARGETS
from .upstream import Upstream, read_upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The inspected modules of a run, and the reports of the agents that built and tested them."""

    modules: tuple[Module, ...]
    upstream: Upstream


def preflight(spec: PackageSpec, options: Options, source: str) -> Inputs:
    """The inputs of a run with `spec`, which was read from `source`.

    Raises UsageError for invalid options, and InputProblems with all problems of targets, modules and upstream reports.
    """
    options.check()
    names = [binary.module_name for binary in spec.wasm_binaries]
    for name in options.modules:
        if name not in names:
            raise UsageError(f"the package has no module {name!r}", remediation=did_you_mean(name, names))
    if not options.force:
        refuse_foreign_directory(spec.output_directory)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        # wasmtime releases Python's lock, so that the targets are imported concurrently
        inspecting = [pool.submit(_inspect, binary) for binary in spec.wasm_binaries]
        enabled = [target for target in _targets(options) if target.skip_reason(spec) is None]
        problems = [problem for target in enabled for problem in target.spec_problems(spec)]
        upstream, upstream_problems = read_upstream(spec)
        inspections = [each.result() for each in inspecting]
    problems += [
        Problem(where=f"wasm_binaries[{i}].path", message=each)
        for i, each in enumerate(inspections)
        if isinstance(each, str)
    ]
    if enabled and (problems or upstream_problems):
        raise InputProblems([*problems, *upstream_problems], source=source)
    modules = tuple(
        Module(name=binary.module_name, path=binary.path, binary=binary, inspection=each)
        for binary, each in zip(spec.wasm_binaries, inspections)
        if not isinstance(each, str) and binary.module_name in (options.modules or names)
    )
    if not enabled:
        raise _no_target_error(spec, options, modules)
    return Inputs(modules=modules, upstream=upstream)


def _targets(options: Options) -> list[Target]:
    return [each.load() for name, each in TARGETS.items() if options.skip_reason(name) is None]


def _no_target_error(spec: PackageSpec, options: Options, modules: Sequence[Module]) -> UsageError:
    """The error of a run without a target: why each target of `--only` is disabled, and all unservable modules."""
    lines, remediation = ["no target is left to run"], "Omit --only or --skip, or enable a target."
    lines += [
        f"  --only {name}: {reason}"
        for name, each in TARGETS.items()
        if name in options.only and (reason := each.load().skip_reason(spec)) is not None
    ]
    unservable = [(module, reason) for module in modules if (reason := unservable_reason(module)) is not None]
    if unservable and any(name in SERVING_TARGETS for name in options.only):
        lines += [f"  {module.name} cannot be served: {reason}" for module, reason in unservable]
        keys = " or ".join(ENABLING_KEYS[name] for name in options.only if name in SERVING_TARGETS)
        remediation = f"{serving_remediation(unservable[0][0])}; then set {keys} to true."
    return UsageError("\n".join(lines), remediation=remediation)


def _inspect(binary: WasmBinaryPath) -> Inspection | str:
    """The inspection of a module, or why it is not a valid module."""
    try:
        declared = binary.interface.model_dump(mode="json", exclude_none=True) or None
        inspection = inspect_module(binary.path, declared, "spec")
    except (WasmError, OSError) as error:
        return str(error)
    if inspection.invalid is not None:
        return f"{binary.path} is not a valid module: {inspection.invalid}"
    return inspection
