"""Modules that step over arrays: the step itself, and failures."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pxr import Sdf, Usd

from portalis.examples.catalog import EXAMPLES
from portalis.omniverse.inside.attributes import DictArrays
from portalis.omniverse.inside.log import Failures
from portalis.omniverse.inside.processor import Processor
from portalis.omniverse.inside.simulation import Simulation
from portalis.omniverse.inside.steps import Binding, step
from tests.running.garbage import wait_collected

from . import guests
from .guests import Heard


def moving(folder: Path) -> tuple[Simulation, DictArrays, Heard]:
    made = guests.programs(
        folder,
        {
            "advance": guests.elementwise(guests.ADVANCE, ["x", "v", "dt"]),
            "trap": guests.elementwise(guests.TRAP, ["x"]),
        },
    )
    heard = Heard()
    simulation = Simulation(made, Failures(heard), lambda: None)
    held = DictArrays({"/P.x": np.zeros((2, 3), np.float32), "/P.v": np.ones((2, 3), np.float32)})
    simulation.arrays = held
    return simulation, held, heard


def test_a_step_passes_the_time_and_writes_the_outputs(tmp_path: Path) -> None:
    simulation, held, heard = moving(tmp_path)
    simulation.bind("advance", {"x": "/P.x", "v": "/P.v"}, {"y": "/P.x"})
    for _ in range(4):
        simulation.step(0.25)
    np.testing.assert_allclose(held.arrays["/P.x"], np.ones((2, 3)))
    assert (simulation.steps, heard.lines) == (4, [])


def test_a_failing_module_is_stopped_and_reported_once_and_the_others_continue(tmp_path: Path) -> None:
    simulation, held, heard = moving(tmp_path)
    simulation.bind("trap", {"x": "/P.x"})
    simulation.bind("advance", {"x": "/P.x", "v": "/P.v"}, {"y": "/P.x"})
    for _ in range(3):
        simulation.step(1.0)
    simulation.resume()
    simulation.step(1.0)
    assert held.arrays["/P.x"][0, 0] == 4
    assert simulation.still == ("trap",)
    (line,) = heard.lines
    assert line == (
        "the step of module trap: entry 'f': the guest trapped: wasm `unreachable` instruction executed"
        " (it is stopped until simulation.resume())"
    )


def test_a_missing_array_is_reported_without_an_exception(tmp_path: Path) -> None:
    simulation, held, heard = moving(tmp_path)
    simulation.bind("advance", {"x": "/P.x", "v": "/P.v"}, {"y": "/P.x"})
    del held.arrays["/P.v"]
    simulation.step(1.0)
    assert heard.lines == ["the step of module advance: unknown array '/P.v' (it is stopped until simulation.resume())"]


@pytest.mark.parametrize(
    ("inputs", "outputs", "why"),
    [
        ({"x": "/P.x"}, {}, "its input 'v' is not bound"),
        ({"x": "/P.x", "v": "/P.v", "w": "/P.w"}, {}, "it has no input 'w'"),
        ({"x": "/P.x", "v": "/P.v"}, {"z": "/P.x"}, "it has no output 'z'"),
    ],
)
def test_an_invalid_binding_is_rejected(
    tmp_path: Path, inputs: dict[str, str], outputs: dict[str, str], why: str
) -> None:
    simulation, _, _ = moving(tmp_path)
    with pytest.raises(ValueError, match=why):
        simulation.bind("advance", inputs, outputs)
    simulation.step(1.0)
    assert simulation.steps == 0


def test_a_paused_simulation_and_one_without_a_stage_do_nothing(tmp_path: Path) -> None:
    simulation, held, heard = moving(tmp_path)
    simulation.bind("advance", {"x": "/P.x", "v": "/P.v"}, {"y": "/P.x"})
    simulation.paused = True
    simulation.step(1.0)
    simulation.paused, simulation.arrays = False, None
    simulation.step(1.0)
    assert (simulation.steps, held.arrays["/P.x"].sum(), heard.lines) == (0, 0, [])


def test_a_closed_simulation_releases_the_arrays(tmp_path: Path) -> None:
    simulation, held, _ = moving(tmp_path)
    simulation.bind("advance", {"x": "/P.x", "v": "/P.v"}, {"y": "/P.x"})
    kept = weakref.ref(held)
    simulation.close()
    del held
    wait_collected(lambda: kept() is None, "the arrays are held")


@pytest.mark.parametrize("name", ["gelu", "softmax"])
def test_a_stage_is_processed_with_numpys_results(tmp_path: Path, name: str) -> None:
    stage: Any = Usd.Stage.CreateInMemory()
    prim = stage.DefinePrim("/P")
    x = np.array([[1, 2, 3], [0.5, -1, 0]], np.float32)
    for attribute in ("x", "y"):
        prim.CreateAttribute(attribute, Sdf.ValueTypeNames.Vector3fArray).Set(x.tolist())
    made = guests.programs(tmp_path, examples=[name])
    Processor(made).process_stage(stage, name, {"x": "/P.x"}, {"y": "/P.y"})
    rtol, atol = EXAMPLES[name].tolerances
    expected = EXAMPLES[name].reference({"x": x})["y"]
    np.testing.assert_allclose(np.array(prim.GetAttribute("y").Get()), expected, rtol=rtol, atol=atol)


def test_strings_of_a_stage_are_processed(tmp_path: Path) -> None:
    stage: Any = Usd.Stage.CreateInMemory()
    prim = stage.DefinePrim("/P")
    for attribute in ("text", "filtered"):
        prim.CreateAttribute(attribute, Sdf.ValueTypeNames.StringArray).Set(["mail a@example.org now"])
    made = guests.programs(tmp_path, examples=["text_filter"])
    Processor(made).process_stage(stage, "text_filter", {"stdin": "/P.text"}, {"stdout": "/P.filtered"})
    (filtered,) = prim.GetAttribute("filtered").Get()
    assert "example.org" not in filtered
    assert filtered.startswith("mail ")


def test_numbers_of_a_different_width_are_converted_and_other_types_are_rejected(tmp_path: Path) -> None:
    made = guests.programs(tmp_path, examples=["gelu"])
    interface = made.get("gelu").interface
    held = DictArrays({"wide": np.ones(2), "text": np.array([b"a"], dtype=object)})
    step(Binding("gelu", {"x": "wide"}, {"y": "out"}), interface, held, made.run)
    assert held.arrays["out"].dtype == np.float32
    with pytest.raises(ValueError, match="expected float32 for input 'x', got object"):
        step(Binding("gelu", {"x": "text"}, {"y": "out"}), interface, held, made.run)
