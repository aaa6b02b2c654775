"""The label files of a spec's models: the labels of classes, which the service and its images need next to a module."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .service.settings import ModelSettings

if TYPE_CHECKING:
    from ..spec import PackageSpec
    from ..spec.model_tensors import ModelOutput
    from ..spec.package_spec import WasmBinaryPath


def with_labels(
    model: ModelSettings, spec: PackageSpec, binary: WasmBinaryPath
) -> tuple[ModelSettings, dict[str, Path]]:
    """`model` with the label files that the Triton configuration of its module declares, and the files by their names
    in the directory of the modules."""
    names, files = label_files(model.name, spec.triton_for(binary).outputs)
    return model.model_copy(update={"labels": names}), files


def label_files(model: str, outputs: Iterable[ModelOutput]) -> tuple[dict[str, str], dict[str, Path]]:
    """The names of the label files that `outputs` declare, by output, and the files by these names."""
    declared = {output.name: output.label_filename for output in outputs if output.label_filename is not None}
    names = {output: f"{model}.labels{i}.txt" for i, output in enumerate(declared)}
    return names, {names[output]: path for output, path in declared.items()}
