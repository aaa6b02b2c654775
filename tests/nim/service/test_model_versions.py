"""The versions that requests name."""

from __future__ import annotations

import pytest

from portalis.nim.service.model_versions import version_number
from portalis.nim.service.request_errors import RequestError


@pytest.mark.parametrize(
    ("text", "version"),
    [("1", "1"), ("01", "1"), ("0", "0"), ("-0", "0"), (str(2**63 - 1), str(2**63 - 1)), ("0" * 100_000 + "5", "5")],
)
def test_a_version_is_a_number(text: str, version: str) -> None:
    assert version_number(text) == version


@pytest.mark.parametrize("text", ["x", "", " ", "-", str(2**63), "1" * 100_000, "١"])
def test_a_text_that_is_not_a_number_of_64_bits_is_rejected(text: str) -> None:
    with pytest.raises(RequestError, match=r"^failed to get model version from specified version string '") as raised:
        version_number(text)
    assert raised.value.status == 400 and len(raised.value.message) < 300


@pytest.mark.parametrize("text", ["-1", "-" + "0" * 100_000 + "1"])
def test_a_negative_version_is_rejected(text: str) -> None:
    with pytest.raises(RequestError, match=r"^invalid model version specified '-") as raised:
        version_number(text)
    assert raised.value.status == 400 and len(raised.value.message) < 300
