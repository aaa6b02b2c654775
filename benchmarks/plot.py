"""``python -m benchmarks.plot``: draws the chart in the README from the JSON of ``make bench``.

The figures are stored as JSON next to the chart, so that a test can check that both match.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from .__main__ import DEFAULT_JSON

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
GROUPS = {
    "triton-identity-4kib": ("identity, 4 KiB", "a model.py"),
    "triton-identity-1mib": ("identity, 1 MiB", "a model.py"),
    "triton-softmax": ("softmax, 64 x 1024", "NumPy"),
    "triton-image": ("image preprocessing", "Pillow and NumPy"),
    "triton-wordpiece": ("BERT's tokenizer, 32 texts", "Hugging Face tokenizers"),
}
CONCURRENCIES = (1, 4, 16)
WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 800, 290, 60, 16, 26, 64
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 11px; fill: #59636e }
.title { font-size: 15px; font-weight: 600 }
.bar { fill: #0969da }
.line { stroke: #59636e; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .small { fill: #9198a1 }
  .bar { fill: #4493f8 }
  .line { stroke: #9198a1 }
}
"""


def chart_figures(report: dict[str, Any]) -> dict[str, Any]:
    """The figures that the chart shows, from a report. Raises KeyError if one of its benchmarks was not run."""
    ratios = {result["name"]: round(result["ratio"], 2) for result in report["results"]}
    return {
        "machine": report["machine"],
        "ratios": {name: [ratios[f"{name}-c{c}"] for c in CONCURRENCIES] for name in GROUPS},
    }


def draw(figures: dict[str, Any]) -> str:
    """The chart as SVG: a bar for each ratio, and a line at the ratio 1, the Python model."""
    ratios: dict[str, list[float]] = figures["ratios"]
    scale = (WIDTH - LEFT - RIGHT) / max(1.0, *(ratio for each in ratios.values() for ratio in each))
    height = TOP + len(GROUPS) * (len(CONCURRENCIES) * BAR + GAP) - 8
    picture = ET.Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height}", role="img")
    ET.SubElement(picture, "title").text = "Requests per second of WebAssembly models, against Python models"
    ET.SubElement(picture, "style").text = STYLE
    _text(picture, 12, 22, "Requests per second on Triton, as a multiple of the Python model's", "title")
    machine = figures["machine"]
    _text(picture, 12, 40, f"{machine['cores']} cores shared with the client, Python {machine['python']}", "small")
    y = TOP
    for name, (what, peer) in GROUPS.items():
        _text(picture, 12, y + BAR - 4, what)
        _text(picture, 12, y + 2 * BAR - 4, f"against {peer}", "small")
        for concurrency, ratio in zip(CONCURRENCIES, ratios[name], strict=True):
            _text(picture, LEFT - 8, y + BAR - 5, f"{concurrency} at a time", "small", anchor="end")
            width = f"{ratio * scale:.1f}"
            place = {"x": str(LEFT), "y": str(y), "width": width, "height": str(BAR - 3), "class": "bar"}
            ET.SubElement(picture, "rect", place)
            _text(picture, round(LEFT + ratio * scale) + 5, y + BAR - 5, f"{ratio:.1f}x", "small")
            y += BAR
        y += GAP
    at = f"{LEFT + scale:.1f}"
    ET.SubElement(picture, "line", {"x1": at, "x2": at, "y1": str(TOP - 4), "y2": str(y - GAP + 4), "class": "line"})
    _text(picture, round(LEFT + scale), TOP - 9, "the Python model", "small", anchor="middle")
    ET.indent(picture)
    return ET.tostring(picture, encoding="unicode") + "\n"


def _text(picture: ET.Element, x: int, y: int, text: str, kind: str = "", *, anchor: str = "start") -> None:
    place = {"x": str(x), "y": str(y), "text-anchor": anchor} | ({"class": kind} if kind else {})
    ET.SubElement(picture, "text", place).text = text


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    parser.add_argument("report", nargs="*", type=Path, default=[DEFAULT_JSON], help=f"default {DEFAULT_JSON}")
    reports = [json.loads(path.read_text()) for path in parser.parse_args().report]
    figures = chart_figures({**reports[0], "results": [result for report in reports for result in report["results"]]})
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / "speed.json").write_text(json.dumps(figures, indent=2) + "\n")
    (PICTURES / "speed.svg").write_text(draw(figures))
    print(f"written to {PICTURES / 'speed.svg'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
