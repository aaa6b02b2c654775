"""The chart in the README."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from benchmarks import plot  # noqa: TID251
from tests import parts

RATIOS = {name: [1.5, 2.0, 4.0] for name in plot.GROUPS}
FIGURES = {"machine": {"cores": 2, "python": "3.11.1"}, "ratios": RATIOS}
SVG = "{http://www.w3.org/2000/svg}"


def test_the_committed_chart_shows_the_committed_figures() -> None:
    assert (
        plot.draw(json.loads((plot.PICTURES / "speed.json").read_text())) == (plot.PICTURES / "speed.svg").read_text()
    )
    assert "(docs/pictures/speed.svg)" in (parts.ROOT / "README.md").read_text()


def test_each_ratio_has_a_bar_of_its_length_and_a_label() -> None:
    picture = ET.fromstring(plot.draw(FIGURES))
    bars = [float(bar.attrib["width"]) for bar in picture.iter(f"{SVG}rect")]
    assert len(bars) == 3 * len(plot.GROUPS)
    assert [bar / bars[0] for bar in bars[:3]] == pytest.approx([1, 2 / 1.5, 4 / 1.5], rel=1e-3)
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert [text for text in texts if text and text.endswith("x")] == ["1.5x", "2.0x", "4.0x"] * len(plot.GROUPS)


def test_the_line_of_the_python_model_is_at_a_ratio_of_one() -> None:
    picture = ET.fromstring(plot.draw({**FIGURES, "ratios": {name: [1.0, 1.0, 0.5] for name in plot.GROUPS}}))
    line, bar = next(picture.iter(f"{SVG}line")), next(picture.iter(f"{SVG}rect"))
    assert float(line.attrib["x1"]) == float(bar.attrib["x"]) + float(bar.attrib["width"])


def test_a_report_that_lacks_a_benchmark_is_rejected() -> None:
    results = [{"name": f"{name}-c{c}", "ratio": 2.0} for name in plot.GROUPS for c in plot.CONCURRENCIES]
    report = {"machine": FIGURES["machine"], "results": results}
    assert plot.chart_figures(report)["ratios"] == {name: [2.0, 2.0, 2.0] for name in plot.GROUPS}
    with pytest.raises(KeyError, match="triton-softmax-c4"):
        plot.chart_figures(
            {**report, "results": [result for result in results if result["name"] != "triton-softmax-c4"]}
        )
