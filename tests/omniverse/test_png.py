"""A given picture is looked at, and those of an extension that brings none are real PNGs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from portalis.omniverse import png
from portalis.omniverse.extension_documents import TEMPLATES


@pytest.mark.parametrize(("name", "size"), [("icon", (256, 256)), ("preview", (512, 288))])
def test_the_pictures_of_an_extension_that_brings_none_are_small_pngs(name: str, size: tuple[int, int]) -> None:
    path = TEMPLATES / f"{name}.png"
    with Image.open(path) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", size)
    assert png.png_problem(path) is None
    assert path.stat().st_size < 4096


def told(tmp_path: Path, data: bytes) -> str | None:
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    return png.png_problem(path)


def picture(width: int, height: int, mode: str = "P") -> bytes:
    written = io.BytesIO()
    Image.new(mode, (width, height)).save(written, "PNG")
    return written.getvalue()


@pytest.mark.parametrize("size", [(16, 16), (16, 4096), (512, 288)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_a_picture_of_sane_size_is_no_trouble(tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    assert told(tmp_path, picture(*size, mode)) is None


GOOD = picture(64, 64)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is not a PNG"),
        (b"\xff\xd8\xff\xe0 JPEG", "is not a PNG"),
        (GOOD[:8], "its header, image data or end is missing"),
        (GOOD[:-5], "it is truncated"),
        (GOOD[:-12], "or end is missing"),
        (GOOD[:20] + b"\xff" + GOOD[21:], "the checksum of its 'IHDR' chunk is wrong"),
        (png.SIGNATURE + GOOD[33:], "its header"),
        (picture(12, 64), "has 12 x 64 pixels"),
        (picture(64, 4100), "has 64 x 4100 pixels"),
    ],
)
def test_what_is_no_picture_of_sane_size_is_told(tmp_path: Path, data: bytes, why: str) -> None:
    found = told(tmp_path, data)
    assert found is not None
    assert why in found


def test_a_file_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big.png").open("wb") as file:
        file.truncate(png.MAX_BYTES + 1)
    found = png.png_problem(tmp_path / "big.png")
    assert found is not None
    assert found.startswith("has 8,388,609 bytes")


@given(data=st.binary(max_size=200), at=st.integers(0, len(GOOD)))
def test_any_damage_is_told_and_raises_nothing(tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int) -> None:
    damaged = GOOD[:at] + data + GOOD[at + len(data) :]
    found = told(tmp_path_factory.getbasetemp(), damaged)
    # what stands behind the picture's end is nobody's matter
    assert (found is None) == damaged.startswith(GOOD)
