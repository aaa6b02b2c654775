"""Every kind of error has a remedy, which names the thing to change and only what exists."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

import portalis
from portalis.backend.errors import WasmError
from portalis.backend.triton.model_parameters import KEYS
from portalis.cli import failures
from portalis.contracts.errors import ErrorType, PackagingStage
from portalis.errors import PortalisError
from portalis.pipeline.report import _CONSEQUENCES
from portalis.pipeline.stage import ERROR_TYPES
from tests.parts import ROOT

from .test_remedies import commands, sources

# what names nothing: a reader of the remedy alone does not know what to change
GENERIC = re.compile(
    r"^(mend|fix|set|change|rename|edit|choose|remove|unset|name|leave|make|check|ask|try|package|mount|keep)"
    r"( (it|one|this|them|that|the|others?|another|again|of|out|for|in|a|new|file|who|runs|elsewhere))*[.]?$",
    re.IGNORECASE,
)
# these run only where something else that they need is installed: in a container's server, in Kit, as a program
NOT_IMPORTED = re.compile(
    r"triton\.model|__main__|compile\.worker|import_probe|omniverse\.inside|nim\.service\.external"
)


def subclasses(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for each in base.__subclasses__():
        yield from subclasses(each)


@cache
def kinds() -> dict[str, type[Exception]]:
    """Every class of the trees of errors that the product has, by name."""
    for module in pkgutil.walk_packages(portalis.__path__, "portalis."):
        if NOT_IMPORTED.search(module.name) is None:
            importlib.import_module(module.name)
    found = [*subclasses(PortalisError), *subclasses(WasmError), OSError, FileNotFoundError, ZeroDivisionError]
    return {each.__name__: each for each in found if each.__module__.startswith(("portalis", "builtins"))}


def raised(kind: type[Exception]) -> Exception:
    """An error of this kind with a message and no remedy of its own."""
    error = kind.__new__(kind)
    error.args = ("something failed",)
    error.__dict__.update(message="something failed", remediation="", problems=(), source="a file", pipeline_id=None)
    return error


def wrong_names(text: str) -> list[str]:
    """What a remedy names and does not exist: commands with their options, keys of models."""
    found = []
    for command, rest in re.findall(r"`portalis ([a-z-]+)([^`]*)`", text):
        if command not in commands():
            found.append(command)
        else:
            found += [option for option in re.findall(r"--[a-z-]+", rest) if option not in commands()[command]]
    return found + [key for key in re.findall(r"\bwasm\.[a-z_]+", text) if key not in KEYS]


def test_the_trees_of_errors_are_known() -> None:
    expected = {"MissingPart", "UsageError", "InputProblems", "StageError", "TritonFailed", "EngineFailed", "Trap"}
    assert expected <= set(kinds())


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_kind_of_error_has_a_remedy_in_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name, kind in kinds().items():
        failures.report_error(raised(kind), command, as_json=True)
        error: dict[str, Any] = json.loads(capsys.readouterr().out)["error"]
        told = error["remediation"]["summary"]
        assert re.match(r"[A-Z`]", told) and told.endswith("."), (name, told)
        assert not wrong_names(told), (name, told)
        assert not GENERIC.match(told), (name, told)


@cache
def remedies() -> tuple[tuple[str, str], ...]:
    """Each remedy that the source passes by keyword, and where; what an f-string puts in is …."""
    return tuple(
        (f"{path.relative_to(ROOT)}:{node.lineno}", text)
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg in ("remediation", "remedy") and (text := _text(keyword.value)) is not None
    )


def _text(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return None


def test_every_remedy_names_what_is_to_be_changed() -> None:
    assert len(remedies()) > 200
    assert not [(where, text) for where, text in remedies() if not text.strip() or GENERIC.match(text)]


def test_every_remedy_is_a_sentence_or_a_command() -> None:
    commandlike = re.compile(r"^(pip install|--|install )")
    wrong = [
        (where, text)
        for where, text in remedies()
        if not commandlike.match(text) and not (re.match(r"[A-Z`…]", text) and re.search(r"[.?:…]$", text.strip()))
    ]
    assert not wrong


def test_no_text_uses_the_old_word_for_fix() -> None:
    assert not [(where, text) for where, text in remedies() if re.search(r"\bmend\b", text, re.IGNORECASE)]


@pytest.mark.parametrize(("text", "wrong"), [("Leave one out.", True), ("Set it.", True), ("Set registry_url.", False)])
def test_a_remedy_that_names_nothing_is_seen(text: str, wrong: bool) -> None:
    assert bool(GENERIC.match(text)) is wrong


def test_every_stage_has_a_kind_of_error_and_a_consequence() -> None:
    assert set(ERROR_TYPES) <= set(PackagingStage) and set(ERROR_TYPES.values()) <= set(ErrorType)
    assert set(_CONSEQUENCES) <= set(ERROR_TYPES)
