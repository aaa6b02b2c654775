"""What in a spec no extension can be made of. Every rule tells what is wrong, why, and what to write instead."""

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

AT = "omniverse_config"
SCENES = (".usd", ".usda", ".usdc", ".usdz")


def extension_problems(spec: PackageSpec) -> Iterator[Problem]:
    """All of them."""
    config = spec.omniverse_config
    yield from _identifier(spec)
    if (why := kit_problem(config.required_kit_version)) is not None:
        yield _told(f"{AT}.required_kit_version", config.required_kit_version, why, "Name one of those.")
    yield from _compatible(spec)
    for key in ("extension_icon", "extension_preview"):
        yield from _picture(f"{AT}.{key}", getattr(config, key))
    yield from _modules(spec)
    yield from _dependencies(spec)
    yield from _scenarios(spec)


def _compatible(spec: PackageSpec) -> Iterator[Problem]:
    config = spec.omniverse_config
    required = config.required_kit_version
    for i, version in enumerate(config.compatible_kit_versions):
        where = f"{AT}.compatible_kit_versions[{i}]"
        if (why := kit_problem(version)) is not None:
            yield _told(where, version, why, "Take it out.")
        elif config.prebundle and kit_problem(required) is None:
            python, other = kit_python(required), kit_python(version)
            if python != other:
                why = f"has Python {other}, and the wheels inside are for Python {python} of Kit {required}"
                yield _told(where, version, why, "Package for it on its own, or set prebundle to false.")


def _identifier(spec: PackageSpec) -> Iterator[Problem]:
    identifier = extension_id(spec)
    why = extension_id_problem(identifier)
    if why is not None:
        made = spec.omniverse_config.extension_name is None
        of = f", made from package_name {spec.package_name!r}," if made else ""
        yield Problem(
            where=f"{AT}.extension_name",
            message=f"{identifier!r}{of} {why}",
            remediation="Set a dotted id in lower case, such as acme.preprocessing.",
        )


def _picture(where: str, path: Path | None) -> Iterator[Problem]:
    if path is None:
        return
    try:
        why = png_problem(path)
    except OSError as error:
        yield _told(where, str(path), f"cannot be read: {error.strerror}", "Name a PNG, or leave it out for ours.")
        return
    if why is not None:
        yield _told(where, str(path), why, "Name another PNG, or leave it out for ours.")


def _modules(spec: PackageSpec) -> Iterator[Problem]:
    chosen = spec.omniverse_config.wasm_modules
    if chosen:
        where, found = f"{AT}.wasm_modules[{{}}].module_name", [each.module_name for each in chosen]
    else:
        where, found = "wasm_binaries[{}].name", [each.module_name for each in spec.wasm_binaries]
    yield from _named(where, found, module_name_problem)


def _dependencies(spec: PackageSpec) -> Iterator[Problem]:
    known = spec.omniverse_config.dependencies
    yield from _named(
        f"{AT}.dependencies[{{}}].extension_name", [each.extension_name for each in known], dependency_problem
    )
    for i, each in enumerate(known):
        at = f"{AT}.dependencies[{i}]"
        if each.extension_name == extension_id(spec):
            yield _told(f"{at}.extension_name", each.extension_name, "is this extension itself", "Take it out.")
        if (why := requirement_problem(each.version_requirement)) is not None:
            yield _told(f"{at}.version_requirement", each.version_requirement, why, "Write one of these.")


def _scenarios(spec: PackageSpec) -> Iterator[Problem]:
    known = spec.omniverse_config.example_scenarios
    yield from _named(f"{AT}.example_scenarios[{{}}].name", [each.name for each in known], scenario_problem)
    for i, each in enumerate(known):
        where, scene = f"{AT}.example_scenarios[{i}].scenario_file", each.scenario_file
        if scene is None:
            continue
        if scene.suffix.lower() not in SCENES:
            yield _told(where, str(scene), f"is no USD scene ({', '.join(SCENES)})", "Name one, or leave it out.")
        elif not scene.is_file() or not os.access(scene, os.R_OK):
            yield _told(where, str(scene), "cannot be read", "Name a scene, or leave it out.")


def _named(where: str, found: Iterable[str], trouble: Callable[[str], str | None]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for i, name in enumerate(found):
        if (why := trouble(name)) is not None:
            yield _told(where.format(i), name, why, "Choose another name.")
        before = seen.setdefault(name.lower(), name)
        if before is not name:
            yield _told(where.format(i), name, f"is the same file as {before!r} on Windows", "Choose another name.")


def _told(where: str, value: str, why: str, remediation: str) -> Problem:
    return Problem(where=where, message=f"{value!r} {why}", remediation=remediation)
