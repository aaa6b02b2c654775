"""The models that Triton's client examples use, as a model repository of Triton and as the models of a service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.backend.triton import models

from . import example_guests as guests

BATCH: Final = 8
CLASSES: Final = tuple(f"class {number}" for number in range(1001))
SMALL_CLASSES: Final = ("zero", "one", "two", "three")


@dataclass(frozen=True)
class ExampleModel:
    """A model: its module, its scheduler and tensors in `config`, the text of a config.pbtxt, and the same for the
    service in `settings`. `labels` are those of its outputs."""

    module: bytes
    config: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _image(name: str, form: str, dims: str, output: str, classes: int) -> str:
    return (
        f'input {{ name: "{name}" data_type: TYPE_FP32 format: FORMAT_{form} dims: [{dims}] }}\n'
        f'output {{ name: "{output}" data_type: TYPE_FP32 dims: [{classes}] label_filename: "labels.txt" }}\n'
    )


def _sequence(*controls: str) -> str:
    tensors = "".join(
        f'control_input {{ name: "{control}" control {{ kind: CONTROL_SEQUENCE_{control} int32_false_true: [0, 1] }} }}\n'
        for control in ("START", "END")
        if control in controls
    )
    for control, kind in (("CORRID", "TYPE_UINT64"), ("CORRID as text", "TYPE_STRING")):
        if control in controls:
            tensors += (
                f'control_input {{ name: "CORRID" control {{ kind: CONTROL_SEQUENCE_CORRID data_type: {kind} }} }}\n'
            )
    return f"""sequence_batching {{ max_sequence_idle_microseconds: 60000000 {tensors} }}
      instance_group {{ count: 1 kind: KIND_CPU }}
      {models.parameters({"wasm.isolation": "instance"})}
      input {{ name: "INPUT" data_type: TYPE_INT32 dims: [1] }}
      output {{ name: "OUTPUT" data_type: TYPE_INT32 dims: [1] }}
    """


def simple_models() -> dict[str, ExampleModel]:
    """The models without state, images or steps, by name."""
    return {
        "simple": ExampleModel(guests.sum_and_difference("INT32")),
        "simple_int8": ExampleModel(guests.sum_and_difference("INT8")),
        "simple_string": ExampleModel(guests.string_sum_and_difference()),
        "simple_identity": ExampleModel(guests.identity("BYTES")),
        "custom_identity_int32": ExampleModel(guests.identity("INT32")),
    }


def image_models() -> dict[str, ExampleModel]:
    """The image classifiers, and the model that makes images of files."""
    large, small, output = (299, 299, 3), (3, 8, 8), "InceptionV3/Predictions/Softmax"
    return {
        "inception_graphdef": ExampleModel(
            guests.classifier("input", large, output, len(CLASSES)),
            _image("input", "NHWC", "299, 299, 3", output, len(CLASSES)),
            {"formats": {"input": "NHWC"}},
            labels={output: CLASSES},
        ),
        "small_chw": ExampleModel(
            guests.classifier("data", small, "scores", len(SMALL_CLASSES)),
            _image("data", "NCHW", "3, 8, 8", "scores", len(SMALL_CLASSES)),
            {"formats": {"data": "NCHW"}},
            labels={"scores": SMALL_CLASSES},
        ),
        "preprocess_inception": ExampleModel(guests.picture(large)),
    }


def _sequence_settings(*controls: str) -> dict[str, Any]:
    """The settings of the service for `_sequence`."""
    kinds = {"START": "Start", "END": "End"}
    inputs: list[dict[str, Any]] = [{"name": name, "control_type": kinds[name]} for name in kinds if name in controls]
    for control, kind in (("CORRID", "UINT64"), ("CORRID as text", "STRING")):
        if control in controls:
            inputs.append({"name": "CORRID", "control_type": "CorrelationId", "data_type": kind})
    batching = {"max_sequence_idle_microseconds": 60_000_000, "control_inputs": inputs}
    return {"isolation": "instance", "sequence_batching": batching}


def _sequence_model(module: bytes, *controls: str) -> ExampleModel:
    return ExampleModel(module, _sequence(*controls), settings=_sequence_settings(*controls))


def sequence_models() -> dict[str, ExampleModel]:
    """The models with sequences."""
    return {
        "simple_sequence": _sequence_model(guests.sequence(), "START"),
        "simple_dyna_sequence": _sequence_model(guests.sequence(dynamic=True), "START", "END", "CORRID"),
        "simple_string_dyna_sequence": _sequence_model(
            guests.accumulating_sequence(), "START", "END", "CORRID as text"
        ),
    }


ENSEMBLE: Final = "preprocess_inception_ensemble"
ENSEMBLE_CONFIG: Final = f"""platform: "ensemble" max_batch_size: {BATCH}
input {{ name: "INPUT" data_type: TYPE_STRING dims: [1] }}
output {{ name: "CLASSIFICATION" data_type: TYPE_FP32 dims: [1001] label_filename: "labels.txt" }}
ensemble_scheduling {{
  step {{ model_name: "preprocess_inception" model_version: -1
    input_map {{ key: "INPUT" value: "INPUT" }} output_map {{ key: "PIXELS" value: "pixels" }} }}
  step {{ model_name: "inception_graphdef" model_version: -1
    input_map {{ key: "input" value: "pixels" }}
    output_map {{ key: "InceptionV3/Predictions/Softmax" value: "CLASSIFICATION" }} }}
}}
"""


ENSEMBLE_SETTINGS: Final = {
    "name": ENSEMBLE,
    "max_batch_size": BATCH,
    "inputs": [{"name": "INPUT", "data_type": "STRING", "dims": [1]}],
    "outputs": [{"name": "CLASSIFICATION", "data_type": "FP32", "dims": [1001]}],
    "labels": {"CLASSIFICATION": f"{ENSEMBLE}-CLASSIFICATION.txt"},
    "steps": [
        {
            "model_name": "preprocess_inception",
            "input_map": {"INPUT": "INPUT"},
            "output_map": {"PIXELS": "pixels"},
        },
        {
            "model_name": "inception_graphdef",
            "input_map": {"input": "pixels"},
            "output_map": {"InceptionV3/Predictions/Softmax": "CLASSIFICATION"},
        },
    ],
}


def all_models() -> dict[str, ExampleModel]:
    """All models of modules, by name."""
    return {**simple_models(), **image_models(), **sequence_models()}


def write_repository(repository: Path, chosen: Mapping[str, ExampleModel], *, ensemble: bool = False) -> None:
    """Write a model repository of Triton."""
    for name, model in chosen.items():
        config = f"{models.BARE}max_batch_size: {BATCH}\n{model.config}"
        models.write(repository, name, model.module, config)
        for labels in model.labels.values():
            _write_labels(repository / name / "labels.txt", labels)
    if ensemble:
        (repository / ENSEMBLE / "1").mkdir(parents=True)
        (repository / ENSEMBLE / "config.pbtxt").write_text(ENSEMBLE_CONFIG)
        _write_labels(repository / ENSEMBLE / "labels.txt", CLASSES)


def _write_labels(file: Path, labels: Iterable[str]) -> None:
    file.write_text("".join(f"{label}\n" for label in labels))


def write_service(folder: Path, chosen: Mapping[str, ExampleModel]) -> list[dict[str, Any]]:
    """Write the modules and label files, also those of the ensemble; returns the models for ``service.json``."""
    entries = []
    for name, model in chosen.items():
        (folder / f"{name}.wasm").write_bytes(model.module)
        files = {output: f"{name}-{output.replace('/', '-')}.txt" for output in model.labels}
        for output, labels in model.labels.items():
            _write_labels(folder / files[output], labels)
        entries.append({"name": name, "file": f"{name}.wasm", "labels": files, **model.settings})
    _write_labels(folder / f"{ENSEMBLE}-CLASSIFICATION.txt", CLASSES)
    return entries
