"""Formats of images: for inputs that exist and have three dimensions."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.interface import Convention, Interface, TensorSpec
from portalis.nim.service.image_formats import check_formats
from portalis.nim.service.runtime_api import SettingsError
from portalis.nim.service.settings import ModelSettings

IMAGE, VECTOR = (TensorSpec(name, DTYPES["FP32"], dims) for name, dims in (("x", (3, -1, -1)), ("v", (-1,))))
INTERFACE = Interface("f", Convention.DLPACK, (IMAGE, VECTOR), (VECTOR,))


def test_formats_of_images_are_accepted() -> None:
    check_formats({}, INTERFACE)
    check_formats({"x": "NCHW"}, INTERFACE)


def test_a_format_of_another_input_is_an_error() -> None:
    with pytest.raises(SettingsError, match="formats: input 'y' does not exist; the inputs are x, v"):
        check_formats({"y": "NHWC"}, INTERFACE)
    with pytest.raises(SettingsError, match="formats: input 'v' has 1 dims; an image has 3"):
        check_formats({"v": "NHWC"}, INTERFACE)


def test_an_unknown_format_is_an_error() -> None:
    with pytest.raises(ValidationError, match="NHWC"):
        ModelSettings.model_validate({"name": "a", "file": "a.wasm", "formats": {"x": "CHW"}})
