"""Guests that put the host to work, on a real Triton: each is the error of its own request, and others are answered."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.backend.triton.conftest import Server, only

pytestmark = pytest.mark.triton
F32 = np.float32
ONE = np.ones(1, F32)
STDIN = np.array([[b""]], dtype=object)


@pytest.fixture(autouse=True)
def _another_model_is_answered(server: Server) -> Any:
    yield
    assert server.infer("unbatched", x=ONE)["y"].tolist() == [1]


def row(value: float) -> np.ndarray:
    return np.array([[value]], F32)


def test_a_shape_with_nothing_and_a_huge_size_is_the_error_of_its_request(server: Server) -> None:
    values = [1, 2, 3, -1, 4, 5]
    answers = server.together([partial(server.infer, "zero_huge", x=row(v)) for v in values])
    for value, answer in zip(values, answers):
        if value == -1:
            assert "output 'y' has shape" in str(answer) and "which is too large" in str(answer)
        else:
            assert answer["y"].tolist() == [[[value]]]


def test_a_sleep_past_the_time_limit_is_unavailable(server: Server) -> None:
    for _ in range(3):
        status, message = server.error("sleeping", x=ONE)
        assert status == "StatusCode.UNAVAILABLE" and "longer than its time limit of 0.05 s" in message


def test_how_many_texts_the_host_reads_for_a_guest_is_bounded(server: Server) -> None:
    status, message = server.error("bytes_flood", x=ONE)
    assert status == "StatusCode.INTERNAL"
    assert "more than 1048576 elements, its limit (raise wasm.max_bytes_elements" in message


@only(["python"])
def test_how_long_the_host_reads_for_a_guest_is_bounded(server: Server) -> None:
    """The native engine does not read texts: it copies what the adapter, which is under the guest's deadline, has counted."""
    status, message = server.error("bytes_late", x=ONE)
    assert status == "StatusCode.UNAVAILABLE"
    assert "reading the outputs took longer than its time limit of 3 s" in message


def test_a_bool_is_0_or_1(server: Server) -> None:
    answer = server.infer("truth", x=np.array([0, 1, 2, 255], np.uint8))["y"]
    assert answer.view(np.uint8).tolist() == [0, 1, 1, 1]


def test_an_argument_that_is_not_utf8_is_rejected(server: Server) -> None:
    args = np.array([[b"\xff\xfe"]], dtype=object)
    status, message = server.error("cat", stdin=STDIN, args=args)
    assert status == "StatusCode.INVALID_ARGUMENT" and "not UTF-8" in message


def test_good_requests_do_not_wait_for_endless_ones_of_their_batch(server: Server) -> None:
    values = [-2.0, 1.0, -2.0, 2.0, -2.0, 3.0, 4.0, 5.0]  # eight make a batch

    def good_ones_are_first() -> bool:
        """Whether good requests get their results first.

        On a busy machine a good one can exceed its short try, and even the time limit: then it is not.
        """
        order: list[float] = []

        def ask(value: float) -> Any:
            try:
                return server.infer("endless_among_good", x=row(value))
            finally:
                order.append(value)

        answers = server.together([partial(ask, v) for v in values])
        for value, answer in zip(values, answers):
            late = "time limit of 0.5 s" in str(answer)
            assert late if value < 0 else late or answer["y"].tolist() == [[value]]
        return set(order[:5]) == {1, 2, 3, 4, 5} and all(isinstance(answers[values.index(v)], dict) for v in order[:5])

    server.eventually(good_ones_are_first)
