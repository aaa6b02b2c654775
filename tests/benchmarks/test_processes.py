"""Server processes of the benchmarks."""

from __future__ import annotations

import sys

import pytest

from benchmarks import processes  # noqa: TID251


def test_a_process_that_ends_before_it_responds_is_an_error() -> None:
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with (
        pytest.raises(RuntimeError, match="does not respond at http://127.0.0.1:9/"),
        processes.running(command, "http://127.0.0.1:9/"),
    ):
        pytest.fail("it responded")


def test_the_address_of_each_protocol() -> None:
    ports = processes.Ports(8000, 8001)
    assert (ports.url("http"), ports.url("grpc")) == ("127.0.0.1:8000", "127.0.0.1:8001")
