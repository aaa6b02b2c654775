"""Every text of the product names only existing commands, options, extras, keys of the spec and of models, and variables.

A remedy that cannot be followed is worse than none. All string literals of the source are read, docstrings included.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest
import typer

from portalis.backend.triton.model_parameters import KEYS
from portalis.cli.app import app
from portalis.contracts.input import PackagingAgentInput
from portalis.spec import PackageSpec
from tests.parts import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDERS = ("backend", "deploy", "dist", "model_repository_gen", "nim", "omniverse", "portalis", "proto")
# options of other programs
OTHER_OPTIONS = {
    "--allow-http", "--annotation", "--build-arg", "--exec", "--interval", "--model-control-mode", "--no-healthcheck",
    "--rate-limit", "--retries", "--start-period", "--use",
}  # fmt: skip
# programs; a text that names one of them can name any option
OTHERS = {
    "docker", "podman", "pip", "helm", "kubectl", "tritonserver", "cosign", "git", "apt-get", "npm", "sha256sum", "openssl",
    "perf_analyzer", "curl", "wasm-opt", "wasm-tools", "emcc", "clang", "zig", "asc", "cargo", "rustc", "protoc", "python",
}  # fmt: skip


def sources() -> Iterator[Path]:
    """The Python files of the product, without those under the symlinks in portalis/."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(parent.is_symlink() for parent in path.parents if ROOT in parent.parents):
                yield path


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each string literal; values in f-strings are replaced by …."""
    tree = ast.parse(path.read_text())
    within: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            within |= {id(each) for each in node.values}
            parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in within:
            yield node.lineno, node.value


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Location and text of each string literal of the product."""
    return tuple((f"{path.relative_to(ROOT)}:{line}", text) for path in sources() for line, text in literals(path))


@cache
def commands() -> dict[str, frozenset[str]]:
    """The options of each command, by its name."""
    group: Any = typer.main.get_command(app)  # Typer's classes have no types for these attributes
    everywhere = {"--help", *(option for parameter in group.params for option in parameter.opts)}
    return {
        name: frozenset(
            everywhere
            | {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        )
        for name, command in group.commands.items()
    }


def matches(pattern: str) -> list[tuple[str, re.Match[str]]]:
    """Location and match of each occurrence of `pattern` in a text."""
    return [(where, match) for where, text in texts() for match in re.finditer(pattern, text)]


def test_commands_and_their_options_in_texts_exist() -> None:
    names = matches(r"[`']portalis ([a-z][a-z-]*)([^`'\n]*)[`']")
    assert len(names) > 20
    wrong = []
    for where, match in names:
        options = commands().get(match[1])
        if options is None:
            wrong.append(f"{where}: no command {match[1]}")
            continue
        arguments = match[2].split(" -- ")[0]  # arguments after -- belong to a different program
        wrong += [
            f"{where}: {match[1]} has no {each}"
            for each in re.findall(r"--[a-z][a-z-]*", arguments)
            if each not in options
        ]
    assert not wrong


def test_options_in_texts_exist() -> None:
    known = OTHER_OPTIONS.union(*commands().values())
    wrong = []
    for where, text in texts():
        if " " not in text or any(re.search(rf"\b{re.escape(other)}\b", text) for other in OTHERS):
            continue
        wrong += [
            f"{where}: {each}" for each in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text) if each not in known
        ]
    assert not wrong


def test_extras_in_texts_exist() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    names = matches(r"portalis\[([\w,-]+)\]")
    assert len(names) > 3
    assert not [(where, match[0]) for where, match in names if not set(match[1].split(",")) <= extras]


def test_keys_of_models_in_texts_exist() -> None:
    names = matches(r"(?<![\w./-])wasm\.[a-z_]+(?![\w(/-])")
    assert len(names) > 10
    known = {*KEYS, "wasm.module"}  # wasm.module is a label of images
    assert not [(where, match[0]) for where, match in names if match[0].rstrip("_") not in known]


def fields(model: Any) -> Iterator[tuple[str, Any]]:
    """Names and annotations of a model's fields."""
    for name, field in model.model_fields.items():
        yield name, field.annotation


def structures(annotation: Any) -> Iterator[Any]:
    """The pydantic models in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from structures(part)


def exists(keys: list[str], model: Any) -> bool:
    """Whether a path of keys exists in the spec."""
    known = dict(fields(model))
    if keys[0] not in known:
        return False
    nested = list(structures(known[keys[0]]))
    return len(keys) == 1 or not nested or any(exists(keys[1:], each) for each in nested)


def test_keys_of_the_spec_in_texts_exist() -> None:
    tables = [name for name, annotation in fields(PackageSpec) if any(structures(annotation))]
    names = matches(rf"(?<![\w./…-])({'|'.join(tables)})((?:\[[^\]]*\])?(?:\.[a-z_]+(?:\[[^\]]*\])?)+)(?![\w/(-])")
    assert len(names) > 30
    wrong = []
    for where, match in names:
        keys = re.findall(r"[a-z_]+", re.sub(r"\[[^\]]*\]", "", match[0]))
        if not exists(keys, PackageSpec) and not exists(keys, PackagingAgentInput):
            wrong.append(f"{where}: {match[0]}")
    assert not wrong


def test_variables_in_texts_are_read_by_the_product() -> None:
    source = "\n".join(path.read_text() for path in sources())
    names = {match[0] for _, match in matches(r"\bPORTALIS_[A-Z_]+[A-Z]\b")}
    assert names
    assert not [name for name in names if f'"{name}"' not in source and f"'{name}'" not in source]


@pytest.mark.parametrize(("text", "wrong"), [("container_config.runtime", False), ("container_config.nothing", True)])
def test_a_missing_key_is_detected(text: str, wrong: bool) -> None:
    assert exists(text.split("."), PackageSpec) is not wrong
