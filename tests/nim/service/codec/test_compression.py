"""The encoding of a response, chosen as Triton does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.nim.service.codec.compression import response_encoding


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", "identity"),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("identity", "identity"),
        ("gzip, deflate", "gzip"),
        ("deflate, gzip", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("br, deflate", "deflate"),
        ("gzip;q=0.5, deflate", "deflate"),
        ("gzip;q=0.5,deflate;q=0.5", "gzip"),
        ("gzip;q=0.2,deflate;q=0.5", "deflate"),
        ("identity, gzip", "identity"),
        ("identity;q=0.1, gzip;q=0.2", "gzip"),
        ("gzip;q=0", "identity"),
        ("gzip;q=-1", "identity"),
        ("gzip;q=.5", "gzip"),
        ("gzip;q=1e-3,deflate;q=0.0001", "gzip"),
        ("gzip;q=1x", "gzip"),
        ("gzip;q=abc", "identity"),
        ("gzip;q=", "identity"),
        ("gzip; q=0.5", "identity"),
        ("gzip ;q=1", "identity"),
        ("  gzip", "gzip"),
        ("gzip ", "identity"),
        ("GZIP", "identity"),
        ("*", "identity"),
        (";q=1", "identity"),
        ("gzip,,deflate;q=3", "deflate"),
        ("gzip;q=1e999", "gzip"),
        ("gzip;q=" + "9" * 60_000, "gzip"),
    ],
)
def test_the_encoding_with_the_highest_weight_is_chosen(accepted: str, encoding: str) -> None:
    assert response_encoding(accepted) == encoding


@given(st.text(st.sampled_from("gzipdeflatey,;q=0123.eE+- *\t"), max_size=60))
def test_any_header_has_an_encoding(accepted: str) -> None:
    assert response_encoding(accepted) in {"identity", "gzip", "deflate"}
