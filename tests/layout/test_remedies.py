"""Every text of the product names only what exists: commands, options, extras, keys of the spec and of models, variables.

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
# options that are other programs' own
OTHER_OPTIONS = {
    "--allow-http", "--annotation", "--build-arg", "--exec", "--interval", "--model-control-mode", "--no-healthcheck",
    "--rate-limit", "--retries", "--start-period", "--use",
}  # fmt: skip
# a text that names one of these programs may name any of its options
OTHERS = {
    "docker", "podman", "pip", "helm", "kubectl", "tritonserver", "cosign", "git", "apt-get", "npm", "sha256sum", "openssl",
    "perf_analyzer", "curl", "wasm-opt", "wasm-tools", "emcc", "clang", "zig", "asc", "cargo", "rustc", "protoc", "python",
}  # fmt: skip


def sources() -> Iterator[Path]:
    """The Python files of the product; the links in portalis/ lead to folders that are read themselves."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(parent.is_symlink() for parent in path.parents if ROOT in parent.parents):
                yield path


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """The line and text of each string; what an f-string puts in is …."""
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
    """Where each text stands, and the text."""
    return tuple((f"{path.relative_to(ROOT)}:{line}", text) for path in sources() for line, text in literals(path))


@cache
def commands() -> dict[str, frozenset[str]]:
    """The options of each command."""
    group: Any = typer.main.get_command(app)  # of a class of Typer's own
    everywhere = {"--help", *(option for parameter in group.params for option in parameter.opts)}
    return {
        name: frozenset(
            everywhere
            | {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        )
        for name, command in group.commands.items()
    }


def found(pattern: str) -> list[tuple[str, re.Match[str]]]:
    """Each place where `pattern` is found in a text."""
    return [(where, match) for where, text in texts() for match in re.finditer(pattern, text)]


def test_the_commands_that_texts_name_exist_with_their_options() -> None:
    named = found(r"[`']portalis ([a-z][a-z-]*)([^`'\n]*)[`']")
    assert len(named) > 20
    wrong = []
    for where, match in named:
        options = commands().get(match[1])
        if options is None:
            wrong.append(f"{where}: no command {match[1]}")
            continue
        ours = match[2].split(" -- ")[0]  # what follows is for another program
        wrong += [
            f"{where}: {match[1]} has no {each}" for each in re.findall(r"--[a-z][a-z-]*", ours) if each not in options
        ]
    assert not wrong


def test_the_options_that_texts_name_exist() -> None:
    known = OTHER_OPTIONS.union(*commands().values())
    wrong = []
    for where, text in texts():
        if " " not in text or any(re.search(rf"\b{re.escape(other)}\b", text) for other in OTHERS):
            continue
        wrong += [
            f"{where}: {each}" for each in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text) if each not in known
        ]
    assert not wrong


def test_the_extras_that_texts_name_exist() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = found(r"portalis\[([\w,-]+)\]")
    assert len(named) > 3
    assert not [(where, match[0]) for where, match in named if not set(match[1].split(",")) <= extras]


def test_the_keys_of_models_that_texts_name_exist() -> None:
    named = found(r"(?<![\w./-])wasm\.[a-z_]+(?![\w(/-])")
    assert len(named) > 10
    known = {*KEYS, "wasm.module"}  # the last is a label of images
    assert not [(where, match[0]) for where, match in named if match[0].rstrip("_") not in known]


def fields(model: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a structure of the spec, by name."""
    for name, field in model.model_fields.items():
        yield name, field.annotation


def structures(annotation: Any) -> Iterator[Any]:
    """The structures that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from structures(part)


def exists(keys: list[str], model: Any) -> bool:
    """Whether these keys lead somewhere in the spec."""
    known = dict(fields(model))
    if keys[0] not in known:
        return False
    below = list(structures(known[keys[0]]))
    return len(keys) == 1 or not below or any(exists(keys[1:], each) for each in below)


def test_the_keys_of_the_spec_that_texts_name_exist() -> None:
    tables = [name for name, annotation in fields(PackageSpec) if any(structures(annotation))]
    named = found(rf"(?<![\w./…-])({'|'.join(tables)})((?:\[[^\]]*\])?(?:\.[a-z_]+(?:\[[^\]]*\])?)+)(?![\w/(-])")
    assert len(named) > 30
    wrong = []
    for where, match in named:
        keys = re.findall(r"[a-z_]+", re.sub(r"\[[^\]]*\]", "", match[0]))
        if not exists(keys, PackageSpec) and not exists(keys, PackagingAgentInput):
            wrong.append(f"{where}: {match[0]}")
    assert not wrong


def test_the_variables_that_texts_name_are_read() -> None:
    source = "\n".join(path.read_text() for path in sources())
    named = {match[0] for _, match in found(r"\bPORTALIS_[A-Z_]+[A-Z]\b")}
    assert named
    assert not [name for name in named if f'"{name}"' not in source and f"'{name}'" not in source]


@pytest.mark.parametrize(("text", "wrong"), [("container_config.runtime", False), ("container_config.nothing", True)])
def test_a_key_that_does_not_exist_is_seen(text: str, wrong: bool) -> None:
    assert exists(text.split("."), PackageSpec) is not wrong
