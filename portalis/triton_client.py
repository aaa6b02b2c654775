"""One model of a running Triton server, over gRPC. The only module of the core that imports tritonclient."""

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
    """What a model answered: `outputs` by name (BF16 as float32), their Triton data types, and how long it took."""

    outputs: dict[str, Array]
    datatypes: dict[str, str]
    seconds: float


def load_model(url: str, model: str, *, timeout_s: float) -> None:
    """Have a server that loads models when asked (``--model-control-mode=explicit``) load one; its HTTP port would take
    no name that has to be escaped. Raises PortalisError with the server's reason."""
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    client = InferenceServerClient(url)
    try:
        client.load_model(model, client_timeout=timeout_s)
    except InferenceServerException as problem:
        raise PortalisError(problem.message()) from None
    finally:
        client.close()


class RemoteModel:
    """A model on a server: its interface, and calls. Use with ``with``.

    Raises PortalisError with the server's own text when it refuses, does not know the model or cannot be reached.
    """

    def __init__(self, url: str, model: str, *, version: str = "", timeout_s: float | None = None) -> None:
        try:
            import tritonclient.grpc as grpc_client
        except ImportError:
            raise MissingPart(
                "tritonclient is not installed: it talks to the server", remediation="pip install 'portalis[client]'"
            ) from None
        self.url, self.name, self.version = url, model, version
        self._grpc = grpc_client
        self._timeout_s = timeout_s
        self._client = grpc_client.InferenceServerClient(url)
        try:
            config = self._ask("get_model_config", model, version).config
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
        """One request. Arrays have the batch dimension when the model has one.

        With a `sequence_id` the request is a sequence of its own, from start to end."""
        sequence = {"sequence_id": sequence_id, "sequence_start": True, "sequence_end": True} if sequence_id else {}
        datatypes = {spec.name: spec.dtype.name for spec in self.inputs}
        tensors = [self._tensor(name, array, datatypes[name]) for name, array in inputs.items()]
        began = time.perf_counter()
        result = self._ask(
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
            outputs={each.name: _plain(result.as_numpy(each.name)) for each in tensors_out},
            datatypes={each.name: each.datatype for each in tensors_out},
            seconds=seconds,
        )

    def served(self) -> tuple[int, float]:
        """Requests that the model has answered, and the seconds that they were in the server, as Triton counts them."""
        found = self._ask("get_inference_statistics", self.name, self.version).model_stats[0].inference_stats.success
        return found.count, found.ns / 1e9

    def _tensor(self, name: str, array: Array, datatype: str) -> Any:
        if datatype == "BF16":
            from tritonclient.utils import triton_to_np_dtype

            # ml_dtypes' bfloat16 in newer clients, float32 in older ones
            array = array.astype(triton_to_np_dtype("BF16"))
        tensor = self._grpc.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(np.ascontiguousarray(array))
        return tensor

    def _ask(self, method: str, *args: Any, **options: Any) -> Any:
        from tritonclient.utils import InferenceServerException

        try:
            return getattr(self._client, method)(*args, client_timeout=self._timeout_s, **options)
        except InferenceServerException as problem:
            status = str(problem.status() or "")
            message = problem.message()
            if "UNAVAILABLE" in status and ("connect" in message.lower() or "resolve" in message.lower()):
                raise PortalisError(
                    f"no Triton server answers gRPC at {self.url}",
                    remediation="Start one with `portalis serve REPOSITORY`, or name another with --url HOST:PORT.",
                ) from None
            raise PortalisError(f"model {self.name!r} at {self.url}: {message}") from None

    def close(self) -> None:
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


def _plain(array: Any) -> Array:
    """ml_dtypes' bfloat16 as float32: NumPy prints and saves that."""
    result: Array = np.asarray(array)
    return result.astype(np.float32) if result.dtype.name == "bfloat16" else result
