"""The drawn pictures are real PNGs, and a given one is looked at."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.omniverse import png


@pytest.mark.parametrize("size", [(256, 256), (512, 288), (4, 4)])
def test_a_drawn_picture_is_a_png_that_others_read(size: tuple[int, int]) -> None:
    image_module = pytest.importorskip("PIL.Image")
    with image_module.open(io.BytesIO(png.draw(*size))) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", size)


def test_the_same_size_gives_the_same_small_file() -> None:
    assert png.draw(256, 256) == png.draw(256, 256)
    assert len(png.draw(256, 256)) < 4096


def told(tmp_path: Path, data: bytes) -> str | None:
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    return png.trouble(path)


@pytest.mark.parametrize("size", [(256, 256), (512, 288), (16, 4096)])
def test_a_drawn_picture_is_no_trouble(tmp_path: Path, size: tuple[int, int]) -> None:
    assert told(tmp_path, png.draw(*size)) is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_a_picture_of_pillows_is_no_trouble(tmp_path: Path, mode: str) -> None:
    image_module = pytest.importorskip("PIL.Image")
    image_module.new(mode, (100, 70)).save(tmp_path / "p.png")
    assert png.trouble(tmp_path / "p.png") is None


GOOD = png.draw(64, 64)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is no PNG"),
        (b"\xff\xd8\xff\xe0 JPEG", "is no PNG"),
        (GOOD[:8], "its header, its pixels or its end is missing"),
        (GOOD[:-5], "it is cut off"),
        (GOOD[:-12], "its end is missing"),
        (GOOD[:20] + b"\xff" + GOOD[21:], "the checksum of its 'IHDR' chunk is wrong"),
        (png.SIGNATURE + GOOD[33:], "its header"),
        (png.draw(12, 64), "has 12 x 64 pixels"),
        (png.draw(64, 4100), "has 64 x 4100 pixels"),
    ],
)
def test_what_is_no_picture_of_sane_size_is_told(tmp_path: Path, data: bytes, why: str) -> None:
    found = told(tmp_path, data)
    assert found is not None
    assert why in found


def test_a_file_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big.png").open("wb") as file:
        file.truncate(png.MAX_BYTES + 1)
    found = png.trouble(tmp_path / "big.png")
    assert found is not None
    assert found.startswith("has 8,388,609 bytes")


@given(data=st.binary(max_size=200), at=st.integers(0, len(GOOD)))
def test_any_damage_is_told_and_raises_nothing(tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int) -> None:
    damaged = GOOD[:at] + data + GOOD[at + len(data) :]
    found = told(tmp_path_factory.getbasetemp(), damaged)
    # what stands behind the picture's end is nobody's matter
    assert (found is None) == damaged.startswith(GOOD)
