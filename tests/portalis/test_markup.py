"""Text of users in a README is data: real parsers see the text itself, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable

import docutils.core
import docutils.nodes
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from portalis.markup import (
    markdown,
    markdown_code,
    markdown_link,
    paragraph,
    plain,
    rst,
    rst_link,
    rst_title,
    underlined,
)

# what is likely to mean something, in any order, beside any text at all
PARTS = st.sampled_from(
    [*"`*_{}[]()<>#+-.!|~&:@\"'=^$\\/1aiA \n\t", "::", "..", "__", "http://x.y/", "www.x.y", "a@b.cd", "&amp;", "<b>", "1. ",
     "```", "~~~", "---", "===", "[a](b)", "![a](b)", "[^1]", "|a|", "`a`_", "a_", "_`a`", "[1]_", ":a:`b`", "{{ x }}", "{% x %}",
     ">>> ", ".. x::", "+---+", "-x", "--long", "/V", "\x1b[31m", "\x00", "\u202e", "\ud800", "    ", "(a) ", "i) ", "#. ", "é", "資"]
)  # fmt: skip
texts = st.lists(PARTS | st.characters(), max_size=12).map("".join)


def any_text(test: Callable[[str], None]) -> Callable[[], None]:
    """Without a deadline: docutils takes its time on a busy machine."""
    return settings(deadline=None)(given(texts)(test))


MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def rst_document(text: str) -> docutils.nodes.document:
    settings = {"halt_level": 5, "report_level": 1, "warning_stream": False, "file_insertion_enabled": False}
    document = docutils.core.publish_doctree(text, settings_overrides=settings)
    assert isinstance(document, docutils.nodes.document)
    return document


def normal(text: str) -> str:
    """docutils and markdown-it fold the spaces of other scripts in places too."""
    return re.sub(r"\s+", " ", text).strip()


@any_text
@example("1. a")
@example("- a")
@example("a\n===")
@example("\x1b[31mred")
@example("::")
def test_plain_is_one_line_without_control_characters(text: str) -> None:
    shown = plain(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert plain(shown) == shown


@any_text
def test_markdown_shows_the_text_and_nothing_else(text: str) -> None:
    tokens = MARKDOWN.parse(markdown(text))
    if not plain(text):
        assert tokens == []
        return
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    children = tokens[1].children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    assert normal("".join(child.content for child in children)) == normal(plain(text))


@any_text
def test_markdown_shows_the_text_in_a_heading_and_in_a_list(text: str) -> None:
    tokens = MARKDOWN.parse(f"# Title {markdown(text)}\n\n- **Name:** {markdown(text)}\n")
    kinds = [token.type for token in tokens if token.type not in ("inline", "paragraph_open", "paragraph_close")]
    assert kinds == [
        "heading_open", "heading_close", "bullet_list_open", "list_item_open", "list_item_close", "bullet_list_close"
    ]  # fmt: skip


@any_text
def test_a_code_span_of_markdown_holds_the_text(text: str) -> None:
    tokens = MARKDOWN.parse(f"See {markdown_code(text)} there.")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    (code,) = (child for child in tokens[1].children or [] if child.type == "code_inline")
    assert normal(code.content) == normal(plain(text))


@any_text
@example("\\\\")
def test_restructuredtext_shows_the_text_and_nothing_else(text: str) -> None:
    document = rst_document(rst(text))
    if not plain(text):
        assert not document.children
        return
    (only,) = document.children
    assert isinstance(only, docutils.nodes.paragraph)
    assert all(isinstance(child, docutils.nodes.Text) for child in only.children), only.pformat()
    assert normal(only.astext()) == normal(plain(text))


@any_text
def test_restructuredtext_shows_the_text_in_a_list_and_as_a_title(text: str) -> None:
    document = rst_document(f"{rst_title('A ' + text, '=')}\n\n- Name: {rst(text)}\n\nEnd.\n")
    assert not list(document.findall(docutils.nodes.system_message)), document.pformat()
    assert normal(document["title"]) == normal(plain("A " + text))
    items = list(document.findall(docutils.nodes.list_item))
    assert [normal(item.astext()) for item in items] == [normal(f"Name: {plain(text)}")]
    assert not list(document.findall(docutils.nodes.reference))


@any_text
def test_a_paragraph_of_plain_text_keeps_every_word(text: str) -> None:
    assert normal(paragraph(text)) == normal(plain(text))


def test_ordinary_text_stays_as_it_is() -> None:
    for text in ("A softmax - for rows, in 1.0.0-rc.1!", "demo", "Jane Doe", "Apache-2.0", "wasm/gelu.wasm", "1.2.3"):
        assert markdown(text) == rst(text) == plain(text) == text


@pytest.mark.parametrize("url", ["https://example.org", "http://example.org:8080/a/b?c=d#e"])
def test_an_ordinary_address_can_be_followed(url: str) -> None:
    assert markdown_link(url) == f"<{url}>"
    assert [node["refuri"] for node in rst_document(rst_link(url)).findall(docutils.nodes.reference)] == [url]


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "https://x.y/> <script>", "https://x.y/\n\nmore", "file:///etc/passwd", "https://x.y/`z`"],
)
def test_any_other_address_is_text(url: str) -> None:
    children = MARKDOWN.parse(markdown_link(url))[1].children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    assert not list(rst_document(rst_link(url)).findall(docutils.nodes.reference))


def test_control_characters_are_shown_escaped() -> None:
    assert plain("a\x1b[31m\x00\u202eb\nc\ud800") == "a\\x1b[31m\\x00\\u202eb c\\ud800"


def test_an_underline_is_never_too_short() -> None:
    assert underlined("a", "=") == "a\n===="
    assert underlined("資料庫", "-") == "資料庫\n------"
