from __future__ import annotations

import ast
import shlex
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from portalis.markup import markdown
from portalis.proto.markdown import block, page, python, shell

# characters with a meaning in Markdown, more frequent than in random text
TEXT = st.text() | st.text(alphabet="`*_[]()<>&|~#!$\\-+=.:1a \n\"'{}%")
PARSER = MarkdownIt("commonmark")


def shown(text: str) -> str:
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


@given(TEXT)
def test_a_code_block_is_parsed_as_one_block_with_the_same_text(text: str) -> None:
    lines = "\n".join(shown(line) for line in text.split("\n"))
    tokens = PARSER.parse(block(lines, "python"))
    assert [token.type for token in tokens] == ["fence"]
    assert tokens[0].content.rstrip() == lines.rstrip()


@given(TEXT.filter(lambda text: "\0" not in text))
def test_shell_arguments_and_python_literals_are_read_back_unchanged(text: str) -> None:
    assert shlex.split(shell(text)) == [text]
    assert ast.literal_eval(python(text)) == text


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


@given(TEXT)
def test_html_in_a_value_is_escaped_in_the_page(text: str) -> None:
    hostile = f"<script>{text}</script><img src=x onerror=y>"
    tags = _Tags()
    tags.feed(page(f"# Guide\n\n{markdown(hostile)}\n", hostile))
    assert tags.found == ["html", "head", "meta", "meta", "title", "style", "body", "h1", "p"]
