"""Truncates and escapes text that leaves this package.

Names, paths and error messages come from untrusted modules. They can be megabytes long, or contain escape sequences,
carriage returns and bidirectional controls that forge lines in a log or a terminal.
"""

from __future__ import annotations

MAX_MESSAGE_BYTES = 4096
MAX_NAME_CHARACTERS = 120
_OMITTED = "\n... (the middle of {size:,} characters is omitted) ...\n"


def bounded_message(text: str) -> str:
    """`text` in at most MAX_MESSAGE_BYTES of UTF-8, without control characters except newlines.

    The middle of a longer text is omitted: its beginning has the cause, its end the guest's last output.
    """
    if len(text) <= MAX_MESSAGE_BYTES // 4 and text.isprintable():
        return text
    size, available = len(text), MAX_MESSAGE_BYTES - 80
    if size > 2 * MAX_MESSAGE_BYTES:  # bounds the work for a long text
        text = text[:MAX_MESSAGE_BYTES] + text[-MAX_MESSAGE_BYTES:]
    text = escape(text)
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= MAX_MESSAGE_BYTES and size <= 2 * MAX_MESSAGE_BYTES:
        return text
    head, tail = (part.decode("utf-8", "ignore") for part in (data[: available * 3 // 4], data[-(available // 4) :]))
    return head + _OMITTED.format(size=size) + tail


def bounded_name(text: str) -> str:
    """A name from a module as a single line, truncated to MAX_NAME_CHARACTERS with a note of its length."""
    if len(text) <= MAX_NAME_CHARACTERS and text.isprintable():
        return text
    quoted_name = "".join(map(_escaped, text[:MAX_NAME_CHARACTERS]))
    if len(text) <= MAX_NAME_CHARACTERS and len(quoted_name) <= 2 * MAX_NAME_CHARACTERS:
        return quoted_name
    return f"{quoted_name[: MAX_NAME_CHARACTERS - 1]}… ({len(text):,} characters)"


def quoted_name(name_: str) -> str:
    """`bounded_name` of a name from a module, in quotes if it had to be escaped."""
    return bounded_name(name_) if name_.isprintable() else f"'{bounded_name(name_)}'"


def escape(text: str) -> str:
    """`text` with Python's escapes for all characters that are not printable, except newlines.

    Surrogates for undecodable bytes of a path stay: the code that prints the text restores the bytes.
    """
    if text.isprintable():
        return text
    return "".join(c if c == "\n" or "\udc80" <= c <= "\udcff" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
