"""The versions that gRPC requests name."""

from __future__ import annotations

import pytest

from portalis.nim.service.grpc.requested_version import requested_version
from portalis.nim.service.request_errors import RequestError


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1", "1"),
        ("01", "1"),
        ("+7", "7"),
        (" \t3x", "3"),
        ("0", "0"),
        ("-0", "0"),
        ("9223372036854775807", "9223372036854775807"),
        ("0" * 100_000 + "5", "5"),
    ],
)
def test_a_version_is_the_number_at_the_start(text: str, version: str) -> None:
    assert requested_version(text) == version


@pytest.mark.parametrize("text", ["x", "", " ", "-", "9223372036854775808", "1" * 100_000, "١"])
def test_a_text_without_a_number_of_64_bits_is_rejected(text: str) -> None:
    with pytest.raises(RequestError, match=r"^failed to get model version from specified version string '") as raised:
        requested_version(text)
    assert raised.value.status == 400 and len(raised.value.message) < 300


def test_a_negative_version_is_rejected() -> None:
    with pytest.raises(RequestError, match=r"^invalid model version specified '-1' , version should be") as raised:
        requested_version("-1")
    assert raised.value.status == 400
