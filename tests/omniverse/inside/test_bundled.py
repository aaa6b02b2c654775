"""Libraries: Kit's own first, then the wheels of the extension; a wrong version is reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from portalis.omniverse.inside import bundled
from portalis.omniverse.inside.bundled import Missing
from tests.parts import ROOT

RUN = """
import sys
sys.path[:0] = {first!r}
from portalis.omniverse.inside import bundled
from pathlib import Path
entry = bundled.add(Path({root!r}))
import only_here, both
print(only_here.__file__)
print(both.__file__)
bundled.remove(entry)
print(entry in sys.path)
import only_here.later
"""


def test_the_wheels_are_searched_last_and_loaded_libraries_stay_when_they_are_removed(tmp_path: Path) -> None:
    wheels, kits = tmp_path / "ext" / "pip_prebundle", tmp_path / "kit"
    (wheels / "only_here").mkdir(parents=True)
    kits.mkdir()
    for path in (wheels / "only_here/__init__.py", wheels / "only_here/later.py", wheels / "both.py", kits / "both.py"):
        path.write_text("")
    program = RUN.format(first=[str(ROOT), str(kits)], root=str(tmp_path / "ext"))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # with two slashes, so that Kit does not treat it as a module of the extension
    assert done.stdout.splitlines() == [f"/{wheels}/only_here/__init__.py", f"{kits}/both.py", "False"]


def test_without_the_directory_nothing_is_added_or_removed(tmp_path: Path) -> None:
    before = list(sys.path)
    assert bundled.add(tmp_path) is None
    bundled.remove(None)
    assert sys.path == before


def test_a_wasmtime_of_a_different_major_version_is_reported() -> None:
    bundled.check("wasmtime>=50,<51")
    with pytest.raises(Missing, match=r"wasmtime>=49,<50 is required, but Kit has already loaded wasmtime 50\."):
        bundled.check("wasmtime>=49,<50")
