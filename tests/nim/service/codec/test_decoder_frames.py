"""The frames between the service and a decoder process: jobs and results survive, and a cut result is an error."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from portalis.nim.service.codec.decoder_frames import (
    HTTP,
    DecoderEnded,
    DecoderResult,
    decoding_memory_exceeded,
    read_job,
    read_result,
    write_job,
    write_result,
)

numbers = npst.arrays(
    st.sampled_from([np.float32, np.int64, np.uint8, np.bool_]), npst.array_shapes(min_dims=0, max_dims=3, min_side=0)
)
strings = st.lists(st.binary(max_size=5), max_size=4).map(lambda elements: np.array([*elements, None], object)[:-1])


def sent(result: DecoderResult) -> bytes:
    pipe = io.BytesIO()
    write_result(pipe, result)
    return pipe.getvalue()


def received(data: bytes) -> DecoderResult:
    return read_result(io.BufferedReader(io.BytesIO(data)))


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), numbers | strings, max_size=3), st.binary(max_size=20))
def test_a_result_survives(arrays: dict[str, np.ndarray], rest: bytes) -> None:
    result = received(sent(DecoderResult({"id": "7"}, arrays, rest)))
    assert (result.fields, result.rest, result.error, result.failure, result.ends) == (
        {"id": "7"},
        rest,
        None,
        "",
        False,
    )
    assert list(result.arrays) == list(arrays)
    for array, back in zip(arrays.values(), result.arrays.values(), strict=True):
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert back.tobytes() == array.tobytes() if array.dtype != object else back.tolist() == array.tolist()


def test_an_error_and_the_traceback_of_a_bug_survive() -> None:
    error = decoding_memory_exceeded()
    result = received(sent(DecoderResult(error=error, failure="Traceback", ends=True)))
    assert result.error is not None and (result.failure, result.ends) == ("Traceback", True)
    assert (result.error.status, result.error.kind, result.error.message) == (413, error.kind, error.message)


@pytest.mark.parametrize("missing", [1, 8, 30])
def test_a_result_that_is_cut_is_the_end_of_the_process(missing: int) -> None:
    data = sent(DecoderResult(arrays={"x": np.arange(3.0)}, rest=b"rest"))
    with pytest.raises(DecoderEnded):
        received(data[:-missing])


def test_a_job_survives_and_the_end_of_the_input_is_no_job() -> None:
    pipe = io.BytesIO()
    write_job(pipe, HTTP, {"header_length": None, "v2": True}, b"body")
    pipe.seek(0)
    reader = io.BufferedReader(pipe)
    assert read_job(reader) == (HTTP, {"header_length": None, "v2": True}, bytearray(b"body"))
    assert read_job(reader) is None
