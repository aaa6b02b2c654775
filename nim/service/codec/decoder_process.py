"""The process that decodes large requests: ``python -m …codec.decoder_process BYTES``, started by `decoder_pool`.

Decoding JSON creates a Python object for each element, under the interpreter's lock. In the service's own process, that
would stop all other requests, health included, for seconds. In a separate process it only takes memory, and a process
that takes too much can be killed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import traceback
from dataclasses import astuple
from typing import Any

from ..memory_budget import malloc_trim
from ..request_errors import RequestError
from ..runtime_api import Interface
from .decoder_frames import (
    HTTP,
    DecoderResult,
    decoding_memory_exceeded,
    pack_region_inputs,
    read_job,
    write_result,
)
from .request import parse_request


def main(max_bytes: int) -> None:
    """Decode jobs until the standard input ends. `max_bytes` limits the memory of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which ends this process
    # the objects of a request form a tree and are freed as a whole: searching them for cycles takes most of the time
    gc.disable()
    _limit_resources(max_bytes)
    trim = malloc_trim()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while (job := read_job(source)) is not None:
        write_result(sink, _decode(*job))
        del job
        if trim is not None:
            trim(0)


def _limit_resources(max_bytes: int) -> None:
    """Limit the memory to `max_bytes`, since the objects of a hostile request can take 30 times its size, and use only
    CPU time that the service leaves."""
    if sys.platform == "win32":
        return
    import resource

    os.nice(5)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, max_bytes))


def _decode(kind: str, options: dict[str, Any], body: bytearray) -> DecoderResult:
    try:
        return _decode_http(body, **options) if kind == HTTP else _decode_grpc(body, **options)
    except RequestError as error:
        return DecoderResult(error=error)
    except (MemoryError, SystemError) as error:  # orjson turns a MemoryError into a SystemError
        if not isinstance(error, MemoryError) and not isinstance(error.__cause__, MemoryError):
            raise
        return DecoderResult(error=decoding_memory_exceeded(), ends=True)  # other objects can be incomplete
    except Exception:  # noqa: BLE001  # the service logs it and answers as for all its internal errors
        return DecoderResult(failure=traceback.format_exc())


def _decode_http(body: bytearray, *, interface: Interface, header_length: str | None, v2: bool) -> DecoderResult:
    request = parse_request(interface, body, header_length, v2=v2)
    fields = {name: getattr(request, name) for name in request.__dataclass_fields__}
    arrays = fields.pop("inputs")
    fields["outputs"] = [
        [each.name, each.binary, each.classes, each.place and astuple(each.place)] for each in request.outputs
    ]
    fields["region_inputs"] = pack_region_inputs(request.region_inputs)
    return DecoderResult(fields, arrays)


def _decode_grpc(body: bytearray, *, interface: Interface) -> DecoderResult:
    # imported here: jobs of HTTP do without the memory that these take
    from .core_faults import described
    from .protobuf_faults import protobuf_fault
    from .protobuf_messages import checked_message, message_reader, pb
    from .protobuf_tensors import parse_inputs_message

    message = checked_message(message_reader(pb.ModelInferRequest)(bytes(body)))
    try:
        arrays, in_regions = parse_inputs_message(interface, message, thorough=True)
    except RequestError as error:
        raise described(error, protobuf_fault(interface, message)) from None
    del message.inputs[:], message.raw_input_contents[:]
    fields = {"region_inputs": pack_region_inputs(in_regions)}
    return DecoderResult(fields, arrays, message.SerializeToString())


if __name__ == "__main__":
    main(int(sys.argv[1]))
