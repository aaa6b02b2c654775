"""The files of a model: its configuration, its version's folder, and what the configuration refers to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from .. import wasm_backend
from ..output import OutputTree, Source
from ..spec.model_tensors import ModelOutput
from ..spec.triton import Ensemble, TritonConfiguration, TritonPlatform
from .pbtxt import CONFIG_FILE, ModelConfig, to_text

MODULE_FILE = "model.wasm"
# An ensemble has nothing in its version's folder, but Triton wants the folder, and git and archives drop empty ones.
PLACEHOLDER = ".keep"


def add_model(
    tree: OutputTree, folder: PurePosixPath, config: ModelConfig, given: TritonConfiguration, module: Source
) -> PurePosixPath:
    """Put a model that runs `module` into `folder`; the path of the module in the tree."""
    version = folder / str(given.model_version)
    tree.text(folder / CONFIG_FILE, to_text(config))
    placed = tree.add(version / MODULE_FILE, module)
    if given.platform is TritonPlatform.Python:
        tree.text(version / "model.py", wasm_backend.MODEL_PY)
        for relative, file in wasm_backend.island_files():
            tree.add(version / wasm_backend.ISLAND_NAME / relative, Source(path=file))
    _add_beside(tree, [*_labels(folder, given.outputs), *_data(folder, given)])
    return placed


def add_ensemble(tree: OutputTree, folder: PurePosixPath, config: ModelConfig, given: Ensemble) -> None:
    """Put an ensemble into `folder`."""
    tree.text(folder / CONFIG_FILE, to_text(config))
    tree.add(folder / str(given.version) / PLACEHOLDER, b"")
    _add_beside(tree, _labels(folder, given.outputs))


def _add_beside(tree: OutputTree, files: Iterable[tuple[PurePosixPath, Path]]) -> None:
    """What the configuration refers to by a bare name; one file may serve several tensors."""
    for path, file in dict(files).items():
        tree.add(path, Source(path=file))


def _labels(folder: PurePosixPath, outputs: Iterable[ModelOutput]) -> Iterator[tuple[PurePosixPath, Path]]:
    for output in outputs:
        if output.label_filename is not None:
            yield folder / output.label_filename.name, output.label_filename


def _data(folder: PurePosixPath, given: TritonConfiguration) -> Iterator[tuple[PurePosixPath, Path]]:
    """Tensors' data, in the folders where Triton looks for it."""
    for sample in given.warmup:
        for tensor in sample.inputs.values():
            if tensor.input_data_file is not None:
                yield folder / "warmup" / tensor.input_data_file.name, tensor.input_data_file
    for state in given.sequence_batching.states if given.sequence_batching is not None else ():
        if state.initial_state_file is not None:
            yield folder / "initial_state" / state.initial_state_file.name, state.initial_state_file


def add_kept_versions(tree: OutputTree, folder: PurePosixPath, earlier: Path, version: int) -> list[int]:
    """Take over the other versions that the model has in `earlier`, an output directory; their numbers."""
    kept = []
    for each in sorted((earlier / folder).glob("*"), key=lambda path: path.name):
        name = each.name
        number = name.isascii() and name.isdecimal() and not name.startswith("0")
        if not each.is_dir() or not number or int(name) == version:
            continue
        kept.append(int(name))
        for file in sorted(path for path in each.rglob("*") if path.is_file()):
            tree.add(folder / name / file.relative_to(each), Source(path=file))
    return sorted(kept)
