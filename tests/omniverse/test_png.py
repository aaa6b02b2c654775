"""Images of the spec are checked, and the default images are valid PNGs."""

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
def test_the_default_images_are_small_pngs(name: str, size: tuple[int, int]) -> None:
    path = TEMPLATES / f"{name}.png"
    with Image.open(path) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", size)
    assert png.png_problem(path) is None
    assert path.stat().st_size < 4096


def reported(tmp_path: Path, data: bytes) -> str | None:
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    return png.png_problem(path)


def picture(width: int, height: int, mode: str = "P") -> bytes:
    written = io.BytesIO()
    Image.new(mode, (width, height)).save(written, "PNG")
    return written.getvalue()


@pytest.mark.parametrize("size", [(16, 16), (16, 4096), (512, 288)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_a_png_of_a_valid_size_has_no_problem(tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    assert reported(tmp_path, picture(*size, mode)) is None


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
def test_an_invalid_image_is_reported(tmp_path: Path, data: bytes, why: str) -> None:
    found = reported(tmp_path, data)
    assert found is not None
    assert why in found


def test_a_file_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big.png").open("wb") as file:
        file.truncate(png.MAX_BYTES + 1)
    found = png.png_problem(tmp_path / "big.png")
    assert found is not None
    assert found.startswith("has 8,388,609 bytes")


@given(data=st.binary(max_size=200), at=st.integers(0, len(GOOD)))
def test_any_damage_is_reported_without_an_exception(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int
) -> None:
    damaged = GOOD[:at] + data + GOOD[at + len(data) :]
    found = reported(tmp_path_factory.getbasetemp(), damaged)
    # bytes after the end of the image are ignored
    assert (found is None) == damaged.startswith(GOOD)
