from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from portalis.proto.identifiers import identifier, proto_identifiers, type_names

NAMES = st.lists(
    st.text() | st.sampled_from(["a-b", "a_b", "a.b", "aB", "a__b", "A_B", "1", "", "message"]), max_size=8
)


def test_a_valid_identifier_is_not_changed() -> None:
    assert [identifier(name) for name in ("x", "input_ids", "Option1")] == ["x", "input_ids", "Option1"]


def test_the_identifier_of_an_invalid_name_is_readable_and_stable() -> None:
    assert identifier("a-b").startswith("a_b_")
    assert identifier("a-b") == identifier("a-b") != identifier("a.b")
    assert identifier("0th").startswith("x_0th_")
    assert re.fullmatch(r"x_[0-9a-f]{8}", identifier("…"))


@given(NAMES)
def test_different_names_have_different_identifiers_without_case_and_underscores(names: list[str]) -> None:
    found = proto_identifiers(names)
    assert set(found) == set(names)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", each) for each in found.values())
    assert len({each.replace("_", "").lower() for each in found.values()}) == len(found)
    types = type_names(names)
    assert len(set(types.values())) == len(types)
    assert all(re.fullmatch(r"[A-Z][A-Za-z0-9]*", each) for each in types.values())
