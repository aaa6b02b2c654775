"""Every error class has a remediation, which names the thing to change, and only things that exist."""

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

# remediations that do not name what to change
GENERIC = re.compile(
    r"^(mend|fix|set|change|rename|edit|choose|remove|unset|name|leave|make|check|ask|try|package|mount|keep)"
    r"( (it|one|this|them|that|the|others?|another|again|of|out|for|in|a|new|file|who|runs|elsewhere))*[.]?$",
    re.IGNORECASE,
)
# modules that cannot be imported here: they run in Triton's server, in Kit, or as a program
NOT_IMPORTED = re.compile(
    r"triton\.model|__main__|compile\.worker|import_probe|omniverse\.inside|nim\.service\.external"
)


def subclasses(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for each in base.__subclasses__():
        yield from subclasses(each)


@cache
def error_classes() -> dict[str, type[Exception]]:
    """Every error class of the product, by name."""
    for module in pkgutil.walk_packages(portalis.__path__, "portalis."):
        if NOT_IMPORTED.search(module.name) is None:
            importlib.import_module(module.name)
    classes = [*subclasses(PortalisError), *subclasses(WasmError), OSError, FileNotFoundError, ZeroDivisionError]
    return {each.__name__: each for each in classes if each.__module__.startswith(("portalis", "builtins"))}


def example_error(kind: type[Exception]) -> Exception:
    """An error of class `kind` with a message and without an individual remediation."""
    error = kind.__new__(kind)
    error.args = ("something failed",)
    error.__dict__.update(message="something failed", remediation="", problems=(), source="a file", pipeline_id=None)
    return error


def unknown_names(text: str) -> list[str]:
    """Names in a remediation that do not exist: commands, their options, and keys of models."""
    unknown = []
    for command, rest in re.findall(r"`portalis ([a-z-]+)([^`]*)`", text):
        if command not in commands():
            unknown.append(command)
        else:
            unknown += [option for option in re.findall(r"--[a-z-]+", rest) if option not in commands()[command]]
    return unknown + [key for key in re.findall(r"\bwasm\.[a-z_]+", text) if key not in KEYS]


def test_all_error_classes_are_found() -> None:
    expected = {"MissingPart", "UsageError", "InputProblems", "StageError", "TritonFailed", "EngineFailed", "Trap"}
    assert expected <= set(error_classes())


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_error_class_has_a_remediation_in_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name, kind in error_classes().items():
        failures.report_error(example_error(kind), command, as_json=True)
        error: dict[str, Any] = json.loads(capsys.readouterr().out)["error"]
        summary = error["remediation"]["summary"]
        assert re.match(r"[A-Z`]", summary) and summary.endswith("."), (name, summary)
        assert not unknown_names(summary), (name, summary)
        assert not GENERIC.match(summary), (name, summary)


@cache
def remediations() -> tuple[tuple[str, str], ...]:
    """Location and text of each remediation that the source passes by keyword; values in f-strings are replaced by …."""
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


def test_every_remediation_names_what_to_change() -> None:
    assert len(remediations()) > 200
    assert not [(where, text) for where, text in remediations() if not text.strip() or GENERIC.match(text)]


def test_every_remediation_is_a_sentence_or_a_command() -> None:
    commandlike = re.compile(r"^(pip install|--|install )")
    wrong = [
        (where, text)
        for where, text in remediations()
        if not commandlike.match(text) and not (re.match(r"[A-Z`…]", text) and re.search(r"[.?:…]$", text.strip()))
    ]
    assert not wrong


def test_no_text_uses_the_old_word_for_fix() -> None:
    assert not [(where, text) for where, text in remediations() if re.search(r"\bmend\b", text, re.IGNORECASE)]


@pytest.mark.parametrize(("text", "wrong"), [("Leave one out.", True), ("Set it.", True), ("Set registry_url.", False)])
def test_a_remediation_that_names_nothing_is_detected(text: str, wrong: bool) -> None:
    assert bool(GENERIC.match(text)) is wrong


def test_every_stage_has_an_error_type_and_a_consequence() -> None:
    assert set(ERROR_TYPES) <= set(PackagingStage) and set(ERROR_TYPES.values()) <= set(ErrorType)
    assert set(_CONSEQUENCES) <= set(ERROR_TYPES)
