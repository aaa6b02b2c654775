"""A user's own template of the README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portalis.dist.archive.readme import render_user_template
from portalis.target import StageError

VALUES: dict[str, Any] = {"package": "a *b* {{ 7 * 7 }}", "modules": [{"name": "x"}]}


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return tmp_path / "readme.j2"


def render(template: Path, text: str) -> str:
    template.write_text(text, encoding="utf-8")
    return render_user_template(template, VALUES)


def test_it_sees_the_values_and_the_filters_and_values_are_never_templates(template: Path) -> None:
    text = render(template, "# {{ package | markdown }}\n{% for m in modules %}\n- {{ m.name }}\n{% endfor %}\n")
    assert text == "# a \\*b\\* \\{\\{ 7 \\* 7 \\}\\}\n- x\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("\n{{ nothing }}", 2, "'nothing' is undefined"),
        ("\n\n{{ package.nothing }}", 3, "has no attribute 'nothing'"),
        ("a\n{% if %}", 2, "Expected an expression"),
        ("{{ package | nothing }}", 1, "No filter named 'nothing'"),
        ("\n{{ 1 // 0 }}", 2, "by zero"),
        ("{{ package.__class__.__mro__ }}", 1, "unsafe"),
        ("{{ ''.__class__ }}", 1, "unsafe"),
        ("{{ package.format.__globals__ }}", 1, "unsafe"),
        ("{{ cycler.__init__.__globals__.os.system('id') }}", 1, "unsafe"),
        ("{{ '{0.__class__}'.format(package) }}", 1, "unsafe"),
        ("\n{% include '/etc/passwd' %}", 2, "/etc/passwd"),
        ("{% include 'readme.j2' %}", 1, "recursion"),
        ("{% import 'os' as os %}", 1, "os"),
        ("{{ range(10 ** 9) }}", 1, "Range too big"),
        ("{{ modules.x.y() }}", 1, "has no attribute 'x'"),
    ],
)
def test_an_error_names_the_file_the_line_and_what_is_wrong(template: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(StageError, match=said) as caught:
        render(template, text)
    assert f"{template}, line {line}: " in caught.value.message
    assert "modules, package" in caught.value.remediation
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_template_that_is_not_utf8_or_gone_is_an_error_that_names_it(template: Path) -> None:
    template.write_bytes(b"\xff")
    with pytest.raises(StageError, match="readme.j2 cannot be read as UTF-8"):
        render_user_template(template, VALUES)
    template.unlink()
    with pytest.raises(StageError, match="readme.j2 cannot be read"):
        render_user_template(template, VALUES)
