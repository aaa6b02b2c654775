from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from portalis.yaml_writer import yaml_documents

WORDS = ["y", "no", "On", "TRUE", "null", "~", "1e3", "0o7", "0x1f", "12:34", "1_000", ".inf", "NaN", "=", "<<", "- a", "a: b", "#x", "{{x}}", "${x}", "!t", "&a", "*a", "\ufeff", "\x85", "\u2028", "\x7f", " a", "a\n", ""]  # fmt: skip
TEXT = st.text() | st.sampled_from(WORDS)
VALUES = st.recursive(
    TEXT | st.booleans() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
)


@given(VALUES)
def test_what_is_written_is_read_back_by_readers_of_both_versions_of_yaml(value: object) -> None:
    text = yaml_documents([value], "a comment")
    assert list(yaml.safe_load_all(text)) == [value]
    assert list(YAML(typ="safe", pure=True).load_all(text)) == [value]  # ruamel reads YAML 1.2


def test_a_word_is_bare_and_all_that_could_be_something_else_is_quoted() -> None:
    text = yaml_documents([["nginx", "apps/v1", "1e3", "yes", "1.0", "a b"]], "c")
    assert text == '# c\n---\n- nginx\n- apps/v1\n- "1e3"\n- "yes"\n- "1.0"\n- "a b"\n'


def test_objects_that_are_the_same_are_written_twice() -> None:
    same = {"a": "b"}
    assert "&" not in yaml_documents([[same, same]], "c")
