"""Compares the responses of a Triton and of the service to the same request."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from .control_cases import SettledCase
from .exchange import Aspects, Case, Server
from .grpc_cases import grpc_cases, settings_calls
from .http_inference_cases import inference_cases
from .http_management_cases import management_cases, settings_cases, statistics_cases

Differences = dict[str, tuple[Any, Any]]
"""The aspects that differ, each with Triton's value and the service's."""
_COMPRESSED = (b"\x1f\x8b", b"\x78")
_ANY_WINDOW = zlib.MAX_WBITS | 32  # of gzip or zlib
_TEXTS = ("error", "details")
_NARROW: dict[str, Callable[[Any], Any]] = {"FP32": np.float32, "FP16": np.float16}


def all_cases() -> Iterator[Case]:
    """All cases, in the order in which they are sent."""
    yield from statistics_cases()
    yield from management_cases()
    yield from inference_cases()
    yield from grpc_cases()
    yield from settings_cases()
    yield from settings_calls()


def differences(case: Case | SettledCase, triton: Server, service: Server) -> Differences:
    """Send the request to both, and compare the responses."""
    theirs, ours = _normalized(case.send(triton)), _normalized(case.send(service))
    return {
        aspect: (theirs.get(aspect), ours.get(aspect))
        for aspect in sorted({*theirs, *ours})
        if not _equal(aspect, theirs.get(aspect), ours.get(aspect))
    }


def _equal(aspect: str, theirs: Any, ours: Any) -> bool:
    if aspect in _TEXTS and isinstance(theirs, str) and isinstance(ours, str):
        return _same_text(theirs, ours)
    if aspect == "errors" and theirs and ours:
        return len(theirs) == len(ours) and all(map(_same_text, theirs, ours))
    return bool(theirs == ours)


def _same_text(theirs: str, ours: str) -> bool:
    """Whether our error text is Triton's: the service may add a sentence, for example with the names that exist."""
    theirs = theirs.removesuffix("\n")
    return ours == theirs or (bool(theirs) and ours.startswith((f"{theirs}. ", f"{theirs}; ", f"{theirs} (")))


def _normalized(aspects: Aspects) -> Aspects:
    return {aspect: _plain(value) for aspect, value in aspects.items()}


def _plain(value: Any) -> Any:
    """`value` without what must differ between two servers."""
    if isinstance(value, Message):
        return _plain(MessageToDict(value, preserving_proto_field_name=True))
    if isinstance(value, bytes) and value.startswith(_COMPRESSED):
        return _plain(json.loads(zlib.decompress(value, _ANY_WINDOW)))  # each server has its own level
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain_member(value, key, each) for key, each in value.items()}
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def _plain_member(owner: dict[str, Any], key: str, value: Any) -> Any:
    if "extensions" in owner and key in {"name", "version"}:
        return "of the server"
    if key == "ns":  # a duration
        return "a duration" if int(value) >= 0 else value
    if key == "last_inference":  # the time of day
        return int(value) > 0
    if key == "data" and owner.get("datatype") in _NARROW:  # Triton writes FP32 with the digits of FP64
        return [_plain(float(_NARROW[owner["datatype"]](each))) for each in value]
    return _plain(value)
