"""JSON as Triton's HTTP front end takes and sends it: strict, with the bare words NaN and Infinity beside."""

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

WORDS = ["NaN", "-NaN", "Infinity", "-Infinity", "Inf", "-Inf"]
# what must stay text, and what makes the end of a string hard to find
TEXTS = st.text(max_size=5) | st.sampled_from(
    [*WORDS, '"NaN', "\\", '\\"', "\\\\", '\\"Inf', ",NaN,", "\x7f0n", "\x7f1p", "é NaN"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def refusal(body: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        parse_json(body)
    assert caught.value.status == 400
    return caught.value.message


@settings(deadline=None, max_examples=400)
@given(VALUES, st.booleans())
def test_what_a_writer_with_bare_words_writes_is_read_as_it_was(value: Any, ascii_only: bool) -> None:
    found = parse_json(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))
    assert repr(found) == repr(value)  # NaN is not equal to itself


@pytest.mark.parametrize("word", WORDS)
def test_every_spelling_of_triton_is_read_wherever_a_value_may_be(word: str) -> None:
    wanted = float(word.lower().removeprefix("-") if "NaN" in word else word)
    for text, path in ((f"[1,{word}]", [1]), (f'{{"a\\\\":[[ {word} ]],"b":"{word}"}}', ["a\\", 0, 0]), (word, [])):
        found = parse_json(text.encode())
        for step in path:
            found = found[step]
        assert type(found) is float and repr(found) == repr(wanted)


@pytest.mark.parametrize(
    "text",
    [
        *("[nan]", "[inf]", "[NAN]", "[+Infinity]", "[--Inf]", "[NaNNaN]", "[NaN 1]", "[1NaN]", "[aNaN]", "[Info]"),
        *("{NaN: 1}", '{"a" NaN}', '["a" NaN]', '["NaN]', "[NaN", "NaN]", "[Infinit]", "[- Infinity]", '[\\"NaN]'),
    ],
)
def test_what_is_no_word_is_refused_and_nobody_sees_what_it_was_replaced_by(text: str) -> None:
    said = refusal(text.encode())
    assert said.startswith("the request is not valid JSON: ")
    assert "\x7f" not in said


def test_half_of_a_surrogate_pair_is_refused_beside_a_word_too() -> None:
    assert "surrogate" in refusal(b'["\\ud800"]')
    assert "surrogate" in refusal(b'[NaN, "\\ud800"]')


@pytest.mark.parametrize(
    ("body", "words"),
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
def test_the_cause_is_named(body: bytes, words: str) -> None:
    assert words in refusal(body)


@settings(deadline=None)
@given(st.sampled_from([np.float16, np.float32, np.float64]).flatmap(lambda kind: npst.arrays(kind, st.integers(0, 9))))
def test_numbers_are_written_with_the_words_of_triton(array: np.ndarray) -> None:
    text = write_json({"data": json_numbers(array)}).decode()
    assert "null" not in text
    found = json.loads(text)["data"]
    assert all(type(each) is float for each in found)
    np.testing.assert_array_equal(np.array(found, array.dtype), array)


def test_all_words_are_written_in_their_places_across_pieces() -> None:
    array = np.arange(200_000, dtype=np.float32)
    array[[0, 65_535, 65_536, 199_999]] = [np.nan, np.inf, -np.inf, np.nan]
    found = json.loads(write_json(json_numbers(array)))
    assert [found[0], found[65_535], found[65_536], found[199_999]] == [pytest.approx(math.nan, nan_ok=True),
        math.inf, -math.inf, pytest.approx(math.nan, nan_ok=True)]  # fmt: skip
    np.testing.assert_array_equal(np.array(found, np.float32), array)


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
    ids=["words", "escapes", "texts", "pieces", "quotes", "backslashes"],
)
def test_a_hostile_document_costs_time_in_proportion(hostile: bytes) -> None:
    assert cpu_s(lambda: parse_json(hostile)) < 3, "4 MB; anything quadratic takes minutes"


def test_very_many_words_beside_literals_are_read_or_refused_for_what_they_cost() -> None:
    assert len(parse_json(b"[false,null,true," + b"NaN," * 100_000 + b"-Inf]")) == 100_004
    assert "too often" in refusal(b"[null," + b"NaN," * 5_000_000 + b"1]")
