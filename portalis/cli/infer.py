"""`portalis infer`: runs one inference from the shell, on a Triton server or in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import PortalisError, UsageError
from ..escaping import printable

if TYPE_CHECKING:
    from ..backend import Limits
    from ..backend.interface.interface import TensorSpec
    from ..tensor_input import Array
    from ..triton_client import InferenceResult


def infer(
    model: Annotated[str, typer.Option("--model", "-m", help="The model's name on the server.")] = "",
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="NAME=VALUE", help="JSON, text, or @file: .npy, .json, an image, any bytes."
        ),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="NAME=@FILE",
            help="Save an output instead of printing it: as .npy, or one BYTES element as raw bytes.",
        ),
    ] = None,
    url: Annotated[str, typer.Option(help="The server's gRPC address.")] = "127.0.0.1:8001",
    model_version: Annotated[str, typer.Option(help="The model's version; the server chooses by default.")] = "",
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", metavar="NAME=VALUE", help="A request parameter.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the server.", min=0.001)] = 60.0,
    module: Annotated[
        Path | None, typer.Option("--module", help="Run this .wasm file in this process, without a server.")
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="NAME=VALUE", help="A limit for --module, for example timeout_s=60."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outputs as JSON.")] = False,
) -> None:
    """Send one request and print the outputs.

    Shapes and data types come from the model; a missing batch dimension is added. The output of --json is also accepted
    as VALUE; BYTES that are not UTF-8 are base64.

    Examples:

    portalis infer -m softmax -i 'x=[1,2,3]'

    portalis infer -m image_preprocess -i image=@photo.jpg -o pixels=@pixels.npy

    portalis infer --module softmax.wasm -i 'x=[1,2,3]' --json
    """
    if bool(model) == (module is not None):
        raise UsageError("no model given: use --model NAME for a server, or --module FILE.wasm")
    targets = _targets(outputs or [])
    if module is not None:
        if parameters or model_version:
            raise UsageError("--parameter and --model-version require a server; --module runs without one")
        answer, name = _locally(module, inputs or [], targets, _limits(limits or [])), str(module)
    elif limits:
        raise UsageError("--limit requires --module; the limits of a server are in its configuration")
    else:
        answer, name = _remotely(url, model, model_version, inputs or [], targets, parameters or [], timeout), model
    _output(name, answer, targets, as_json=as_json)


def _remotely(
    url: str,
    model: str,
    version: str,
    inputs: Sequence[str],
    targets: Mapping[str, Path],
    parameters: Sequence[str],
    timeout_s: float,
) -> InferenceResult:
    from ..triton_client import RemoteModel

    parsed = _parameters(parameters)
    with RemoteModel(url, model, version=version, timeout_s=timeout_s) as remote:
        _check_targets(model, remote.outputs, targets)
        arrays = _read_inputs(model, remote.inputs, inputs, batches=remote.max_batch_size > 0)
        return remote.infer(arrays, parameters=parsed)


def _locally(module: Path, inputs: Sequence[str], targets: Mapping[str, Path], limits: Limits) -> InferenceResult:
    import time

    from ..backend import Program
    from ..backend.interface.dtypes import bf16_to_f32, f32_to_bf16
    from ..backend.setting_names import INFER_NAMES
    from ..interface_check import module_interface
    from ..triton_client import InferenceResult
    from .progress import compile_note

    interface = module_interface(module, limits)  # arguments are checked before anything is compiled
    _check_targets(str(module), interface.outputs, targets)
    arrays = _read_inputs(str(module), interface.inputs, inputs, batches=interface.max_batch_size > 0)
    for spec in interface.inputs:
        if spec.dtype.name == "BF16" and spec.name in arrays:
            arrays[spec.name] = f32_to_bf16(arrays[spec.name])
    with compile_note(module):
        program = Program.load(module, limits=limits, setting_names=INFER_NAMES)
    with program:
        began = time.perf_counter()
        results = dict(program.run(arrays))
        seconds = time.perf_counter() - began
    datatypes = {spec.name: spec.dtype.name for spec in interface.outputs}
    for name, datatype in datatypes.items():
        if datatype == "BF16" and name in results:
            results[name] = bf16_to_f32(results[name])
    return InferenceResult(outputs=results, datatypes=datatypes, seconds=seconds)


def _check_targets(model: str, specs: Sequence[TensorSpec], targets: Mapping[str, Path]) -> None:
    from ..tensor_output import check_output_path

    datatypes = {spec.name: spec.dtype.name for spec in specs}
    unknown = sorted(set(targets) - set(datatypes))
    if unknown:
        raise UsageError(f"unknown output {', '.join(unknown)}: {model} has {', '.join(datatypes)}")
    for name, path in targets.items():
        check_output_path(name, datatypes[name], path)


def _read_inputs(
    model: str, specs: Sequence[TensorSpec], assignments: Sequence[str], *, batches: bool
) -> dict[str, Array]:
    from ..tensor_input import read_tensor, split_assignment

    by_name = {spec.name: spec for spec in specs}
    values: dict[str, str] = {}
    for text in assignments:
        name, value = split_assignment(text, option="--input", may_be_empty=True)
        if name not in by_name:
            raise UsageError(f"{model} has no input {name!r}", remediation=_input_list(specs, batches=batches))
        if name in values:
            raise UsageError(f"input {name!r} is given twice")
        values[name] = value
    missing = [spec.name for spec in specs if spec.name not in values and not spec.optional]
    if missing:
        raise UsageError(
            f"{model} also needs the input {', '.join(missing)}", remediation=_input_list(specs, batches=batches)
        )
    arrays = {name: read_tensor(by_name[name], value, batches=batches) for name, value in values.items()}
    return _even_batches(arrays) if batches else arrays


def _even_batches(arrays: dict[str, Array]) -> dict[str, Array]:
    """Repeat single rows up to the largest batch, because Triton requires the same number of rows in every input."""
    rows = max((array.shape[0] for array in arrays.values()), default=1)
    return {name: array.repeat(rows, axis=0) if array.shape[0] == 1 else array for name, array in arrays.items()}


def _input_list(specs: Sequence[TensorSpec], *, batches: bool) -> str:
    from ..tensor_input import shape_text

    lines = [
        f"--input {spec.name}=…  {spec.dtype} {shape_text(([-1] if batches else []) + list(spec.dims))}"
        + (" (optional)" if spec.optional else "")
        for spec in specs
    ]
    return "\n".join(["Inputs of the model:", *lines])


def _parameters(given: Sequence[str]) -> dict[str, str | int | bool]:
    from ..tensor_input import split_assignment

    parameters: dict[str, str | int | bool] = {}
    for text in given:
        name, value = split_assignment(text, option="--parameter", may_be_empty=True)
        try:
            parsed: Any = json.loads(value)
        except json.JSONDecodeError:
            parsed = value
        parameters[name] = parsed if isinstance(parsed, (str, int, bool)) else value
    return parameters


def _limits(given: Sequence[str]) -> Limits:
    """The default limits, with those of --limit. Raises UsageError."""
    from ..backend import Limits, SettingsError
    from ..problems import did_you_mean
    from ..tensor_input import split_assignment

    known = tuple(Limits.__dataclass_fields__)
    changed: dict[str, int | float] = {}
    for text in given:
        name, value = split_assignment(text, option="--limit")
        if name not in known:
            raise UsageError(f"--limit {name}: unknown limit", remediation=did_you_mean(name, known))
        try:
            changed[name] = float(value) if name.endswith("_s") else int(value)
        except ValueError:
            kind = "seconds" if name.endswith("_s") else "a whole number"
            raise UsageError(
                f"--limit {text}: expected {kind}", remediation=f"For example --limit {name}=60."
            ) from None
    try:
        return Limits(**changed)  # type: ignore[arg-type]
    except SettingsError as error:
        raise UsageError(f"--limit: {error}", remediation="Use a value within these bounds.") from None


def _targets(given: Sequence[str]) -> dict[str, Path]:
    from ..tensor_input import split_assignment

    targets: dict[str, Path] = {}
    for text in given:
        name, value = split_assignment(text, option="--output")
        path = Path(value.removeprefix("@"))
        if not path.name:
            raise UsageError(f"--output {text!r} does not name a file", remediation=f"--output {name}=@{name}.npy")
        if name in targets:
            raise UsageError(f"output {name!r} is given twice")
        if path in targets.values():
            raise UsageError(f"{path} is used for two outputs")
        targets[name] = path
    return targets


def _output(model: str, answer: InferenceResult, targets: Mapping[str, Path], *, as_json: bool) -> None:
    from ..tensor_input import shape_text
    from ..tensor_output import check_savable, format_tensor, save_tensor, tensor_json

    for name, path in targets.items():
        if name not in answer.outputs:
            raise PortalisError(f"{model} did not return the output {name!r}")
        check_savable(name, answer.outputs[name], path)
    for name, path in targets.items():
        save_tensor(answer.outputs[name], path)
    if as_json:
        tensors = [
            {"name": name, "datatype": answer.datatypes[name], "shape": list(array.shape), "file": str(targets[name])}
            if name in targets
            else tensor_json(name, answer.datatypes[name], array)
            for name, array in answer.outputs.items()
        ]
        print(json.dumps({"model": model, "seconds": round(answer.seconds, 6), "outputs": tensors}))
        return
    for name, array in answer.outputs.items():
        head = printable(f"{name}  {answer.datatypes[name]} {shape_text(array.shape)}")
        print(f"{head}  saved to {targets[name]}" if name in targets else f"{head}\n{format_tensor(array)}")
    print(f"in {answer.seconds * 1000:.2f} ms")
