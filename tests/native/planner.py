"""A stand-in for the planner process: responds with plans from files, or like a broken planner.

It runs as ``plan.py`` in a backend's directory, which contains the plans, and ``wasmtime``: the path of the library to
use.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

HEAD = struct.Struct("<4sI")


def answer(kind: bytes, content: bytes, size: int | None = None) -> None:
    os.write(1, HEAD.pack(kind, len(content) if size is None else size))
    while content:
        content = content[os.write(1, content) :]


def serve(folder: Path, name: str) -> None:
    library = (folder / "wasmtime").read_bytes() + b"\0"
    library += bytes(-len(library) % 8)
    if name == "refer":
        answer(b"R", b"the test wants Python")
    elif name == "wrong":
        answer(b"E", b"the module is no WebAssembly")
    elif name == "silent":
        sys.exit()
    elif name == "huge":
        answer(b"P", b"", 0xFFFFFFFF)
        sys.exit()
    elif name == "half":
        answer(b"P", library, 4096)
        sys.exit()
    elif name == "empty":
        answer(b"P", b"")
    elif name == "no-plan":
        answer(b"P", library)
    elif name == "damaged":
        answer(b"P", library + b"PORTPLAN" + bytes(range(256)))
    elif name == "other-library":
        answer(b"P", b"/nowhere/libwasmtime.so\0")
    elif name == "unknown":
        answer(b"?", b"what is that")
    else:
        answer(b"P", library + (folder / "plans" / name).read_bytes())


def exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            sys.exit()
        data += piece
    return data


def main() -> None:
    while True:
        question = exactly(struct.unpack("<I", exactly(4))[0])
        head, _, _configuration = question.partition(b"\n")
        serve(Path(__file__).parent, Path(os.fsdecode(head.split(b" ", 2)[2])).name)


if __name__ == "__main__":
    main()
