"""The committed modules agree with their references on realistic and on generated input, and with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from portalis.backend import GuestStatus, Program
from portalis.examples import build, catalog
from portalis.examples.catalog import ECHO, EXAMPLES, Example
from tests import parts
from tests.running.compiled import compiled

ALL = {**EXAMPLES, "echo": ECHO}
PROGRAMS: dict[str, Program] = {}


def program(name: str) -> Program:
    if name not in PROGRAMS:
        PROGRAMS[name] = Program.load(ALL[name].module)
    return PROGRAMS[name]


def agree(name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    example: Example = ALL[name]
    got, expected = program(name).run(inputs), example.reference(inputs)
    rtol, atol = example.tolerances
    assert got.keys() == expected.keys()
    for key, array in expected.items():
        assert got[key].dtype == array.dtype and got[key].shape == array.shape
        if array.dtype == object:
            np.testing.assert_array_equal(got[key], array)
        else:
            np.testing.assert_allclose(got[key], array, rtol=rtol, atol=atol)
    return got


@pytest.mark.parametrize("name", ALL)
def test_the_module_agrees_with_its_reference_on_realistic_input(name: str) -> None:
    inputs = ALL[name].inputs()
    got = agree(name, inputs)
    assert all(line.strip() for line in ALL[name].describe(inputs, got))


@pytest.mark.parametrize("name", ALL)
def test_the_module_is_small_and_declares_its_interface(name: str) -> None:
    assert ALL[name].module.stat().st_size < (1 << 20 if name == "wordpiece" else 100 << 10)
    assert program(name).interface.source == ("exports" if name == "text_filter" else "section")


@pytest.mark.compiler
@pytest.mark.parametrize("name", ALL)
def test_the_committed_module_is_reproducible_from_its_source(name: str) -> None:
    zig = parts.zig()
    sources = [*_sources(ALL[name].module.parent), parts.ROOT / "examples" / "build.py", parts.ROOT / "guest" / "c"]
    built = compiled(name, [*zig, "version"], sources, lambda target: build.build(name, target, zig))
    assert built.read_bytes() == ALL[name].module.read_bytes()


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.resolve().iterdir() if path.is_file() and path.suffix != ".wasm")


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, width=32)


shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=9)


@settings(deadline=None, max_examples=40)
@given(x=hnp.arrays(np.float32, shapes, elements=floats(-1e4, 1e4)))
def test_gelu_agrees_on_any_shape(x: np.ndarray) -> None:
    agree("gelu", {"x": x})


def test_gelu_of_infinities_and_nan() -> None:
    x = np.array([np.inf, -1e30, np.nan, 0.0, -0.0], np.float32)
    got = program("gelu").run({"x": x})["y"]
    assert got[0] == np.inf and np.isnan(got[2]) and (got[1], got[3], got[4]) == (0, 0, 0)


@settings(deadline=None, max_examples=60)
@given(
    x=hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=70), elements=floats(-90, 90)
    )
)
def test_softmax_agrees_for_rows_of_any_length(x: np.ndarray) -> None:
    agree("softmax", {"x": x})


def test_softmax_of_special_values_equals_that_of_numpy() -> None:
    x = np.array(
        [[1, np.nan, 2, 3, 4], [np.inf, 1, 2, 3, 4], [-np.inf, 1, 2, 3, 4], [-np.inf] * 5, [1e38, -1e38, 0, 1, 2]]
    )
    agree("softmax", {"x": x.astype(np.float32)})


@settings(deadline=None, max_examples=15)
@given(image=hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 300), st.integers(1, 300), st.just(3))))
def test_images_of_any_size_agree(image: np.ndarray) -> None:
    agree("image_preprocess", {"image": image})


def test_an_image_without_pixels_is_rejected_with_the_guests_message() -> None:
    with pytest.raises(GuestStatus, match="an image has no pixels"):
        program("image_preprocess").run({"image": np.zeros((1, 0, 5, 3), np.uint8)})
    assert program("image_preprocess").run({"image": np.zeros((0, 5, 5, 3), np.uint8)})["pixels"].shape == (
        0,
        3,
        224,
        224,
    )


texts = st.lists(
    st.text(max_size=60).map(lambda s: s.encode("utf-8", "surrogatepass")) | st.binary(max_size=30), max_size=5
)


@settings(deadline=None, max_examples=150)
@given(items=texts)
def test_wordpiece_agrees_on_any_text(items: list[bytes]) -> None:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    agree("wordpiece", {"text": array})


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a" * 100,
        "a" * 101,
        "unaffable " * 600,
        "x" * 99 + "é",
        "한국어 날씨",
        "ﬁne ＡＢＣ",
        "İstanbul ẞ",
        "don't-stop@it",
        "\u200bzero",
    ],
)
def test_wordpiece_agrees_on_difficult_texts(text: str) -> None:
    agree("wordpiece", {"text": np.array([text.encode(), b"short"], dtype=object)})


def test_wordpiece_agrees_with_the_tokenizers_library() -> None:
    tokenizers = pytest.importorskip("tokenizers") if not parts.required() else __import__("tokenizers")
    theirs = tokenizers.BertWordPieceTokenizer(str(catalog.FOLDER / "wordpiece" / "vocab.txt"), lowercase=True)
    lines = [*(catalog.FOLDER / "README.md").read_text().splitlines(), "Ελληνικά, русский, 中文字符, naïve café"]
    for line in filter(None, lines):
        ids = program("wordpiece").run({"text": np.array([line.encode()], dtype=object)})["input_ids"][0]
        assert ids.tolist() == theirs.encode(line).ids[:511] + ([102] if len(theirs.encode(line).ids) > 511 else [])


@settings(deadline=None, max_examples=60)
@given(data=st.data(), count=st.integers(0, 40))
def test_nms_agrees_on_any_bounding_boxes(data: st.DataObject, count: int) -> None:
    corner = data.draw(hnp.arrays(np.float32, (count, 2), elements=floats(0, 100)))
    size = data.draw(hnp.arrays(np.float32, (count, 2), elements=floats(-1, 50)))
    scores = data.draw(hnp.arrays(np.float32, count, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, -1.0])))
    inputs = {"boxes": np.concatenate([corner, corner + size], axis=1), "scores": scores}
    if data.draw(st.booleans()):
        inputs["score_threshold"] = np.array([0.5], np.float32)
    if data.draw(st.booleans()):
        inputs["iou_threshold"] = np.array([0.3], np.float32)
    agree("nms", inputs)


def test_nms_rejects_unequal_lengths() -> None:
    with pytest.raises(GuestStatus, match="same length"):
        program("nms").run({"boxes": np.zeros((2, 4), np.float32), "scores": np.zeros(3, np.float32)})


words = st.sampled_from(
    [
        "a@b.co",
        "x.y+z@site.example.",
        "4111 1111 1111 1111",
        "5500-0000-0000-0004",
        "123",
        "@",
        "a@b",
        "-",
        " 1 ",
        "é@x.de",
        "\n",
    ]
)


@settings(deadline=None, max_examples=60)
@given(pieces=st.lists(words | st.text(max_size=8), max_size=8))
def test_the_text_filter_agrees_on_any_text(pieces: list[str]) -> None:
    text = " ".join(pieces).encode("utf-8", "replace")
    agree("text_filter", {"stdin": np.array([[text]], dtype=object)})


def test_the_text_filter_accepts_arguments() -> None:
    def run(*args: bytes) -> tuple[bytes, int]:
        stdin = np.array([[b"a@b.co 4111111111111111"]], dtype=object)
        result = program("text_filter").run({"stdin": stdin, "args": np.array([args], dtype=object)})
        return result["stdout"][0, 0], int(result["exit_code"][0, 0])

    assert run(b"--keep-email", b"--mask", b"#") == (b"a@b.co ################", 1)
    assert run(b"--keep-email", b"--keep-cards") == (b"a@b.co 4111111111111111", 0)
    assert run(b"--nonsense") == (b"", 2)
