"""Writes the tables that wordpiece.c includes: the sorted vocabulary, and BERT's normalization of characters.

Run as ``python make_tables.py vocab.txt OUTPUT_FOLDER`` (``examples/build.py`` does). `unicode.h` is committed,
because it depends on the Unicode version of the Python that writes it; `vocab.h` depends only on vocab.txt.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

HANGUL = range(0xAC00, 0xD7A4)  # wordpiece.c decomposes Hangul arithmetically


def is_control(c: str) -> bool:
    return c not in "\t\n\r" and unicodedata.category(c).startswith("C")


def is_space(c: str) -> bool:
    return c in " \t\n\r" or unicodedata.category(c) == "Zs"


def is_punctuation(c: str) -> bool:
    ascii_symbol = 33 <= ord(c) <= 47 or 58 <= ord(c) <= 64 or 91 <= ord(c) <= 96 or 123 <= ord(c) <= 126
    return ascii_symbol or unicodedata.category(c).startswith("P")


def normalized(c: str) -> str:
    """Lower case, then canonical decomposition without the combining marks."""
    return "".join(d for d in unicodedata.normalize("NFD", c.lower()) if unicodedata.category(d) != "Mn")


def characters() -> Iterable[int]:
    return (cp for cp in range(0x110000) if not 0xD800 <= cp < 0xE000)


def ranges(test: Callable[[str], bool]) -> list[tuple[int, int]]:
    """The closed ranges of code points that pass `test`."""
    found: list[tuple[int, int]] = []
    for cp in characters():
        if test(chr(cp)):
            if found and found[-1][1] == cp - 1:
                found[-1] = (found[-1][0], cp)
            else:
                found.append((cp, cp))
    return found


def array(kind: str, name: str, values: Iterable[int]) -> str:
    return f"static const {kind} {name}[] = {{{','.join(map(str, values))}}};\n"


def unicode_tables() -> str:
    text = "/* Written by make_tables.py from Unicode " + unicodedata.unidata_version + ". */\n"
    for name, test in (("control", is_control), ("space", is_space), ("punctuation", is_punctuation)):
        spans = ranges(test)
        text += array("uint32_t", f"{name}_ranges", (value for span in spans for value in span))
    folded = {cp: normalized(chr(cp)) for cp in characters() if cp not in HANGUL}
    changed = {cp: out for cp, out in folded.items() if out != chr(cp)}
    assert max(map(len, changed.values())) <= 3
    text += array("uint32_t", "fold_from", changed)
    padded = ([*map(ord, out), 0, 0, 0][:3] for out in changed.values())
    return text + array("uint32_t", "fold_to", (value for row in padded for value in row))


def vocabulary_table(vocabulary: list[str]) -> str:
    order = sorted(range(len(vocabulary)), key=lambda i: vocabulary[i].encode())
    offsets, at = [], 0
    for i in order:
        offsets.append(at)
        at += len(vocabulary[i].encode())
    text = array("uint32_t", "token_at", [*offsets, at]) + array("uint16_t", "token_id", order)
    joined = b"".join(vocabulary[i].encode() for i in order)
    return text + array("uint8_t", "token_text", joined)


if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    lines = source.read_text(encoding="utf-8").split("\n")
    (target / "vocab.h").write_text(vocabulary_table(lines[:-1] if not lines[-1] else lines))
    if "--unicode" in sys.argv:
        (target / "unicode.h").write_text(unicode_tables())
