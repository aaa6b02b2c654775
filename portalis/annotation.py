"""Writes a module's interface into its ``portalis`` custom section, so that the ``.wasm`` file alone can be served."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .backend.binary import ModuleInfo, read_module
from .backend.discovery import SECTION, discover
from .backend.leb128 import Reader
from .errors import UsageError

_TENSOR = re.compile(r"^(?P<name>[^:\s]+):(?P<dtype>\w+)(?P<dims>\[[^\]]*\])?(?P<optional>\?)?$")


def annotate(module: bytes, entries: Sequence[Mapping[str, Any]], *, where: str) -> bytes:
    """`module` with a ``portalis`` section that holds `entries`; an earlier one is replaced, every other byte kept.

    Each entry is completed from what the module tells, and checked against it. Raises InterfaceError.
    """
    bare = _without_section(module)
    info = read_module(bare)
    texts = [json.dumps(_complete(info, entry, where), ensure_ascii=False) for entry in entries]
    payload = _name(SECTION) + "\n".join(texts).encode()
    return bare + b"\0" + _unsigned(len(payload)) + payload


def _complete(info: ModuleInfo, entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    return discover(info, entry, where=where).to_json()


def _without_section(module: bytes) -> bytes:
    read_module(module)  # says what is wrong with a file that is no module
    reader, kept = Reader(module, 8, len(module)), [module[:8]]
    while reader.at < reader.end:
        start, number, size = reader.at, reader.byte(), reader.unsigned()
        end = reader.at + size
        if number != 0 or Reader(module, reader.at, end).name() != SECTION:
            kept.append(module[start:end])
        reader.at = end
    return b"".join(kept)


def _unsigned(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _name(text: str) -> bytes:
    return _unsigned(len(text.encode())) + text.encode()


def parse_tensor(text: str) -> dict[str, Any]:
    """``name:DTYPE[dims]`` with ``?`` behind an optional input, such as ``x:FP32[-1,3]``, as the interface's JSON."""
    found = _TENSOR.match(text)
    if found is None:
        raise UsageError(
            f"{text!r} does not describe a tensor", remediation="Write NAME:DTYPE[DIMS], for example x:FP32[-1] or o:BYTES[1]?"
        )
    dims = (found["dims"] or "[]")[1:-1]
    try:
        sizes = [int(size) for size in dims.split(",")] if dims.strip() else []
    except ValueError:
        raise UsageError(f"{text!r}: the dims are not integers", remediation="Use sizes above 0, or -1 for any.") from None
    optional = {"optional": True} if found["optional"] else {}
    return {"name": found["name"], "dtype": found["dtype"], "dims": sizes, **optional}
