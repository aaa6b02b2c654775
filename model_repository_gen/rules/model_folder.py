"""What has to lie in a model's folder: versions that Triton will serve, and the files that the configuration names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ...backend.constants import DATA_TYPES
from ..pbtxt import ModelConfig
from .rule import ENSEMBLE, ENVIRONMENT, MODEL_DIRECTORY, PYTHON_BASED, Problems, RuleContext, error, warning

NOT_VERSIONS = ("warmup", "initial_state", "configs")
DEFAULT_FILES = {"wasm": "model.wasm", "python": "model.py"}
# the names from which Triton derives a backend that the configuration does not name
MODEL_FILES = frozenset(
    ("model.py", "model.onnx", "model.plan", "model.pt", "model.pt2", "model.xml", "model.graphdef", "model.savedmodel")
)
# C's strtoll, with which Triton reads a folder's name: spaces before, a sign, and whatever follows the digits
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_MAX_VERSION = 2**63 - 1
_SIZES = {f"TYPE_{row.name}": row.size for row in DATA_TYPES.values() if row.size}
_LENGTH = 4  # bytes of the little-endian length before each element of a TYPE_STRING


def check_model_folder(config: ModelConfig, context: RuleContext) -> Problems:
    yield from _policy(config)
    if context.folder is None:
        return
    yield from _version_names(context.folder)
    yield from _versions(config, context.folder)
    yield from _environment(config, context.folder)


def version_folders(folder: Path) -> list[Path]:
    """The folders in a model's folder that Triton may take for versions, those with impossible names included."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in NOT_VERSIONS)


def _number(name: str) -> int | None:
    """The version that Triton reads from a folder's name; None for a folder that it leaves alone."""
    found = _NUMBER.match(name)
    return None if found is None or (len(name) > 1 and name[0] == "0") else int(found[1])


def served_versions(config: ModelConfig, folder: Path) -> list[int]:
    """The versions that Triton loads under the version policy, ascending. The policy's default is the latest one."""
    there = {number for path in version_folders(folder) if (number := _number(path.name)) is not None}
    policy = config.version_policy
    match policy.WhichOneof("policy_choice"):
        case "specific":
            return sorted(there & set(policy.specific.versions))
        case "latest":
            return sorted(sorted(there, reverse=True)[: policy.latest.num_versions])
        case "all":
            return sorted(there)
        case _:
            # an empty version_policy { } is not the default: it serves all
            return sorted(there) if config.HasField("version_policy") else sorted(there)[-1:]


def _policy(config: ModelConfig) -> Problems:
    match config.version_policy.WhichOneof("policy_choice"):
        case "latest" if config.version_policy.latest.num_versions == 0:
            yield error("version_policy.latest.num_versions", "it serves no version", "Set 1 or more.")
        case "specific" if not config.version_policy.specific.versions:
            yield error("version_policy.specific.versions", "it serves no version", "List one or more versions.")


def _version_names(folder: Path) -> Problems:
    for path in version_folders(folder):
        name, number = path.name, _number(path.name)
        if name[0] == "0" and len(name) > 1 and name.isdigit():
            said = f"version folder {name!r} has leading zeros, so Triton leaves it out"
            yield warning(name, said, f"Call it {name.lstrip('0') or '0'}.")
        elif number is None or name == str(number):
            if number is not None and not 0 <= number <= _MAX_VERSION:
                # beyond 64 bits it is worse than refused: 2.51 aborts, and no model of the server is served
                yield error(name, f"version folder {name!r} is out of range", f"Use 1 to {_MAX_VERSION}.")
        elif number < 0 or number > _MAX_VERSION or not (folder / str(number)).is_dir():
            said = f"Triton takes folder {name!r} for version {number} and looks for its files in {number}/"
            yield error(name, said, "Use the plain number as the name of a version.")
        else:
            yield warning(name, f"Triton takes folder {name!r} for version {number} as well", "Rename or remove it.")


def _versions(config: ModelConfig, folder: Path) -> Problems:
    served = served_versions(config, folder)
    missing = sorted(set(config.version_policy.specific.versions) - set(served))
    if not served:
        said = "no version of it would be served"
        more = " (Git and archives drop an empty folder: keep a file in it)" if _is_ensemble(config) else ""
        yield error("version_policy", said, f"Add a version folder, such as 1{more}, or change version_policy.")
    elif missing:
        said = f"version {missing[0]} is listed, but there is no folder {missing[0]}"
        yield warning("version_policy.specific.versions", said, "Add the version, or take it off the list.")
    if _is_ensemble(config):
        return
    yield from _model_files(config, [folder / str(each) for each in served if (folder / str(each)).is_dir()])


def _is_ensemble(config: ModelConfig) -> bool:
    return config.platform == ENSEMBLE or bool(config.HasField("ensemble_scheduling"))


def _model_files(config: ModelConfig, versions: Iterable[Path]) -> Problems:
    named, backend = config.default_model_filename, config.backend or "python"
    file = named or DEFAULT_FILES.get(backend, "")
    if config.backend == "python" and named and not named.endswith(".py"):
        yield error("default_model_filename", f"{named!r} is not a Python file", "Name a file that ends with .py.")
    if config.backend in PYTHON_BASED and config.cc_model_filenames:
        said = f"backend {config.backend!r} loads one file whatever the GPU, and leaves cc_model_filenames out"
        yield warning("cc_model_filenames", said, "Use default_model_filename.")
    for version in versions:
        where = f"{version.name}/{file}"
        if not file or (version / file).exists() or (not config.backend and not named):
            continue
        if backend in DEFAULT_FILES:
            yield error(where, "the model's file is missing", "Put it there, or name it with default_model_filename.")
        else:
            said = f"the file that default_model_filename names is missing; backend {backend!r} may want it"
            yield warning(where, said, "Put it there, or leave default_model_filename out.")


def _environment(config: ModelConfig, folder: Path) -> Problems:
    if config.backend not in PYTHON_BASED or ENVIRONMENT not in config.parameters:
        return
    value = config.parameters[ENVIRONMENT].string_value
    if value.startswith(MODEL_DIRECTORY) and not (folder / value.removeprefix(MODEL_DIRECTORY).lstrip("/")).exists():
        said = f"{value} is not there"
        yield error(f"parameters[{ENVIRONMENT}]", said, "Put the packed environment there, or leave the parameter out.")


def missing_file(model: Path, folder: Path, name: str, where: str, what: str) -> Problems:
    """The problem of a file `name` in `folder` that is not there, or not in the folder of the `model`."""
    path = folder / name
    if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(model)):
        said = f"{what} {name!r} lies outside the model's folder"
        yield error(where, said, f"Put it into {_inside(model, folder)} and name it from there.")
    elif not path.is_file():
        yield error(where, f"{what} {name!r} is missing", f"Put it into {_inside(model, folder)}.")


def _inside(model: Path, folder: Path) -> str:
    return "the model's folder" if folder == model else f"the model's folder {folder.relative_to(model)}/"


def data_size(data_type: str, count: int) -> int | None:
    """The bytes of `count` elements; None for TYPE_STRING, where Triton takes the file as it is."""
    size = _SIZES.get(data_type)
    return None if size is None else size * count


def short_file(path: Path, wanted: int | None, where: str) -> Problems:
    """The problem of a file with less than the `wanted` bytes; Triton ignores what a file has beyond them."""
    have = path.stat().st_size
    if wanted is not None and have < wanted:
        said = f"{path.name} has {have} bytes, and the tensor takes {wanted}"
        yield error(where, said, "Give it the data of one whole tensor, little-endian, in C order, without the batch.")


def count_strings(path: Path) -> int | None:
    """How many elements of TYPE_STRING a file holds in Triton's serialisation; None when it does not end with one."""
    data, position, count = path.read_bytes(), 0, 0
    while position + _LENGTH <= len(data):
        position += _LENGTH + int.from_bytes(data[position : position + _LENGTH], "little")
        count += 1
    return count if position == len(data) else None
