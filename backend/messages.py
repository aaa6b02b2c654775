"""Bounds and escapes text that leaves this package.

Names, paths and error texts come from modules that are not trusted: they may be megabytes long, or hold escape
sequences, carriage returns and bidirectional controls that forge lines in a log or a terminal.
"""

from __future__ import annotations

MAX_MESSAGE_BYTES = 4096
MAX_NAME_CHARACTERS = 120
_LEFT_OUT = "\n... (the middle of {size:,} characters is left out) ...\n"


def bounded_message(text: str) -> str:
    """`text` in at most MAX_MESSAGE_BYTES of UTF-8, without control characters but newlines.

    The middle of a longer text is left out: the cause comes first, and what the guest wrote last.
    """
    if len(text) <= MAX_MESSAGE_BYTES // 4 and text.isprintable():
        return text
    size, room = len(text), MAX_MESSAGE_BYTES - 80
    if size > 2 * MAX_MESSAGE_BYTES:  # so that the work does not grow with the text
        text = text[:MAX_MESSAGE_BYTES] + text[-MAX_MESSAGE_BYTES:]
    text = escape(text)
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= MAX_MESSAGE_BYTES and size <= 2 * MAX_MESSAGE_BYTES:
        return text
    head, tail = (part.decode("utf-8", "ignore") for part in (data[: room * 3 // 4], data[-(room // 4) :]))
    return head + _LEFT_OUT.format(size=size) + tail


def bounded_name(text: str) -> str:
    """A name from a module, as one line of at most MAX_NAME characters and a note of its length."""
    if len(text) <= MAX_NAME_CHARACTERS and text.isprintable():
        return text
    quoted_name = "".join(map(_escaped, text[:MAX_NAME_CHARACTERS]))
    if len(text) <= MAX_NAME_CHARACTERS and len(quoted_name) <= 2 * MAX_NAME_CHARACTERS:
        return quoted_name
    return f"{quoted_name[: MAX_NAME_CHARACTERS - 1]}… ({len(text):,} characters)"


def quoted_name(name_: str) -> str:
    """A name from a module as `name` gives it, in quotes where that had to be escaped."""
    return bounded_name(name_) if name_.isprintable() else f"'{bounded_name(name_)}'"


def escape(text: str) -> str:
    """`text` with everything but newlines and what can be printed as Python's escapes.

    Surrogates that stand for the undecodable bytes of a path stay: whoever prints the text restores them.
    """
    if text.isprintable():
        return text
    return "".join(c if c == "\n" or "\udc80" <= c <= "\udcff" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
