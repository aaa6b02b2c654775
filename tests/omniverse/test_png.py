"""The drawn pictures are real PNGs."""

from __future__ import annotations

import io

import pytest

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
