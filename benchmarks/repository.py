"""Model repositories for the benchmarks: WebAssembly models and their Python counterparts."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wasmtime

from portalis.examples.catalog import EXAMPLES, FOLDER

from . import plugins

MODELS = Path(__file__).resolve().parent / "models"
_Tensor = tuple[str, str, tuple[int, ...]]


@dataclass(frozen=True)
class Interface:
    """Names, Triton data types and dims of a model's tensors, and its max_batch_size."""

    inputs: tuple[_Tensor, ...]
    outputs: tuple[_Tensor, ...]
    max_batch: int

    def section(self) -> dict[str, Any]:
        """The interface as keys of a module's ``portalis`` section, as the service and `Program.load` accept it."""
        sides = {"inputs": self.inputs, "outputs": self.outputs}
        section: dict[str, Any] = {
            side: [{"name": name, "dtype": dtype, "dims": list(dims)} for name, dtype, dims in tensors]
            for side, tensors in sides.items()
        }
        return {**section, "max_batch_size": self.max_batch}


ROWS = Interface((("x", "FP32", (-1,)),), (("y", "FP32", (-1,)),), 64)
IMAGE = Interface((("image", "UINT8", (-1, -1, 3)),), (("pixels", "FP32", (3, 224, 224)),), 16)
TEXT = Interface(
    (("text", "STRING", (-1,)),), (("input_ids", "INT64", (-1, -1)), ("attention_mask", "INT64", (-1, -1))), 0
)


@dataclass(frozen=True)
class Model:
    """A model of a repository: its configuration, and the files of its only version."""

    name: str
    backend: str
    interface: Interface
    files: Mapping[str, bytes | Path]
    settings: Mapping[str, str] = field(default_factory=dict)
    batching: bool = False

    @property
    def config(self) -> str:
        """The content of its ``config.pbtxt``."""
        lines = [f'backend: "{self.backend}"', f"max_batch_size: {self.interface.max_batch}"]
        for side, tensors in (("input", self.interface.inputs), ("output", self.interface.outputs)):
            lines += [f'{side} {{ name: "{n}" data_type: TYPE_{t} dims: {list(d)} }}' for n, t, d in tensors]
        lines += ["dynamic_batching { }"] if self.batching else []
        lines += [f'parameters {{ key: "{k}" value {{ string_value: "{v}" }} }}' for k, v in self.settings.items()]
        return "\n".join(lines) + "\n"

    def write(self, repository: Path) -> None:
        """Write its directory into `repository`."""
        version = repository / self.name / "1"
        version.mkdir(parents=True)
        (repository / self.name / "config.pbtxt").write_text(self.config)
        for name, content in self.files.items():
            if isinstance(content, Path):
                shutil.copyfile(content, version / name)
            else:
                (version / name).write_bytes(content)


def wasm(name: str, module: bytes | Path, interface: Interface, *, batching: bool = False, **settings: str) -> Model:
    """A WebAssembly model. `settings` are parameters without the prefix ``wasm.``; the default engine is native."""
    chosen = {f"wasm.{key}": value for key, value in {"engine": "native", **settings}.items()}
    return Model(name, "wasm", interface, {"model.wasm": module}, chosen, batching)


def python(name: str, source: Path, interface: Interface, *, batching: bool = False) -> Model:
    """A model of Triton's Python backend, with the ``vocab.txt`` next to its source, if any."""
    files = {"model.py": source} | {p.name: p for p in source.parent.glob("vocab.txt")}
    return Model(name, "python", interface, files, {}, batching)


def identity() -> bytes:
    """The WebAssembly counterpart of models/identity_python.py."""
    return bytes(wasmtime.wat2wasm(plugins.IDENTITY))


def pair(name: str) -> list[Model]:
    """A WebAssembly model and its Python counterpart, each without and with dynamic batching."""
    module = identity() if name == "identity" else EXAMPLES[name].module
    source = MODELS / "identity_python.py" if name == "identity" else FOLDER / name / "model.py"
    interface = _INTERFACES[name]
    models = []
    for suffix in ("", "_batched")[: 1 + bool(interface.max_batch)]:
        models.append(wasm(f"{name}{suffix}", module, interface, batching=bool(suffix)))
        models.append(python(f"{name}_python{suffix}", source, interface, batching=bool(suffix)))
    return models


_INTERFACES = {"identity": ROWS, "softmax": ROWS, "image_preprocess": IMAGE, "wordpiece": TEXT}


def write(repository: Path, models: Iterable[Model]) -> None:
    """Write all `models` into `repository`."""
    for model in models:
        model.write(repository)
