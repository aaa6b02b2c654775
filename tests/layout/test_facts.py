"""Numbers and tables that several parts share are written once (`portalis.backend.constants`); C and other vocabularies, which
cannot import them, say the same."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pytest

from portalis.backend import constants
from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.messages import escape
from portalis.backend.plan import control, layout, numbers
from portalis.escaping import printable
from portalis.model_repository_gen.pbtxt import model_config_schema
from portalis.nim.service.codec.protobuf_tensors import CONTENTS_FIELDS
from portalis.nim.service.logs import escape_control
from portalis.omniverse.inside.scenario import USD_TYPES
from portalis.omniverse.node_types import OMNIGRAPH_TYPES
from portalis.proto.proto_file import _TYPES
from portalis.spec.model_tensors import DataType
from tests.parts import ROOT

BACKEND = ROOT / "backend"
C = sorted([*(BACKEND / "adapter").glob("*.[ch]"), *(BACKEND / "native").glob("*.[ch]")])
NAMES = set(constants.DATA_TYPES)
LIMITS = {"UINT32_MAX": (1 << 32) - 1, "UINT64_MAX": (1 << 64) - 1}


def numbers_of(text: str) -> dict[str, int]:
    """The constants of the C enumerations in `text`."""
    found: dict[str, int] = {}
    for body in re.findall(r"\benum\s*\{(.*?)\}", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL), re.DOTALL):
        following = 0
        for item in filter(None, map(str.strip, body.split(","))):
            name, _, value = map(str.strip, item.partition("="))
            following = eval(value, {}, found | LIMITS) if value else following
            found[name] = following
            following += 1
    return found


def in_c() -> dict[str, set[int]]:
    """All values of each constant in the C sources."""
    found: dict[str, set[int]] = {}
    for path in C:
        for name, value in numbers_of(path.read_text()).items():
            found.setdefault(name, set()).add(value)
    return found


@pytest.mark.parametrize(
    "name",
    [
        *("PAGE", "ALIGN", "MAX_TENSORS", "MAX_RANK", "MAX_OUT_RANK", "MAX_MEMORIES", "MAX_TABLES"),
        *("MAX_TABLE_ELEMENTS", "MAX_INSTANCE_BYTES", "CHECKED_SLOT_BYTES", "SPARE_BYTES", "MAX_IDLE_SIZES"),
    ],
)
def test_c_has_the_same_constants(name: str) -> None:
    assert in_c()[name] == {getattr(constants, name)}


@pytest.mark.parametrize(
    "name",
    [
        *("CONTROL_AT", "ARGUMENTS_AT", "TEXTS_AT", "DLPACK", "ELEMENTWISE", "GUFUNC"),
        *("DONE", "RENEW", "INPUT", "ABI", "STATUS", "MEMORY", "OUTPUT", "INTERNAL"),
        *("REWINDS", "RESETS", "EXPLAINS", "FORGETS"),
    ],
)
def test_the_control_block_has_the_same_constants_in_the_adapter(name: str) -> None:
    assert numbers_of((BACKEND / "adapter" / "control.h").read_text())[name] == getattr(control, name)


@pytest.mark.parametrize("name", ["KEEPS", "STATEFUL", "JOINS", "HAS_HOST", "HAS_MEMORY", "EXACT", "SIGNALS"])
def test_the_flags_of_a_plan_are_the_same_in_c(name: str) -> None:
    found = numbers_of((BACKEND / "native" / "plan.h").read_text())
    assert found[name] == getattr(layout, name)
    assert found["REWINDS_INSTANCE"] == layout.REWINDS and found["PLAN_VERSION"] == layout.VERSION


def test_structures_have_the_sizes_that_the_adapter_asserts() -> None:
    """The adapter's source asserts the sizes of its structs at compile time."""
    text = (BACKEND / "adapter" / "adapter.c").read_text()
    tensor, head, spec = re.findall(
        r"sizeof\(struct tensor\) == (\d+).*sizeof\(struct control\) == (\d+) \+.*sizeof\(struct spec\) == (\d+)", text
    )[0]
    assert (int(tensor), int(head), int(spec)) == (control.TENSOR.size, control.HEADER.size, control._SPEC.size)


def python_files() -> Iterator[Path]:
    for folder in ("backend", "deploy", "dist", "model_repository_gen", "nim", "omniverse", "portalis", "proto"):
        for path in (ROOT / folder).rglob("*.py"):
            if not path.is_symlink() and "__pycache__" not in path.parts:
                yield path


def test_the_page_size_is_defined_once_in_python_and_once_in_c() -> None:
    files = [*python_files(), *C]
    found = {str(path.relative_to(ROOT)) for path in files if re.search(r"\b65536\b|\b65_536\b", path.read_text())}
    assert found == {"backend/constants.py", "backend/adapter/control.h"}


def test_each_shared_constant_has_one_definition() -> None:
    shared = "|".join(name for name in vars(constants) if name.isupper())
    others = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in python_files()
        if BACKEND in path.parents and path.name != "constants.py"
        for found in re.finditer(rf"^({shared})\b[^=\n]*= ", path.read_text(), re.MULTILINE)
    ]
    assert others == []


def test_the_numbers_of_data_types_equal_those_of_triton() -> None:
    of_triton = dict(model_config_schema().DataType.items())
    assert {dtype.triton: dtype.number for dtype in DTYPES.values()} | {"TYPE_INVALID": 0} == of_triton
    assert in_c()["TYPE_BYTES"] == {constants.DATA_TYPES["BYTES"].number}


def test_size_and_kind_of_data_types_equal_those_of_numpy() -> None:
    for row in constants.DATA_TYPES.values():
        assert row.name == "BYTES" or row.size == np.dtype(row.numpy).itemsize
        kinds = {
            constants.INT: "i",
            constants.UINT: "u",
            constants.FLOAT: "f",
            constants.BOOL: "b",
            constants.BFLOAT: "u",
        }
        assert row.name == "BYTES" or np.dtype(row.numpy).kind == kinds[row.code]


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        pytest.param({each.value for each in DataType} - {"STRING"}, set(), id="spec"),
        pytest.param(set(USD_TYPES), set(), id="USD"),
        pytest.param(set(CONTENTS_FIELDS), {"FP16", "BF16"}, id="gRPC"),  # only in raw_input_contents
        pytest.param(set(OMNIGRAPH_TYPES), {"UINT16", "INT8", "INT16", "BF16"}, id="OmniGraph"),
        pytest.param(set(_TYPES), set(), id="proto"),
        pytest.param(
            set(numbers._LOADS), {n for n in NAMES if constants.DATA_TYPES[n].size >= 4 or n == "BYTES"}, id="loads"
        ),
    ],
)
def test_every_table_of_data_types_is_complete(names: Collection[str], missing: set[str]) -> None:
    assert set(names) | missing == NAMES and not set(names) & missing


@pytest.mark.parametrize("category", sorted({unicodedata.category(chr(each)) for each in range(0x20000)}))
def test_unprintable_characters_are_escaped_in_the_same_way(category: str) -> None:
    """The runtime and the service are copied without `portalis.escaping`, so each has its own function."""
    text = "".join(c for c in map(chr, range(0x20000)) if unicodedata.category(c) == category and c != "\n")[:2000]
    assert escape_control(text) == printable(text)
    assert category == "Cs" or escape(text) == printable(text)  # surrogates represent bytes of a path


def test_constants_and_limits_import_neither_wasmtime_nor_numpy() -> None:
    check = "import sys, portalis.backend.constants, portalis.backend.limits; print({'wasmtime', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
