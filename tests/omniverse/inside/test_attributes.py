"""USD attributes as arrays, on real stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pxr import Gf, Sdf, Usd

from portalis.omniverse.inside.attributes import DictArrays, StageAttributes

NUMBERS: dict[str, np.ndarray] = {
    "float[]": np.array([1.5, -2], np.float32),
    "double[]": np.array([1.5], np.float64),
    "half[]": np.array([0.5, 2], np.float16),
    "int[]": np.array([1, -2, 3], np.int32),
    "uint[]": np.array([7], np.uint32),
    "int64[]": np.array([1 << 40], np.int64),
    "uint64[]": np.array([1 << 50], np.uint64),
    "uchar[]": np.array([0, 255], np.uint8),
    "bool[]": np.array([True, False]),
    "float2[]": np.array([[1, 2]], np.float32),
    "point3f[]": np.arange(6, dtype=np.float32).reshape(2, 3),
    "color4f[]": np.arange(8, dtype=np.float32).reshape(2, 4),
    "matrix4d[]": np.arange(32, dtype=np.float64).reshape(2, 4, 4),
    "quatf[]": np.array([[0, 0, 0, 1]], np.float32),
    "float": np.array(2.5, np.float32),
    "int": np.array(-3, np.int32),
    "double3": np.array([1, 2, 3], np.float64),
    "matrix4d": np.arange(16, dtype=np.float64).reshape(4, 4),
}


@pytest.fixture
def stage() -> Any:
    made = Usd.Stage.CreateInMemory()
    made.DefinePrim("/P")
    return made


def attribute(stage: Any, type_name: str) -> str:
    found = Sdf.ValueTypeNames.Find(type_name)
    assert found, type_name
    return str(stage.GetPrimAtPath("/P").CreateAttribute("a", found).GetPath())


@pytest.mark.parametrize("type_name", list(NUMBERS))
def test_numbers_are_read_as_they_were_written(stage: Any, type_name: str) -> None:
    place, array = attribute(stage, type_name), NUMBERS[type_name]
    StageAttributes(stage).write(place, array)
    found = StageAttributes(stage).read(place)
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("type_name", ["string[]", "token[]", "asset[]"])
def test_strings_are_bytes(stage: Any, type_name: str) -> None:
    place = attribute(stage, type_name)
    array = np.array(["é".encode(), b"b"], dtype=object)
    StageAttributes(stage).write(place, array)
    assert StageAttributes(stage).read(place).tolist() == array.tolist()


def test_a_single_string_has_no_axis(stage: Any) -> None:
    place = attribute(stage, "string")
    StageAttributes(stage).write(place, np.array([b"text"], dtype=object))
    found = StageAttributes(stage).read(place)
    assert (found.shape, found.item()) == ((), b"text")


def test_usd_stores_the_written_values(stage: Any) -> None:
    place = attribute(stage, "point3f[]")
    StageAttributes(stage).write(place, np.array([[1, 2, 3]], np.float64))
    assert list(stage.GetAttributeAtPath(place).Get()) == [Gf.Vec3f(1, 2, 3)]


def test_a_read_array_is_a_copy(stage: Any) -> None:
    place = attribute(stage, "float[]")
    StageAttributes(stage).write(place, np.ones(2, np.float32))
    StageAttributes(stage).read(place)[:] = 5
    assert list(stage.GetAttributeAtPath(place).Get()) == [1, 1]


def test_values_at_a_time_are_samples(stage: Any) -> None:
    place = attribute(stage, "float[]")
    StageAttributes(stage, 3.0).write(place, np.ones(1, np.float32))
    assert stage.GetAttributeAtPath(place).GetTimeSamples() == [3.0]
    assert StageAttributes(stage, 3.0).read(place).tolist() == [1]
    with pytest.raises(ValueError, match="/P.a has no value"):
        StageAttributes(stage).read(place)


@pytest.mark.parametrize(
    ("type_name", "array", "why"),
    [
        ("float[]", np.zeros((2, 3), np.float32), r"expected shape \(n\) for /P.a \(type float\[\]\), got \(2, 3\)"),
        ("point3f[]", np.zeros((2, 4), np.float32), r"expected shape \(n, 3\) for /P.a .*, got \(2, 4\)"),
        ("point3f[]", np.zeros(3, np.float32), r"expected shape \(n, 3\) for /P.a .*, got \(3,\)"),
        ("float", np.zeros(1, np.float32), r"expected shape \(\) for /P.a .*, got \(1,\)"),
        ("int[]", np.zeros(2, np.float32), r"cannot convert float32 to int\[\] for /P.a"),
        ("string", np.array([b"a", b"b"], dtype=object), r"expected one element for /P.a \(type string\), got 2"),
        ("string", np.array([b"\xff\xfe\0"], dtype=object), r"stores strings, but element 0 is not UTF-8"),
        ("token[]", np.array([b"a", b"\xe9"], dtype=object), r"stores strings, but element 1 is not UTF-8"),
    ],
)
def test_an_array_that_does_not_match_is_rejected_and_not_written(
    stage: Any, type_name: str, array: np.ndarray, why: str
) -> None:
    place = attribute(stage, type_name)
    with pytest.raises(ValueError, match=why):
        StageAttributes(stage).write(place, array)
    assert stage.GetAttributeAtPath(place).Get() is None


@pytest.mark.parametrize("place", ["/P.b", "/Q.a"])
def test_a_missing_attribute_is_named(stage: Any, place: str) -> None:
    with pytest.raises(LookupError, match=f"the stage has no attribute {place}"):
        StageAttributes(stage).read(place)


@pytest.mark.parametrize("place", ["", "points", "/P", "/P.a b", "no path"])
def test_an_invalid_path_is_reported(stage: Any, place: str) -> None:
    with pytest.raises(LookupError, match="expected the path of an attribute"):
        StageAttributes(stage).write(place, np.zeros(1))


def test_a_layer_that_rejects_edits_is_reported(stage: Any, tmp_path: Path) -> None:
    place = attribute(stage, "float[]")
    stage.GetRootLayer().SetPermissionToEdit(False)
    with pytest.raises(ValueError, match="cannot write /P.a"):
        StageAttributes(stage).write(place, np.ones(1, np.float32))


def test_arrays_can_be_stored_in_a_dict() -> None:
    held = DictArrays({"x": np.ones(2)})
    held.write("y", held.read("x") + 1)
    assert held.arrays["y"].tolist() == [2, 2]
    with pytest.raises(LookupError, match="unknown array 'z'"):
        held.read("z")
