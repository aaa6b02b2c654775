"""Messages of the runtime have a bounded length and no control characters except newlines."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portalis.backend import GuestError, InputError, ModuleError, WasmError
from portalis.backend.messages import MAX_MESSAGE_BYTES, MAX_NAME_CHARACTERS, bounded_message, bounded_name, escape


def is_plain(text: str) -> bool:
    return all(c.isprintable() or c == "\n" or "\udc80" <= c <= "\udcff" for c in text)


@given(st.text(max_size=100), st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_messages_are_short_and_have_no_control_characters(text: str, times: int) -> None:
    message = str(WasmError(text * times))
    assert len(message.encode("utf-8", "surrogatepass")) <= MAX_MESSAGE_BYTES
    assert is_plain(message)
    assert bounded_message(message) == message


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=300))
@settings(max_examples=50, deadline=None)
def test_a_short_message_of_plain_text_stays_as_it_is(text: str) -> None:
    assert str(InputError(f"one: {text}\ntwo")) == f"one: {text}\ntwo"


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    message = str(GuestError("the cause\n" + "x" * 1_000_000 + "\nthe end"))
    assert message.startswith("the cause\nxxx")
    assert message.endswith("xxx\nthe end")
    assert "the middle of 1,000,018 characters is omitted" in message


def test_text_added_to_an_error_later_is_limited_too() -> None:
    error = ModuleError("short")
    error.args = ("\x1b[31m" + "y" * 10_000,)
    assert str(error).startswith("\\x1b[31myyy")
    assert len(str(error)) <= MAX_MESSAGE_BYTES


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\rb", "a\x07b", "a\x9bb", "a\u202eb", "a\u2066b", "a\u2028b", "a\tb"])
def test_characters_that_move_the_cursor_or_reorder_text_are_escaped(text: str) -> None:
    for message in (escape(text), bounded_name(text), str(WasmError(text))):
        assert message.isprintable()
        assert message[0] + message[-1] == "ab"


def test_a_long_name_is_truncated_with_its_original_length() -> None:
    assert bounded_name("f") == "f"
    assert bounded_name("a\nb") == "a\\nb"
    assert bounded_name("g" * 90_000) == "g" * (MAX_NAME_CHARACTERS - 1) + "… (90,000 characters)"
    assert len(bounded_name("\U000e0001" * 200)) < 2 * MAX_NAME_CHARACTERS


def test_truncating_a_hundred_megabytes_takes_bounded_time() -> None:
    error = GuestError("\x1b" * 100_000_000)
    began = time.process_time()
    assert len(str(error)) <= MAX_MESSAGE_BYTES
    assert time.process_time() - began < 0.5


def test_surrogates_of_undecodable_paths_are_kept() -> None:
    assert str(ModuleError("caf\udce9.wasm is empty")) == "caf\udce9.wasm is empty"
