"""Ensembles in service.json that are rejected before any model is loaded, each with a message that names the key."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from portalis.nim.service.settings import InvalidSettings, ServiceSettings, describe_settings_error, read_settings


def tensors(names: str) -> list[dict[str, Any]]:
    """Vectors of FP32 with these names."""
    return [{"name": name, "data_type": "FP32", "dims": [-1]} for name in names.split()]


def step(model: str, inputs: str, outputs: str, **others: Any) -> dict[str, Any]:
    """A step of a model with inputs a, b, … and outputs y, z, which are mapped to the tensors that are listed."""
    return {
        "model_name": model,
        "input_map": dict(zip("abcdefgh", inputs.split())),
        "output_map": dict(zip("yz", outputs.split())),
        **others,
    }


def ensemble(name: str, inputs: str, outputs: str, *steps: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {
        "name": name,
        "inputs": tensors(inputs),
        "outputs": tensors(outputs),
        "steps": list(steps),
        **others,
    }


def problems(*ensembles: Any) -> str:
    models = [{"name": name, "file": f"{name}.wasm"} for name in ("m", "n")]
    try:
        ServiceSettings.model_validate({"models": models, "ensembles": ensembles})
    except ValidationError as error:
        return describe_settings_error(error)
    return ""


@pytest.mark.parametrize(
    "good",
    [
        [ensemble("e", "x", "r", step("m", "x", "r"))],
        [ensemble("e", "x", "r", step("n", "t", "r"), step("m", "x", "t"))],
        [ensemble("e", "x", "r s", step("m", "x", "r s"))],
        [ensemble("e", "x", "x r", step("m", "x", "r"))],
        [ensemble("e", "x", "r", step("f", "x", "r")), ensemble("f", "x", "r", step("m", "x", "r"))],
        [ensemble("e", "x", "r", step("m", "x", "r", model_version=1))],
    ],
    ids=["one step", "steps in any order", "two outputs", "an input as an output", "nested", "a version"],
)
def test_valid_ensembles_are_accepted(good: list[Any]) -> None:
    assert problems(*good) == ""


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([ensemble("e", "x", "r")], "ensembles[0].steps: Tuple should have at least 1 item"),
        ([ensemble("e", "", "r", step("m", "x", "r"))], "ensembles[0].inputs: Tuple should have at least 1 item"),
        ([ensemble("e", "x", "r", step("m", "", "r"))], "ensembles[0].steps[0].input_map: Dictionary should have"),
        (
            [ensemble("e", "x", "r", step("mm", "x", "r"))],
            "ensembles[0].steps[0].model_name: unknown model 'mm'; the models are m, n, e",
        ),
        (
            [ensemble("e", "x", "r", step("m", "x", "r", model_version=3))],
            "ensembles[0].steps[0].model_version: model 'm' has version 1, not 3",
        ),
        (
            [ensemble("e", "x", "r", step("m", "x", "t"), step("n", "x", "t"))],
            "ensembles[0].steps[1].output_map: tensor 't' is written twice",
        ),
        (
            [ensemble("e", "x", "r", step("m", "x", "x r"))],
            "ensembles[0].steps[0].output_map: tensor 'x' is an input of the ensemble",
        ),
        ([ensemble("e", "x w", "r", step("m", "x", "r"))], "ensembles[0].inputs[1].name: no step uses input 'w'"),
        ([ensemble("e", "x", "r s", step("m", "x", "r"))], "ensembles[0].outputs[1].name: no step writes output 's'"),
        (
            [ensemble("e", "x", "r", step("m", "x q", "r"))],
            "ensembles[0].steps[0].input_map: tensor 'q' is neither an input nor written by a step",
        ),
        ([ensemble("e", "x", "r", step("m", "x", "r t"))], "steps[0].output_map: no step uses tensor 't'"),
        (
            [ensemble("e", "x", "r", step("m", "x t", "u"), step("n", "u", "t r"))],
            "ensembles[0].steps[0].input_map: tensor 't' is never written: the steps wait for each other",
        ),
        (
            [ensemble("e", "x x", "r", step("m", "x", "r"))],
            "ensembles[0].inputs[1].name: another tensor is also named 'x'",
        ),
        (
            [ensemble("e", "x", "r", step("e", "x", "r"))],
            "ensembles[0].steps: the ensemble contains itself: e -> e",
        ),
        (
            [
                ensemble("d", "x", "r", step("e", "x", "r")),
                ensemble("e", "x", "r", step("f", "x", "r")),
                ensemble("f", "x", "r", step("e", "x", "r")),
            ],
            "ensembles[1].steps: the ensemble contains itself: e -> f -> e",
        ),
        ([ensemble("m", "x", "r", step("n", "x", "r"))], "models: duplicate names: m"),
        ([ensemble("e", "x", "r", step("m", "x", "r"), version="a/b")], "ensembles[0].version: String should match"),
        (
            [ensemble("e", "x", "r", step("m", "x", "r"), max_batch_size=-1)],
            "ensembles[0].max_batch_size: Input should",
        ),
        (
            [ensemble("e", "x", "r", step("m", "x", "r"), instance_group=[])],
            "ensembles[0].instance_group: Extra inputs",
        ),
    ],
)
def test_an_invalid_ensemble_is_rejected_with_its_key(bad: list[Any], message: str) -> None:
    assert message in problems(*bad)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": [0]}, "inputs[0].dims: expected sizes of at least 1, or -1 for any size, got [0]"),
        ({"dims": []}, "inputs[0].dims: Tuple should have at least 1 item"),
        ({"dims": [1] * 9}, "inputs[0].dims: Tuple should have at most 8 items"),
        ({"dims": [2, 3], "reshape": [7]}, "inputs[0].reshape: [2, 3] cannot be reshaped to [7]"),
        ({"dims": [-1, 3], "reshape": [3, -1]}, "inputs[0].reshape: [-1, 3] cannot be reshaped to [3, -1]"),
        ({"dims": [1], "reshape": []}, "inputs[0].reshape: only the tensors of an ensemble with max_batch_size"),
        ({"data_type": "FP8"}, "inputs[0].data_type: Input should be 'BOOL', 'UINT8'"),
        ({"name": ""}, "inputs[0].name: String should have at least 1 character"),
    ],
)
def test_an_invalid_tensor_is_rejected_with_its_key(changes: dict[str, Any], message: str) -> None:
    bad = ensemble("e", "x", "r", step("m", "x", "r"))
    bad["inputs"][0] |= changes
    assert f"ensembles[0].{message}" in problems(bad)


def chain_of_ensembles(n: int, *, fan_out: int = 1) -> list[Any]:
    """Ensembles e0, e1, … of which each calls the one before, `fan_out` times."""
    ensembles = []
    for i in range(n):
        member = f"e{i - 1}" if i else "m"
        steps = [step(member, "x", f"r{k}") for k in range(fan_out)]
        ensembles.append(ensemble(f"e{i}", "x", " ".join(f"r{k}" for k in range(fan_out)), *steps))
    return ensembles


def test_nesting_and_the_number_of_calls_are_bounded() -> None:
    assert problems(*chain_of_ensembles(32)) == ""
    assert "33 ensembles are nested; at most 32 are allowed" in problems(*chain_of_ensembles(1000))
    found = problems(*chain_of_ensembles(30, fan_out=10))
    assert "a request would call 100000 modules; at most 10000 are allowed" in found


def test_an_optional_input_cannot_be_an_output() -> None:
    bad = ensemble("e", "x w", "r w", step("m", "x w", "r"))
    assert problems(bad) == ""
    bad["inputs"][1]["optional"] = True
    assert problems(bad) == "ensembles[0].outputs[1].name: 'w' is an optional input, which requests can omit"


def test_a_long_chain_of_steps_in_the_reverse_order_is_checked_quickly() -> None:
    names = [f"t{i}" for i in range(1000)]
    steps = [step("m", one, other) for one, other in itertools.pairwise(["x", *names])]
    chain = [ensemble(f"e{i}", "x", names[-1], *reversed(steps)) for i in range(20)]
    assert problems(*chain) == ""
    steps[500]["input_map"]["b"] = "t600"
    assert "is never written: the steps wait for each other" in problems(
        ensemble("e", "x", names[-1], *reversed(steps))
    )


def test_a_large_document_with_circles_and_long_chains_is_rejected_in_one_short_message() -> None:
    circle = chain_of_ensembles(1000)
    circle[0]["steps"][0]["model_name"] = "e999"
    found = problems(*circle)
    assert "the ensemble contains itself: e0 -> e999 -> e998" in found and len(found) < 200
    unknown = [ensemble(f"u{i}", "x", "r", step(f"none{i}", "x", "r")) for i in range(100)]
    assert "and 80 others" in problems(*unknown)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in items for place in _places(each, (*path, key)))]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "x", "m", "e", "\0\n"]),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(["x", "m", "name", "dims"]), each, max_size=3)
    ),
    max_leaves=6,
)


@given(st.data())
def test_a_document_with_any_value_at_any_place_is_valid_or_rejected(data: st.DataObject) -> None:
    good = ensemble("e", "x", "r s", step("m", "x", "t"), step("n", "t x", "r"), step("f", "t", "s"))
    document: list[Any] = [good, ensemble("f", "a", "y", step("m", "a", "y"))]
    *before, last = data.draw(st.sampled_from(_places(document)[1:]))
    place: Any = document
    for key in before:
        place = place[key]
    place[last] = data.draw(JSON)
    problems(*document)


def test_a_file_with_an_invalid_ensemble_is_not_served(tmp_path: Path) -> None:
    file = tmp_path / "service.json"
    models = [{"name": "m", "file": "m.wasm"}]
    bad = ensemble("e", "x", "r", step("nothing", "x", "r"))
    file.write_text(json.dumps({"models": models, "ensembles": [bad]}))
    with pytest.raises(InvalidSettings, match=r"ensembles\[0\]\.steps\[0\]\.model_name: unknown model 'nothing'"):
        read_settings(file, {})
