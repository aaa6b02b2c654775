"""Writes the files of a model: its configuration, its version, and the files that the configuration names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from .. import wasm_backend
from ..output import CopiedFile, OutputTree
from ..spec.model_tensors import ModelOutput
from ..spec.triton import Ensemble, TritonConfiguration, TritonPlatform
from .pbtxt import CONFIG_FILE, ModelConfig, to_text

MODULE_FILE = "model.wasm"
# An ensemble needs a version directory without any file, but Git and archives drop empty directories.
_PLACEHOLDER = ".keep"


def add_model(
    tree: OutputTree, folder: PurePosixPath, config: ModelConfig, settings: TritonConfiguration, module: CopiedFile
) -> PurePosixPath:
    """Add a model that runs `module` to `folder`; returns the path of the module in the tree."""
    version = folder / str(settings.model_version)
    tree.text(folder / CONFIG_FILE, to_text(config))
    module_path = tree.add(version / MODULE_FILE, module)
    if settings.platform is TritonPlatform.Python:
        tree.text(version / "model.py", wasm_backend.MODEL_PY)
        for relative, file in wasm_backend.island_files():
            tree.add(version / wasm_backend.ISLAND_NAME / relative, CopiedFile(path=file))
    _add_named_files(tree, [*_labels(folder, settings.outputs), *_data(folder, settings)])
    return module_path


def add_ensemble(tree: OutputTree, folder: PurePosixPath, config: ModelConfig, ensemble: Ensemble) -> None:
    """Add an ensemble to `folder`."""
    tree.text(folder / CONFIG_FILE, to_text(config))
    tree.add(folder / str(ensemble.version) / _PLACEHOLDER, b"")
    _add_named_files(tree, _labels(folder, ensemble.outputs))


def _add_named_files(tree: OutputTree, files: Iterable[tuple[PurePosixPath, Path]]) -> None:
    """Add the files that the configuration refers to by name; several tensors can use one file."""
    for path, file in dict(files).items():
        tree.add(path, CopiedFile(path=file))


def _labels(folder: PurePosixPath, outputs: Iterable[ModelOutput]) -> Iterator[tuple[PurePosixPath, Path]]:
    for output in outputs:
        if output.label_filename is not None:
            yield folder / output.label_filename.name, output.label_filename


def _data(folder: PurePosixPath, settings: TritonConfiguration) -> Iterator[tuple[PurePosixPath, Path]]:
    """Files with data of tensors, in the directories in which Triton looks for them."""
    for sample in settings.warmup:
        for tensor in sample.inputs.values():
            if tensor.input_data_file is not None:
                yield folder / "warmup" / tensor.input_data_file.name, tensor.input_data_file
    for state in settings.sequence_batching.states if settings.sequence_batching is not None else ():
        if state.initial_state_file is not None:
            yield folder / "initial_state" / state.initial_state_file.name, state.initial_state_file


def add_kept_versions(tree: OutputTree, folder: PurePosixPath, earlier: Path, version: int) -> list[int]:
    """Copy the model's other versions from `earlier`, a previous output directory; returns their numbers."""
    kept = []
    for each in sorted((earlier / folder).glob("*"), key=lambda path: path.name):
        name = each.name
        is_version = name.isascii() and name.isdecimal() and not name.startswith("0")
        if not each.is_dir() or not is_version or int(name) == version:
            continue
        kept.append(int(name))
        for file in sorted(path for path in each.rglob("*") if path.is_file()):
            tree.add(folder / name / file.relative_to(each), CopiedFile(path=file))
    return sorted(kept)
