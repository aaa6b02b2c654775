"""The outputs that a request lists, over HTTP and gRPC."""

from __future__ import annotations

from ..request_errors import input_error
from .parsed_request import OutputRequest


class RequestedOutputs:
    """Collects the outputs that a request lists."""

    def __init__(self) -> None:
        self._outputs: dict[str, OutputRequest] = {}

    def add(self, output: OutputRequest) -> None:
        """Add `output`. An output that is listed again is returned once, as in Triton; raises RequestError with status
        400 if it is to have another form, since it would not be returned in one of them."""
        if self._outputs.setdefault(output.name, output) != output:
            raise input_error(f"output '{output.name}' is requested twice, in different forms")

    def to_list(self) -> list[OutputRequest]:
        """The outputs, each once, in the order of the request."""
        return list(self._outputs.values())
