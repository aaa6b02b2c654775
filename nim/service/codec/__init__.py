"""Decoding of inference requests and encoding of responses: JSON, raw tensors, and protobuf.

`dispatch`, which needs anyio, and the `protobuf_*` modules are not exported here, but imported by module: the decoder
process and `portalis run` must not load them.
"""

from .json_codec import parse_json, write_json
from .json_tensors import encode_tensor
from .parsed_request import OutputRequest, ParsedRequest
from .request import SMALL_BYTES, parse_inputs, parse_request
from .response import EncodedResponse, encode_response, payload_bytes
from .validation import describe_validation_error

__all__ = [
    "SMALL_BYTES",
    "EncodedResponse",
    "OutputRequest",
    "ParsedRequest",
    "describe_validation_error",
    "encode_response",
    "encode_tensor",
    "parse_inputs",
    "parse_json",
    "parse_request",
    "payload_bytes",
    "write_json",
]
