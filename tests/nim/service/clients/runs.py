"""Triton's Python client examples with their options, and the program of ours that does the same as each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from . import image_runs, management_runs, memory_runs, sequence_runs, simple_runs, string_runs
from .target import Target


@dataclass(frozen=True)
class Run:
    """One run of an example: its file without ``.py``, its options, and our program.

    `unsupported` is the reason why the service does not support the run; `unsupported_by_triton` the same of a Triton
    with the wasm backend.
    """

    example: str
    options: str = ""
    program: Callable[[Target], None] | None = None
    unsupported: str = ""
    unsupported_by_triton: str = ""

    @property
    def name(self) -> str:
        """The example and its options, as one word for tests."""
        return "_".join((self.example, *self.options.replace("-", "").split()))


DECOUPLED: Final = "a decoupled model sends several responses to one request"
CUDA: Final = "tensors in CUDA regions, which need a GPU in the server's process"
OVERRIDE: Final = (
    "the example replaces the configuration by one without a backend, and Triton then looks for its own files"
)
NO_PROGRAM: Final = {DECOUPLED, CUDA}


def service_runs() -> Iterator[object]:
    """The parameters of a test with all runs that the service supports."""
    for run in all_runs():
        if not run.unsupported:
            yield pytest.param(run, id=run.name)


def all_runs() -> Iterator[Run]:
    """All runs."""
    yield from _simple()
    yield from _contents()
    yield from _memory()
    yield from _management()
    yield from _sequences()
    yield from _images()


def _simple() -> Iterator[Run]:
    http = simple_runs.http_infer
    yield Run("simple_http_infer_client", "", http)
    yield Run("simple_http_infer_client", "-H test:1", partial(http, headers={"test": "1"}))
    for algorithm in ("gzip", "deflate"):
        options = f"--request-compression-algorithm {algorithm} --response-compression-algorithm {algorithm}"
        yield Run("simple_http_infer_client", options, partial(http, compression=algorithm))
        program = partial(simple_runs.http_infer_from_coroutines, compression=algorithm)
        yield Run("simple_http_aio_infer_client", options, program)
    yield Run("simple_http_aio_infer_client", "", simple_runs.http_infer_from_coroutines)
    yield Run("simple_http_async_infer_client", "", simple_runs.http_infer_async)
    yield Run("simple_http_string_infer_client", "", string_runs.http_strings)
    yield Run("simple_grpc_infer_client", "", simple_runs.grpc_infer)
    yield Run("simple_grpc_infer_client", "-t 60", partial(simple_runs.grpc_infer, timeout_s=60))
    for algorithm in ("gzip", "deflate"):
        yield Run("simple_grpc_infer_client", f"-C {algorithm}", partial(simple_runs.grpc_infer, compression=algorithm))
        program = partial(simple_runs.grpc_infer_from_coroutines, compression=algorithm)
        yield Run("simple_grpc_aio_infer_client", f"-C {algorithm}", program)
    yield Run("simple_grpc_aio_infer_client", "", simple_runs.grpc_infer_from_coroutines)
    yield Run("simple_grpc_async_infer_client", "", simple_runs.grpc_infer_async)
    yield Run("simple_grpc_async_infer_client", "-t 60", partial(simple_runs.grpc_infer_async, timeout_s=60))
    yield Run("simple_grpc_string_infer_client", "", string_runs.grpc_strings)
    yield Run("simple_grpc_custom_args_client", "", simple_runs.grpc_infer_with_channel_arguments)
    yield Run("simple_grpc_keepalive_client", "", simple_runs.grpc_infer_with_keepalive)
    for protocol in ("http", "grpc"):
        yield Run("memory_growth_test", f"-i {protocol}", partial(simple_runs.many_clients, protocol=protocol))


def _contents() -> Iterator[Run]:
    for example, model, kind in (
        ("grpc_explicit_int_content_client", "simple", "INT32"),
        ("grpc_explicit_int8_content_client", "simple_int8", "INT8"),
        ("grpc_explicit_byte_content_client", "simple_string", "BYTES"),
    ):
        yield Run(example, "", partial(simple_runs.explicit_contents, model=model, kind=kind))


def _memory() -> Iterator[Run]:
    for protocol in ("http", "grpc"):
        yield Run(f"simple_{protocol}_shm_client", "", partial(memory_runs.shared_numbers, protocol=protocol))
        yield Run(f"simple_{protocol}_shm_string_client", "", partial(memory_runs.shared_strings, protocol=protocol))
        yield Run(
            "reuse_infer_objects_client", f"-i {protocol}", partial(memory_runs.reused_objects, protocol=protocol)
        )
        yield Run(f"simple_{protocol}_cudashm_client", unsupported=CUDA, unsupported_by_triton=CUDA)


def _management() -> Iterator[Run]:
    yield Run("simple_http_health_metadata", "", management_runs.http_management)
    yield Run("simple_grpc_health_metadata", "", management_runs.grpc_management)
    for protocol in ("http", "grpc"):
        program = partial(management_runs.model_control, protocol=protocol)
        yield Run(f"simple_{protocol}_model_control", "", program, unsupported_by_triton=OVERRIDE)


def _sequences() -> Iterator[Run]:
    for options, dynamic in (("", False), ("-d", True)):
        for protocol in ("http", "grpc"):
            program = partial(sequence_runs.sequences_one_by_one, protocol=protocol, dynamic=dynamic)
            yield Run(f"simple_{protocol}_sequence_sync_infer_client", options, program)
        program = partial(sequence_runs.sequences_in_a_stream, dynamic=dynamic)
        yield Run("simple_grpc_sequence_stream_infer_client", options, program)
        program = partial(sequence_runs.sequences_in_a_stream_from_coroutines, dynamic=dynamic)
        yield Run("simple_grpc_aio_sequence_stream_infer_client", options, program)
    yield Run("simple_grpc_custom_repeat", unsupported=DECOUPLED, unsupported_by_triton=DECOUPLED)


def _images() -> Iterator[Run]:
    large, small = "inception_graphdef", "small_chw"
    for protocol in ("http", "grpc"):
        image = partial(image_runs.classify, protocol=protocol)
        to = f"-i {protocol}"
        yield Run("image_client", f"{to} -m {large} -s INCEPTION", partial(image, model=large, scaling="INCEPTION"))
        program = partial(image, model=small, scaling="VGG", batch=2, count=3)
        yield Run("image_client", f"{to} -m {small} -s VGG -b 2 -c 3", program)
        yield Run("image_client", f"{to} -m {small} -a", partial(image, model=small, how="async"))
        yield Run("ensemble_image_client", f"{to} -c 2", partial(image_runs.classify_files, protocol=protocol, count=2))
    program = partial(image_runs.classify, protocol="grpc", model=small, how="stream")
    yield Run("image_client", f"-i grpc -m {small} --streaming", program)
    messages = partial(image_runs.classify_with_messages, model=small)
    inception = partial(image_runs.classify_with_messages, model=large, scaling="INCEPTION", count=2)
    yield Run("grpc_image_client", f"-m {large} -s INCEPTION -c 2", inception)
    yield Run("grpc_image_client", f"-m {small} -a", partial(messages, how="async"))
    yield Run("grpc_image_client", f"-m {small} --streaming", partial(messages, how="stream"))
    yield Run("grpc_client", "", image_runs.messages_of_every_kind)
