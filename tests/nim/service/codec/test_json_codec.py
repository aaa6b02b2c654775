"""JSON as Triton's HTTP endpoint accepts and sends it: strict, except for the literals NaN and Infinity."""

from __future__ import annotations

import contextlib
import json
import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from portalis.nim.service.codec.json_codec import json_numbers, parse_json, write_json
from portalis.nim.service.request_errors import RequestError

LITERALS = ["NaN", "-NaN", "Infinity", "-Infinity", "Inf", "-Inf"]
# strings that must not change, and characters that make the end of a string hard to find
STRINGS = st.text(max_size=5) | st.sampled_from(
    [*LITERALS, '"NaN', "\\", '\\"', "\\\\", '\\"Inf', ",NaN,", "\x7f0n", "\x7f1p", "é NaN"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | STRINGS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(STRINGS, inner, max_size=4),
    max_leaves=20,
)


def error_message(body: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        parse_json(body)
    assert caught.value.status == 400
    return caught.value.message


@settings(deadline=None, max_examples=400)
@given(VALUES, st.booleans())
def test_documents_with_non_finite_literals_are_read_unchanged(value: Any, ascii_only: bool) -> None:
    parsed = parse_json(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))
    assert repr(parsed) == repr(value)  # NaN is not equal to itself


@pytest.mark.parametrize("literal", LITERALS)
def test_every_spelling_of_triton_is_read_wherever_a_value_can_be(literal: str) -> None:
    expected = float(literal.lower().removeprefix("-") if "NaN" in literal else literal)
    for text, path in (
        (f"[1,{literal}]", [1]),
        (f'{{"a\\\\":[[ {literal} ]],"b":"{literal}"}}', ["a\\", 0, 0]),
        (literal, []),
    ):
        value = parse_json(text.encode())
        for step in path:
            value = value[step]
        assert type(value) is float and repr(value) == repr(expected)


@pytest.mark.parametrize(
    "text",
    [
        *("[nan]", "[inf]", "[NAN]", "[+Infinity]", "[--Inf]", "[NaNNaN]", "[NaN 1]", "[1NaN]", "[aNaN]", "[Info]"),
        *("{NaN: 1}", '{"a" NaN}', '["a" NaN]', '["NaN]', "[NaN", "NaN]", "[Infinit]", "[- Infinity]", '[\\"NaN]'),
    ],
)
def test_other_spellings_are_rejected_and_no_message_shows_a_replacement(text: str) -> None:
    message = error_message(text.encode())
    assert message.startswith("the request is not valid JSON: ")
    assert "\x7f" not in message


def test_half_of_a_surrogate_pair_is_rejected_in_documents_with_literals_too() -> None:
    assert "surrogate" in error_message(b'["\\ud800"]')
    assert "surrogate" in error_message(b'[NaN, "\\ud800"]')


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b'{"a": "\xff"}', "it is not UTF-8 at byte 7"),
        (b"[NaN, \xff]", "it is not UTF-8 at byte"),
        (b"[" * 5000, "nested too deeply"),
        (b"[NaN, " + b"[" * 5000, "nested too deeply"),
        (b'{"a" 1}', "expected ':' after key: line 1 column 6"),
    ],
)
def test_the_cause_is_named(body: bytes, message: str) -> None:
    assert message in error_message(body)


@settings(deadline=None)
@given(st.sampled_from([np.float16, np.float32, np.float64]).flatmap(lambda kind: npst.arrays(kind, st.integers(0, 9))))
def test_numbers_are_written_with_tritons_literals(array: np.ndarray) -> None:
    text = write_json({"data": json_numbers(array)}).decode()
    assert "null" not in text
    data = json.loads(text)["data"]
    assert all(type(each) is float for each in data)
    np.testing.assert_array_equal(np.array(data, array.dtype), array)


def test_literals_are_written_at_their_positions_across_chunks() -> None:
    array = np.arange(200_000, dtype=np.float32)
    array[[0, 65_535, 65_536, 199_999]] = [np.nan, np.inf, -np.inf, np.nan]
    data = json.loads(write_json(json_numbers(array)))
    assert [data[0], data[65_535], data[65_536], data[199_999]] == [pytest.approx(math.nan, nan_ok=True),
        math.inf, -math.inf, pytest.approx(math.nan, nan_ok=True)]  # fmt: skip
    np.testing.assert_array_equal(np.array(data, np.float32), array)


def cpu_s(work: Any) -> float:
    began = time.thread_time()
    with contextlib.suppress(RequestError):
        work()
    return time.thread_time() - began


@pytest.mark.parametrize(
    "hostile",
    [
        b"[" + b"NaN," * 1_000_000 + b"1]",
        b'[NaN,"' + b'\\"NaN' * 700_000 + b'"]',
        b"[" + b'"Inf",' * 700_000 + b"NaN]",
        b"[" + b'NaN,"",' * 600_000 + b"1]",
        b"[NaN," + b'"' * 4_000_000,
        b"[NaN," + b"\\" * 4_000_000,
    ],
    ids=["literals", "escapes", "strings", "pieces", "quotes", "backslashes"],
)
def test_a_hostile_document_takes_time_in_proportion_to_its_size(hostile: bytes) -> None:
    assert cpu_s(lambda: parse_json(hostile)) < 3, "4 MB; anything quadratic takes minutes"


def test_very_many_literals_together_with_keywords_are_read_or_rejected() -> None:
    assert len(parse_json(b"[false,null,true," + b"NaN," * 100_000 + b"-Inf]")) == 100_004
    assert "too often" in error_message(b"[null," + b"NaN," * 5_000_000 + b"1]")
