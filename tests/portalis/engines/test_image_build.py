"""The remediation of a failed build follows from the end of its log. The engine is a stub, because pip's failures depend
on the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portalis.engines.errors import EngineFailed
from portalis.engines.image_build import run_build


class StubClient:
    """A client of an engine whose build writes `lines` and fails."""

    def __init__(self, *lines: str) -> None:
        self._lines = lines
        self.hooks: dict[str, list[Any]] = {"response": []}

    def build(self, **_: Any) -> list[dict[str, str]]:
        return [*({"stream": f"{line}\n"} for line in self._lines), {"error": "a step returned 1"}]


NO_INDEX = "WARNING: Retrying after connection broken by 'NewConnectionError': /simple/wasmtime/"
NO_WHEEL = "ERROR: No matching distribution found for wasmtime==50.0.0"


@pytest.mark.parametrize(
    ("line", "network", "remediation"),
    [
        (NO_INDEX, None, "container_config.wheelhouse"),
        (NO_WHEEL, "host", "a package index"),
        (NO_WHEEL, "none", "Put the wheels that pip names into the directory of container_config.wheelhouse."),
        ("cp: no such file", None, "See the end of the build's log above."),
    ],
)
def test_a_failed_build_reports_what_pip_needs(
    tmp_path: Path, line: str, network: str | None, remediation: str
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    client = StubClient("Step 1", line)
    with pytest.raises(EngineFailed) as caught:
        run_build(client, tmp_path, "a:1", arguments={}, timeout_s=60, network=network, on_line=lambda _: None)
    assert remediation in caught.value.remediation
    assert "Docker" not in caught.value.remediation
    assert line in caught.value.log
