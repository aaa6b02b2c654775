"""Label files and formats of images in the Triton configuration of a spec's models, as settings of the service. Images
contain the label files next to the modules."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .model_sequences import sequence_settings
from .service.settings import ModelSettings

if TYPE_CHECKING:
    from ..spec import PackageSpec
    from ..spec.model_tensors import ModelInput, ModelOutput
    from ..spec.package_spec import WasmBinaryPath


def with_labels(
    model: ModelSettings, spec: PackageSpec, binary: WasmBinaryPath
) -> tuple[ModelSettings, dict[str, Path]]:
    """`model` with the label files, the formats of images and the sequences that the Triton configuration of its module
    declares, and the files by their names in the directory of the modules."""
    config = spec.triton_for(binary)
    names, files = label_files(model.name, config.outputs)
    formats = {each.name: str(each.format) for each in config.inputs if is_image(each)}
    return model.model_copy(update={"labels": names, "formats": formats, **sequence_settings(config)}), files


def is_image(tensor: ModelInput) -> bool:
    """Whether the format of an input is that of an image."""
    return tensor.format is not None and tensor.format.value != "Linear"


def label_files(model: str, outputs: Iterable[ModelOutput]) -> tuple[dict[str, str], dict[str, Path]]:
    """The names of the label files that `outputs` declare, by output, and the files by these names."""
    declared = {output.name: output.label_filename for output in outputs if output.label_filename is not None}
    names = {output: f"{model}.labels{i}.txt" for i, output in enumerate(declared)}
    return names, {names[output]: path for output, path in declared.items()}
