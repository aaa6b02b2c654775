"""Wheels are selected by the tags in their names, for a Python and a platform that need not be this machine's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.tags import parse_tag

from portalis.wheel_files import runs_on, wheel_files

LINUX = re.compile(r"any|.*linux.*")


@pytest.mark.parametrize(
    ("tags", "minors"),
    [
        ("py3-none-any", [10, 11, 12, 13]),
        ("py2.py3-none-any", [10, 11, 12, 13]),
        ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", [11]),
        ("cp311-none-linux_x86_64", [11]),
        ("cp39-abi3-manylinux2014_x86_64", [10, 11, 12, 13]),
        ("cp312-abi3-musllinux_1_2_x86_64", [12, 13]),
        ("py312-none-any", [12, 13]),
        ("py30-none-any", [10, 11, 12, 13]),
        ("cp311-cp311d-manylinux2014_x86_64", []),
        ("pp310-pypy310_pp73-manylinux2014_x86_64", []),
        ("cp313-cp313t-manylinux2014_x86_64", []),
        ("py2-none-any", []),
        ("cp311-cp311-win_amd64", []),
    ],
)
def test_a_wheel_runs_on_the_versions_that_its_tags_name(tags: str, minors: list[int]) -> None:
    assert [minor for minor in (10, 11, 12, 13) if runs_on(parse_tag(tags), (3, minor), LINUX)] == minors


def test_a_platform_is_compared_together_with_its_own_interpreter_and_abi() -> None:
    tags = parse_tag("cp311-cp311-win_amd64") | parse_tag("cp312-cp312-linux_x86_64")
    assert not runs_on(tags, (3, 11), LINUX)
    assert runs_on(tags, (3, 12), LINUX)


def test_names_are_normalized_and_files_that_are_not_wheels_are_skipped(tmp_path: Path) -> None:
    for name in ("Some.Thing-1.0-1-py3-none-any.whl", "b-x-py3-none-any.whl", "c-1.0-py3-none.whl", "d-1.0.zip"):
        (tmp_path / name).touch()
    (wheel,) = wheel_files(tmp_path)
    assert (wheel.name, str(wheel.version)) == ("some-thing", "1.0")
    assert wheel.tags == parse_tag("py3-none-any")
