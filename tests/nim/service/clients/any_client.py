"""Triton's four Python clients with one way to call them: calls of the asyncio clients are awaited."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from tritonclient.utils import np_to_triton_dtype

from .target import Target

KINDS: Final = ("http", "http.aio", "grpc", "grpc.aio")


class AnyClient:
    """A client of `kind` for a server. Its calls have the names of the library's; results of gRPC are dicts."""

    def __init__(self, kind: str, target: Target, **options: Any) -> None:
        self.kind = kind
        self.library = importlib.import_module(f"tritonclient.{kind}")
        self._loop = asyncio.new_event_loop() if kind.endswith("aio") else None
        url = target.http if self.is_http else target.grpc
        self.client = self.run(self._create(url, options))

    @property
    def is_http(self) -> bool:
        """Whether the client uses HTTP."""
        return self.kind.startswith("http")

    def run(self, value: Any) -> Any:
        """`value`, or what it returns if it is a coroutine."""
        if not asyncio.iscoroutine(value):
            return value
        loop = self._loop or asyncio.new_event_loop()
        return loop.run_until_complete(value)

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """The result of the client's method `name`."""
        return self.run(getattr(self.client, name)(*arguments, **options))

    def document(self, name: str, *arguments: Any, **options: Any) -> Any:
        """The result of a management call, as what JSON would be."""
        as_json = {} if self.is_http else {"as_json": True}
        return self.call(name, *arguments, **as_json, **options)

    def infer(self, model: str, arrays: dict[str, np.ndarray], **options: Any) -> Any:
        """The result of an inference."""
        return self.call("infer", model, self.inputs(arrays), **options)

    def inputs(self, arrays: dict[str, np.ndarray]) -> list[Any]:
        """Inputs with the data of the arrays."""
        inputs = []
        for name, array in arrays.items():
            inputs.append(self.library.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
            inputs[-1].set_data_from_numpy(array)
        return inputs

    def plugin(self, name: str) -> Callable[..., Any]:
        """A class of the library's plug-ins."""
        found: Callable[..., Any] = getattr(importlib.import_module(f"tritonclient.{self.kind}.auth"), name)
        return found

    def close(self) -> None:
        """Close the client and its event loop."""
        self.call("close")
        if self._loop is not None:
            self._loop.close()

    async def _create(self, url: str, options: dict[str, Any]) -> Any:
        return self.library.InferenceServerClient(url, **options)
