"""The model class for Triton's Python backend: `TritonPythonModel`. The only module that imports ``pb_utils``."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from ..batch.batch import Result, wasm_error
from ..errors import Cancelled, GuestStatus, GuestTimeout, HostBusy, InputError, MemoryLimit, SettingsError, WasmError
from ..interface.dtypes import BF16
from ..interface.interface import TensorSpec
from ..program import Program
from ..setting_names import TRITON_NAMES
from .bf16 import make_bf16, read_bf16
from .config import ConfiguredModel, complete_config, read_model
from .engine_selection import Engine, native_required_error
from .heap import keep_free_memory
from .model_parameters import parse_request_timeout
from .reporter import Reporter

WAITED_S = 0.02
"""Time after which cancellation of a waiting request is checked, in seconds.

The check is a round trip of 200 µs to the server, so it is made only for requests that can have waited this long."""
BACKEND = Path(__file__).parents[2]
LIBRARY = "libtriton_wasm.so"
_CODES = (
    ((InputError, SettingsError, GuestStatus, MemoryLimit), "INVALID_ARG"),
    ((GuestTimeout, HostBusy), "UNAVAILABLE"),
    ((Cancelled,), "CANCELLED"),
)


def _error(problem: Exception) -> Any:
    problem = wasm_error(problem)
    code = next((name for kinds, name in _CODES if isinstance(problem, kinds)), "INTERNAL")
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(problem), getattr(pb_utils.TritonError, code)))


def _path(text: str) -> Path:
    """The path for a file name from Triton. The stub's Python has no locale, and decodes file names as ASCII."""
    return Path(os.fsdecode(text.encode()))


def _readable(problem: Exception) -> str:
    """The error message in UTF-8, which Triton requires, including bytes of file names that Python could not decode."""
    return str(problem).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _version_folder() -> Path:
    """The model's version directory. Older versions of Triton pass it only on the stub's command line
    (``…/1/model.py``)."""
    if hasattr(pb_utils, "get_model_dir"):
        return _path(pb_utils.get_model_dir())
    command_line = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    return Path(os.fsdecode(command_line[1])).parent


def _labels(args: Mapping[str, str]) -> dict[str, str]:
    """The labels of this process's metrics.

    In Triton 2.51, metrics with equal labels share one counter, but its users are counted per process, and the first
    process that ends frees it. While a model is reloaded, or has two instances, the other process then writes to freed
    memory of the server. The process id makes each counter belong to one process.
    """
    return {"model": args["model_name"], "version": args["model_version"], "pid": str(os.getpid())}


def _read_model(config: Mapping[str, Any], folder: Path) -> ConfiguredModel:
    """The model. Raises WasmError also for a model that requires the native executor, which is not running it."""
    model = read_model(config, folder)
    if model.settings.engine is Engine.NATIVE:
        raise SettingsError(
            native_required_error(
                f"Triton runs the model in its Python backend: the backend was installed without {LIBRARY}"
                " (`portalis install-backend` installs it), or the configuration names a runtime"
            )
        )
    return model


class TritonPythonModel:
    """Serves one WebAssembly module."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Fill in inputs, outputs, maximum batch size and dynamic batching from the module."""
        config = auto_complete_model_config.as_dict()
        try:
            model = _read_model(config, _version_folder())
            complete_config(model.interface, config, auto_complete_model_config)
        except (WasmError, ValueError) as problem:
            raise pb_utils.TritonModelException(_readable(problem)) from None
        return auto_complete_model_config

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load and compile the module."""
        keep_free_memory()
        config = json.loads(args["model_config"])
        self._reporter: Reporter | None = None
        self._families: list[tuple[Any, Any]] = []
        self._lasted = 0.0
        self._name = f"{args['model_name']} version {args['model_version']}"
        folder = _path(args["model_repository"]) / args["model_version"]
        try:
            model = _read_model(config, folder)
            chosen = model.settings
            self._program = Program.load(
                model.wasm,
                name=str(model.path),
                interface=model.interface,
                limits=chosen.limits,
                isolation=chosen.isolation,
                threads=chosen.threads,
                trusted=chosen.trusted,
                on_output=self._line,
                setting_names=TRITON_NAMES,
            )
        except WasmError as problem:
            raise pb_utils.TritonModelException(f"wasm model {self._name}: {_readable(problem)}") from None
        self._inputs = {spec.name: spec for spec in model.interface.inputs}
        self._outputs = model.interface.outputs
        self._plain = all(spec.dims and spec.dtype is not BF16 for spec in self._outputs)
        self._has_cancellation = hasattr(pb_utils.InferenceRequest, "is_cancelled")
        labels = _labels(args)
        self._reporter = Reporter(
            lambda: self._program.stats,
            lambda kind, name, text: self._metric(kind, name, text, labels),
            pb_utils.Logger.log_info,
            f"wasm model {self._name}",
        )
        if config.get("backend") != "python" and not (BACKEND / LIBRARY).exists():
            pb_utils.Logger.log_info(
                f"wasm model {self._name}: runs in Triton's Python backend: {BACKEND / LIBRARY} does not exist"
            )
        if args.get("model_instance_kind") == "GPU":
            pb_utils.Logger.log_info(
                f"wasm model {self._name}: WebAssembly runs on the CPU; its GPU instance group only places the instance"
            )

    def _metric(self, kind: str, name: str, text: str, labels: dict[str, str]) -> Any:
        family_kind = pb_utils.MetricFamily.COUNTER if kind == "counter" else pb_utils.MetricFamily.GAUGE
        family = pb_utils.MetricFamily(name=name, description=text, kind=family_kind)
        metric = family.Metric(labels=labels)
        self._families.append((family, metric))  # a family that is freed frees its metric
        return metric

    def _line(self, stream: str, text: str) -> None:
        if self._reporter is not None:
            self._reporter.line(stream, text)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer every request; a failure affects only its own request."""
        began = time.monotonic()
        waited = self._lasted > WAITED_S
        responses: list[Any] = [None] * len(requests)
        inputs, timeouts, places = [], [], []
        for place, request in enumerate(requests):
            try:
                if waited and self._has_cancellation and request.is_cancelled():
                    raise Cancelled("the request was cancelled before it was run")
                timeouts.append(self._timeout(request))
                inputs.append(self._read(request))
                places.append(place)
            except Exception as problem:  # noqa: BLE001  # an error affects only its own request
                del timeouts[len(inputs) :]
                responses[place] = _error(problem)
        if inputs:
            sent: set[int] = set()
            results = self._program.run_batch(
                inputs,
                timeouts_s=timeouts,
                borrow=True,
                check_cancelled=self._cancellation_check(requests, places),
                on_result=self._send_early(requests, places, sent) if len(inputs) > 1 else None,
            )
            for place, result in zip(places, results):
                if place not in sent:
                    responses[place] = self._response(result)
        self._lasted = time.monotonic() - began
        return responses

    def _send_early(self, requests: list[Any], places: list[int], sent: set[int]) -> Any:
        """A callback that sends the result of a request while others of its batch run, and adds its index to `sent`."""

        def send(index: int, result: Result) -> None:
            place = places[index]
            try:
                sender = requests[place].get_response_sender()
            except pb_utils.TritonModelException:
                return  # before Triton 2.47 only decoupled models have senders: it is returned with the others
            sender.send(self._response(result), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            sent.add(place)

        return send

    def _response(self, result: Result) -> Any:
        if isinstance(result, WasmError):
            return _error(result)
        try:
            return self._respond(result)
        except Exception as error:  # noqa: BLE001  # an error affects only its own request
            return _error(error)

    def _cancellation_check(self, requests: list[Any], places: list[int]) -> Any:
        """A function that raises Cancelled for a request that expired or was cancelled while it waited."""
        if len(places) == 1 or not self._has_cancellation:
            return None
        began = time.monotonic()

        def check_cancelled(index: int) -> None:
            request, elapsed = requests[places[index]], time.monotonic() - began
            if elapsed < WAITED_S:
                return
            if request.timeout() and elapsed * 1e6 > request.timeout():
                raise Cancelled("the request expired before it was run")
            if request.is_cancelled():
                raise Cancelled("the request was cancelled before it was run")

        return check_cancelled

    @staticmethod
    def _timeout(request: Any) -> float | None:
        requested = parse_request_timeout(request.parameters())
        microseconds: int = request.timeout()
        if microseconds <= 0:
            return requested
        return min(microseconds / 1e6, requested) if requested is not None else microseconds / 1e6

    def _read(self, request: Any) -> dict[str, np.ndarray]:
        arrays = {}
        for tensor in request.inputs():
            name = tensor.name()
            spec = self._inputs.get(name)
            if not tensor.is_cpu():
                raise InputError(
                    f"input '{name}' is in GPU memory: set parameters {{ key: \"FORCE_CPU_ONLY_INPUT_TENSORS\""
                    ' value { string_value: "yes" } } in config.pbtxt'
                )
            if spec is None or (spec.dims and spec.dtype is not BF16):
                arrays[name] = tensor.as_numpy()
                continue
            array = read_bf16(tensor.to_dlpack()) if spec.dtype is BF16 else tensor.as_numpy()
            if not spec.dims and array.shape[-1:] == (1,):
                array = array.reshape(array.shape[:-1])  # in Triton a scalar is a vector of one element
            arrays[name] = array
        return arrays

    def _respond(self, result: Mapping[str, np.ndarray]) -> Any:
        if self._plain:
            return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in result.items()])
        return pb_utils.InferenceResponse([self._tensor(spec, result[spec.name]) for spec in self._outputs])

    @staticmethod
    def _tensor(spec: TensorSpec, array: np.ndarray) -> Any:
        if not spec.dims:
            array = array.reshape((*array.shape, 1))
        if spec.dtype is BF16:
            return pb_utils.Tensor.from_dlpack(spec.name, make_bf16(array))
        return pb_utils.Tensor(spec.name, array)

    def finalize(self) -> None:
        """Free everything, including metrics and tensors of errors.

        An object that is freed later, after the stub's shared memory, crashes the stub.
        """
        if self._reporter is not None:
            self._reporter.close()
            self._program.close()
        self.__dict__.clear()
        gc.collect()  # an error refers to the frames that refer to the tensors of its request
        sys.stdout.flush()
