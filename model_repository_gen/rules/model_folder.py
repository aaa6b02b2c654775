"""Rules for a model's directory: the versions that Triton serves, and the files that the configuration names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ...backend.constants import DATA_TYPES
from ..pbtxt import ModelConfig
from .rule import (
    ENSEMBLE,
    ENVIRONMENT,
    MODEL_DIRECTORY,
    PYTHON_BASED,
    Problems,
    RuleContext,
    error,
    warning,
)

NOT_VERSIONS = ("warmup", "initial_state", "configs")
MODEL_FILES = frozenset(
    ("model.py", "model.onnx", "model.plan", "model.pt", "model.pt2", "model.xml", "model.graphdef", "model.savedmodel")
)
"""The file names from which Triton derives a backend if the configuration names none."""
_DEFAULT_FILES = {"wasm": "model.wasm", "python": "model.py"}
# Triton parses a directory's name with C's strtoll: leading spaces, a sign, and any characters after the digits
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_MAX_VERSION = 2**63 - 1
_ELEMENT_SIZES = {f"TYPE_{row.name}": row.size for row in DATA_TYPES.values() if row.size}
_LENGTH_SIZE = 4  # bytes of the little-endian length before each element of a TYPE_STRING


def check_model_folder(config: ModelConfig, context: RuleContext) -> Problems:
    """Problems of the version policy and, if the model's directory is known, of its versions and files."""
    yield from _policy(config)
    if context.folder is None:
        return
    yield from _version_names(context.folder)
    yield from _versions(config, context.folder)
    yield from _environment(config, context.folder)


def version_folders(folder: Path) -> list[Path]:
    """The directories that Triton could interpret as versions, including those with invalid names."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in NOT_VERSIONS)


def _number(name: str) -> int | None:
    """The version that Triton reads from a directory's name; None for a directory that it ignores."""
    match = _NUMBER.match(name)
    return None if match is None or (len(name) > 1 and name[0] == "0") else int(match[1])


def served_versions(config: ModelConfig, folder: Path) -> list[int]:
    """The versions that Triton loads by the version policy, ascending. The default policy serves the latest version."""
    versions = {number for path in version_folders(folder) if (number := _number(path.name)) is not None}
    policy = config.version_policy
    match policy.WhichOneof("policy_choice"):
        case "specific":
            return sorted(versions & set(policy.specific.versions))
        case "latest":
            return sorted(sorted(versions, reverse=True)[: policy.latest.num_versions])
        case "all":
            return sorted(versions)
        case _:
            # an empty version_policy { } is not the default: it serves all versions
            return sorted(versions) if config.HasField("version_policy") else sorted(versions)[-1:]


def _policy(config: ModelConfig) -> Problems:
    match config.version_policy.WhichOneof("policy_choice"):
        case "latest" if config.version_policy.latest.num_versions == 0:
            yield error("version_policy.latest.num_versions", "the policy serves no version", "Set 1 or more.")
        case "specific" if not config.version_policy.specific.versions:
            yield error("version_policy.specific.versions", "the policy serves no version", "List one or more.")


def _version_names(folder: Path) -> Problems:
    for path in version_folders(folder):
        name, number = path.name, _number(path.name)
        if name[0] == "0" and len(name) > 1 and name.isdigit():
            message = f"Triton ignores version directory {name!r} because of its leading zeros"
            yield warning(name, message, f"Rename it to {name.lstrip('0') or '0'}.")
        elif number is None or name == str(number):
            if number is not None and not 0 <= number <= _MAX_VERSION:
                # worse than a rejection: for a number of more than 64 bits, 2.51 aborts, and no model is served
                yield error(name, f"version directory {name!r} is out of range", f"Use 1 to {_MAX_VERSION}.")
        elif number < 0 or number > _MAX_VERSION or not (folder / str(number)).is_dir():
            message = f"Triton interprets directory {name!r} as version {number} and looks for its files in {number}/"
            yield error(name, message, "Name a version's directory by its plain number.")
        else:
            message = f"Triton interprets directory {name!r} as version {number}, too"
            yield warning(name, message, "Rename or remove it.")


def _versions(config: ModelConfig, folder: Path) -> Problems:
    served = served_versions(config, folder)
    missing = sorted(set(config.version_policy.specific.versions) - set(served))
    if not served:
        message = "no version of the model would be served"
        note = " (Git and archives drop an empty directory: keep a file in it)" if _is_ensemble(config) else ""
        remediation = f"Add a version directory, for example 1{note}, or change version_policy."
        yield error("version_policy", message, remediation)
    elif missing:
        message = f"version {missing[0]} is listed, but directory {missing[0]} is missing"
        yield warning("version_policy.specific.versions", message, "Add the version, or remove it from the list.")
    if _is_ensemble(config):
        return
    yield from _model_files(config, [folder / str(each) for each in served if (folder / str(each)).is_dir()])


def _is_ensemble(config: ModelConfig) -> bool:
    return config.platform == ENSEMBLE or bool(config.HasField("ensemble_scheduling"))


def _model_files(config: ModelConfig, versions: Iterable[Path]) -> Problems:
    named, backend = config.default_model_filename, config.backend or "python"
    file = named or _DEFAULT_FILES.get(backend, "")
    if config.backend == "python" and named and not named.endswith(".py"):
        yield error("default_model_filename", f"expected a Python file, got {named!r}", "Name a file that ends in .py.")
    if config.backend in PYTHON_BASED and config.cc_model_filenames:
        message = f"backend {config.backend!r} ignores cc_model_filenames: it loads the same file for every GPU"
        yield warning("cc_model_filenames", message, "Use default_model_filename.")
    for version in versions:
        where = f"{version.name}/{file}"
        if not file or (version / file).exists() or (not config.backend and not named):
            continue
        if backend in _DEFAULT_FILES:
            yield error(where, "the model's file is missing", "Add it, or name it with default_model_filename.")
        else:
            message = f"the file that default_model_filename names is missing; backend {backend!r} might require it"
            yield warning(where, message, "Add it, or remove default_model_filename.")


def _environment(config: ModelConfig, folder: Path) -> Problems:
    if config.backend not in PYTHON_BASED or ENVIRONMENT not in config.parameters:
        return
    value = config.parameters[ENVIRONMENT].string_value
    path = folder / value.removeprefix(MODEL_DIRECTORY).lstrip("/")
    if value.startswith(MODEL_DIRECTORY) and not path.exists():
        remediation = "Put the packed environment there, or remove the parameter."
        yield error(f"parameters[{ENVIRONMENT}]", f"{value} does not exist", remediation)


def missing_file(model: Path, folder: Path, name: str, where: str, what: str) -> Problems:
    """The problem of a file `name` that is missing in `folder`, or is outside the directory of the `model`.

    `what` describes the file in the message ("label file").
    """
    path = folder / name
    if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(model)):
        remediation = f"Put it into {_location(model, folder)} and name it relative to that directory."
        yield error(where, f"{what} {name!r} is outside the model's directory", remediation)
    elif not path.is_file():
        yield error(where, f"{what} {name!r} is missing", f"Put it into {_location(model, folder)}.")


def _location(model: Path, folder: Path) -> str:
    return "the model's directory" if folder == model else f"the model's directory {folder.relative_to(model)}/"


def data_size(data_type: str, count: int) -> int | None:
    """The size of `count` elements, in bytes; None for TYPE_STRING, whose files Triton passes on unchecked."""
    size = _ELEMENT_SIZES.get(data_type)
    return None if size is None else size * count


def short_file(path: Path, expected: int | None, where: str) -> Problems:
    """The problem of a file with fewer than `expected` bytes; Triton ignores the bytes after them."""
    size = path.stat().st_size
    if expected is not None and size < expected:
        message = f"expected {expected} bytes for the tensor, got {size} in {path.name}"
        yield error(where, message, "Write one whole tensor: little-endian, in C order, without the batch dimension.")


def count_strings(path: Path) -> int | None:
    """The number of TYPE_STRING elements in a file of Triton's serialization; None if the last one is incomplete."""
    data, position, count = path.read_bytes(), 0, 0
    while position + _LENGTH_SIZE <= len(data):
        position += _LENGTH_SIZE + int.from_bytes(data[position : position + _LENGTH_SIZE], "little")
        count += 1
    return count if position == len(data) else None
