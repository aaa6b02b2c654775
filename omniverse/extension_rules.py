"""Rules for the part of a spec from which an extension is generated."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..problems import Problem
from ..spec.package_spec import PackageSpec
from .extension_names import (
    dependency_problem,
    extension_id,
    extension_id_problem,
    module_name_problem,
    requirement_problem,
    scenario_problem,
)
from .kit_target import kit_problem, kit_python
from .png import png_problem

_LOC = "omniverse_config"
_SCENES = (".usd", ".usda", ".usdc", ".usdz")


def extension_problems(spec: PackageSpec) -> Iterator[Problem]:
    """All problems of the spec."""
    config = spec.omniverse_config
    yield from _identifier(spec)
    if (reason := kit_problem(config.required_kit_version)) is not None:
        yield _problem(
            f"{_LOC}.required_kit_version", config.required_kit_version, reason, "Set one of these versions."
        )
    yield from _compatible(spec)
    for key in ("extension_icon", "extension_preview"):
        yield from _image(f"{_LOC}.{key}", getattr(config, key))
    yield from _modules(spec)
    yield from _dependencies(spec)
    yield from _scenarios(spec)


def _compatible(spec: PackageSpec) -> Iterator[Problem]:
    config = spec.omniverse_config
    required = config.required_kit_version
    for i, version in enumerate(config.compatible_kit_versions):
        where = f"{_LOC}.compatible_kit_versions[{i}]"
        if (reason := kit_problem(version)) is not None:
            yield _problem(where, version, reason, "Remove it.")
        elif config.prebundle and kit_problem(required) is None:
            python, other = kit_python(required), kit_python(version)
            if python != other:
                reason = f"has Python {other}, but the bundled wheels are for Python {python} of Kit {required}"
                yield _problem(where, version, reason, "Package for it separately, or set prebundle to false.")


def _identifier(spec: PackageSpec) -> Iterator[Problem]:
    identifier = extension_id(spec)
    reason = extension_id_problem(identifier)
    if reason is not None:
        default = spec.omniverse_config.extension_name is None
        origin = f", derived from package_name {spec.package_name!r}," if default else ""
        yield Problem(
            where=f"{_LOC}.extension_name",
            message=f"{identifier!r}{origin} {reason}",
            remediation="Set a dotted id in lower case, for example acme.preprocessing.",
        )


def _image(where: str, path: Path | None) -> Iterator[Problem]:
    if path is None:
        return
    try:
        reason = png_problem(path)
    except OSError as error:
        yield _problem(
            where,
            str(path),
            f"cannot be read: {error.strerror}",
            "Name a PNG, or remove the key to use the default image.",
        )
        return
    if reason is not None:
        yield _problem(where, str(path), reason, "Name another PNG, or remove the key to use the default image.")


def _modules(spec: PackageSpec) -> Iterator[Problem]:
    listed = spec.omniverse_config.wasm_modules
    if listed:
        where, names = f"{_LOC}.wasm_modules[{{}}].module_name", [each.module_name for each in listed]
    else:
        where, names = "wasm_binaries[{}].name", [each.module_name for each in spec.wasm_binaries]
    yield from _names(where, names, module_name_problem)


def _dependencies(spec: PackageSpec) -> Iterator[Problem]:
    dependencies = spec.omniverse_config.dependencies
    yield from _names(
        f"{_LOC}.dependencies[{{}}].extension_name", [each.extension_name for each in dependencies], dependency_problem
    )
    for i, each in enumerate(dependencies):
        loc = f"{_LOC}.dependencies[{i}]"
        if each.extension_name == extension_id(spec):
            yield _problem(f"{loc}.extension_name", each.extension_name, "is this extension itself", "Remove it.")
        if (reason := requirement_problem(each.version_requirement)) is not None:
            yield _problem(f"{loc}.version_requirement", each.version_requirement, reason, "Use one of these forms.")


def _scenarios(spec: PackageSpec) -> Iterator[Problem]:
    scenarios = spec.omniverse_config.example_scenarios
    yield from _names(f"{_LOC}.example_scenarios[{{}}].name", [each.name for each in scenarios], scenario_problem)
    for i, each in enumerate(scenarios):
        where, scene = f"{_LOC}.example_scenarios[{i}].scenario_file", each.scenario_file
        if scene is None:
            continue
        if scene.suffix.lower() not in _SCENES:
            yield _problem(
                where, str(scene), f"is not a USD scene ({', '.join(_SCENES)})", "Name a USD scene, or remove it."
            )
        elif not scene.is_file() or not os.access(scene, os.R_OK):
            yield _problem(where, str(scene), "cannot be read", "Name a readable scene, or remove it.")


def _names(where: str, names: Iterable[str], check: Callable[[str], str | None]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for i, name in enumerate(names):
        if (reason := check(name)) is not None:
            yield _problem(where.format(i), name, reason, "Choose another name.")
        earlier = seen.setdefault(name.lower(), name)
        if earlier is not name:
            yield _problem(where.format(i), name, f"is the same file as {earlier!r} on Windows", "Choose another name.")


def _problem(where: str, value: str, reason: str, remediation: str) -> Problem:
    return Problem(where=where, message=f"{value!r} {reason}", remediation=remediation)
