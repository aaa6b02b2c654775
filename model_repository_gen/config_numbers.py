"""Numbers in a model's ``triton_config`` that Triton's message has no room for, though the spec's types have."""

from __future__ import annotations

from collections.abc import Iterator

from ..problems import Problem
from ..spec.triton import TritonConfiguration

I32_MAX, U32_MAX, I64_MAX, U64_MAX = 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1


def number_problems(given: TritonConfiguration, at: str) -> Iterator[Problem]:
    """All of them; `at` is where `given` stands in the spec."""
    for where, number, most in _bounded(given):
        if number > most:
            yield Problem(where=f"{at}.{where}", message=f"{number} is too large", remediation=f"Use {most} at most.")


def _bounded(given: TritonConfiguration) -> Iterator[tuple[str, int, int]]:
    # the requirements have 64 bits for it
    threshold = given.optimization.gather_kernel_buffer_threshold
    yield "optimization.gather_kernel_buffer_threshold", threshold, U32_MAX
    if given.dynamic_batching is not None:
        batching, where = given.dynamic_batching, "dynamic_batching"
        yield from ((f"{where}.preferred_batch_size", size, I32_MAX) for size in batching.preferred_batch_size)
        yield from ((f"{where}.priority_queue_policy", _level(key), U64_MAX) for key in batching.priority_queue_policy)
    if given.sequence_batching is not None and given.sequence_batching.oldest is not None:
        oldest, where = given.sequence_batching.oldest, "sequence_batching.oldest"
        yield f"{where}.max_candidate_sequences", oldest.max_candidate_sequences, I32_MAX
        yield from ((f"{where}.preferred_batch_size", size, I32_MAX) for size in oldest.preferred_batch_size)
    for i, sample in enumerate(given.warmup):
        for name, tensor in sample.inputs.items():
            yield from ((f"warmup[{i}].inputs.{name}.dims", size, I64_MAX) for size in tensor.dims)


def _level(digits: str) -> int:
    return int(digits) if len(digits) <= len(str(U64_MAX)) else U64_MAX + 1  # Python refuses thousands of digits
