"""A gRPC client for one model of a running Triton server. Only this module of the core imports tritonclient."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from .backend.interface.dtypes import parse_dtype
from .backend.interface.interface import TensorSpec
from .errors import MissingPart, PortalisError
from .tensor_input import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceResult:
    """The result of an inference request: `outputs` (BF16 as float32), their Triton data types, and its duration."""

    outputs: dict[str, Array]
    datatypes: dict[str, str]
    seconds: float


def load_model(url: str, model: str, *, timeout_s: float) -> None:
    """Load a model on a server with ``--model-control-mode=explicit``. Raises PortalisError with the server's message.

    Triton's HTTP port does not accept names that need escaping, so this uses gRPC.
    """
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    client = InferenceServerClient(url)
    try:
        client.load_model(model, client_timeout=timeout_s)
    except InferenceServerException as error:
        raise PortalisError(error.message()) from None
    finally:
        client.close()


class RemoteModel:
    """A model on a server: its interface, and inference. A context manager.

    Raises PortalisError with the server's message if it rejects a request or has no such model, or if it is
    unreachable.
    """

    def __init__(self, url: str, model: str, *, version: str = "", timeout_s: float | None = None) -> None:
        try:
            import tritonclient.grpc as grpc_client
        except ImportError:
            raise MissingPart(
                "tritonclient (for gRPC) is not installed", remediation="pip install 'portalis[client]'"
            ) from None
        self.url, self.name, self.version = url, model, version
        self._grpc = grpc_client
        self._timeout_s = timeout_s
        self._client = grpc_client.InferenceServerClient(url)
        try:
            config = self._request("get_model_config", model, version).config
        except BaseException:
            self._client.close()
            raise
        self.max_batch_size: int = config.max_batch_size
        self.inputs = tuple(_spec(each, optional=each.optional) for each in config.input)
        self.outputs = tuple(_spec(each, optional=False) for each in config.output)

    def infer(
        self,
        inputs: Mapping[str, Array],
        *,
        parameters: Mapping[str, str | int | bool] | None = None,
        sequence_id: int | str = 0,
    ) -> InferenceResult:
        """Send one request. Arrays have a batch dimension if the model does.

        With a `sequence_id`, the request is a complete sequence.
        """
        sequence = {"sequence_id": sequence_id, "sequence_start": True, "sequence_end": True} if sequence_id else {}
        datatypes = {spec.name: spec.dtype.name for spec in self.inputs}
        tensors = [self._tensor(name, array, datatypes[name]) for name, array in inputs.items()]
        began = time.perf_counter()
        result = self._request(
            "infer",
            self.name,
            tensors,
            model_version=self.version,
            parameters=dict(parameters or {}) or None,
            **sequence,
        )
        seconds = time.perf_counter() - began
        tensors_out = result.get_response().outputs
        return InferenceResult(
            outputs={each.name: _without_bfloat16(result.as_numpy(each.name)) for each in tensors_out},
            datatypes={each.name: each.datatype for each in tensors_out},
            seconds=seconds,
        )

    def served(self) -> tuple[int, float]:
        """Triton's statistics of successful requests: their number, and their total time in seconds."""
        statistics = self._request("get_inference_statistics", self.name, self.version).model_stats[0].inference_stats
        return statistics.success.count, statistics.success.ns / 1e9

    def _tensor(self, name: str, array: Array, datatype: str) -> Any:
        if datatype == "BF16":
            from tritonclient.utils import triton_to_np_dtype

            # ml_dtypes' bfloat16 in newer clients, float32 in older ones
            array = array.astype(triton_to_np_dtype("BF16"))
        tensor = self._grpc.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(np.ascontiguousarray(array))
        return tensor

    def _request(self, method: str, *args: Any, **options: Any) -> Any:
        from tritonclient.utils import InferenceServerException

        try:
            return getattr(self._client, method)(*args, client_timeout=self._timeout_s, **options)
        except InferenceServerException as error:
            status = str(error.status() or "")
            message = error.message()
            if "UNAVAILABLE" in status and ("connect" in message.lower() or "resolve" in message.lower()):
                raise PortalisError(
                    f"no Triton server responds to gRPC at {self.url}",
                    remediation="Start one with `portalis serve REPOSITORY`, or name another with --url HOST:PORT.",
                ) from None
            raise PortalisError(f"model {self.name!r} at {self.url}: {message}") from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> RemoteModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _spec(described: Any, *, optional: bool) -> TensorSpec:
    from tritonclient.grpc.model_config_pb2 import DataType

    datatype = parse_dtype(DataType.Name(described.data_type))
    return TensorSpec(name=described.name, dtype=datatype, dims=tuple(described.dims), optional=optional)


def _without_bfloat16(array: Any) -> Array:
    """ml_dtypes' bfloat16 as float32, which NumPy can print and save."""
    result: Array = np.asarray(array)
    return result.astype(np.float32) if result.dtype.name == "bfloat16" else result
