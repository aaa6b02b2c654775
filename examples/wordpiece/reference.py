"""BERT's uncased tokenizer in plain Python: BasicTokenizer, then WordPiece, as the original BERT code does it.

vocab.txt: the vocabulary of bert-base-uncased (30,522 pieces), Apache-2.0, by the BERT authors.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np

RTOL, ATOL = 0.0, 0.0
UNKNOWN, CLS, SEP, MAX_TOKENS, MAX_WORD = 100, 101, 102, 512, 100
CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


@functools.cache
def vocabulary() -> dict[str, int]:
    """Piece → id."""
    lines = Path(__file__).with_name("vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    return {piece: i for i, piece in enumerate(lines)}


def _is_punctuation(c: str) -> bool:
    return (c.isascii() and c.isprintable() and not c.isalnum() and c != " ") or unicodedata.category(c).startswith("P")


def words(text: str) -> list[str]:
    """BasicTokenizer with lower-casing."""
    spaced = []
    for c in text:
        if c in " \t\n\r" or unicodedata.category(c) == "Zs":
            spaced.append(" ")
        elif c in "\0\ufffd" or unicodedata.category(c).startswith("C"):
            continue
        elif any(low <= ord(c) <= high for low, high in CJK):
            spaced.append(f" {_fold(c)} ")
        else:
            spaced.append("".join(f" {d} " if _is_punctuation(d) else d for d in _fold(c)))
    return [word for word in "".join(spaced).split(" ") if word]


def _fold(c: str) -> str:
    return "".join(d for d in unicodedata.normalize("NFD", c.lower()) if unicodedata.category(d) != "Mn")


def pieces(word: str) -> list[int]:
    """The longest-match-first split of a word."""
    if len(word) > MAX_WORD:
        return [UNKNOWN]
    found, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = vocabulary().get(("##" if start else "") + word[start:end])
            if piece is not None:
                break
        else:
            return [UNKNOWN]
        found.append(piece)
        start = end
    return found


def inputs() -> dict[str, np.ndarray]:
    texts = [
        "Triton Inference Server executes WebAssembly modules.",
        "Der Café-Besitzer sagte: „naïve“ Modelle sind unglaublich schnell!",
        "東京タワー is 333 m tall; unaffable, isn't it?",
    ]
    return {"text": np.array([t.encode() for t in texts], dtype=object)}


def reference(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    rows = []
    for item in given["text"].tolist():
        text = item.decode("utf-8", "replace") if isinstance(item, bytes) else item
        found = [i for word in words(text) for i in pieces(word)]
        rows.append([CLS, *found[: MAX_TOKENS - 2], SEP])
    longest = max(map(len, rows), default=0)
    ids = np.array([row + [0] * (longest - len(row)) for row in rows], np.int64).reshape(len(rows), longest)
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], np.int64).reshape(len(rows), longest)
    return {"input_ids": ids, "attention_mask": mask}


def describe(given: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> list[str]:
    names = list(vocabulary())
    lines = []
    for text, ids, mask in zip(given["text"], got["input_ids"], got["attention_mask"]):
        lines.append(f"{text.decode()!r} -> {' '.join(names[i] for i in ids[: mask.sum()])}")
    return lines
