"""Images install pinned files; an incomplete wheelhouse is reported before an engine is used."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from portalis.nim.image_pins import image_pins, pin_problems
from portalis.nim.service_context import image_context_problems
from portalis.nim.wheelhouse import select_wheels
from portalis.pins import REQUIREMENTS_FILE, Pin, format_pins, parse_pins
from portalis.spec.container import ContainerConfiguration
from tests import parts

PIP = Pin(name="Some.Thing", version="1.2")


@pytest.fixture
def wheels() -> Path:
    if not any(parts.WHEELHOUSE.glob("*.whl")):
        parts.skip_or_fail("the wheels of the images: `make parts` (as root on Debian)")
    return parts.WHEELHOUSE


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_bytes(name.encode())
    return folder


def messages(folder: Path, *wanted: Pin, base: str = "debian:12") -> list[str]:
    return [problem.message for problem in select_wheels(folder, wanted, base).problems]


def test_every_pin_has_the_hashes_of_the_wheels(wheels: Path) -> None:
    found = image_pins()
    assert len(found) > 20 and all(pin.hashes for pin in found)
    by_name = {canonicalize_name(pin.name): pin for pin in found}
    for wheel in wheels.glob("*.whl"):
        name, version = wheel.name.split("-")[:2]
        pin = by_name.pop(canonicalize_name(name))
        assert pin.version == version
        assert hashlib.sha256(wheel.read_bytes()).hexdigest() in pin.hashes
    assert set(by_name) == {"exceptiongroup"}  # the only one that Python 3.11 does not need


def test_pins_are_read_back_as_they_are_written() -> None:
    found = image_pins("50.0.7")
    assert tuple(parse_pins(format_pins(found))) == found
    assert tuple(parse_pins(REQUIREMENTS_FILE.read_text())) == image_pins()
    with pytest.raises(ValueError, match="got evil"):
        list(parse_pins("evil\n"))


def test_a_different_wasmtime_has_no_hash_and_must_have_the_supported_major_version() -> None:
    (other,) = [pin for pin in image_pins("50.0.7") if not pin.hashes]
    assert str(other) == "wasmtime==50.0.7"
    assert all(pin.hashes for pin in image_pins("50.0.1"))
    for version in ("49.0.0", "50.0.1\nevil", "50"):
        (problem,) = pin_problems(ContainerConfiguration(wasm_runtime_version=version))
        assert problem.where == "container_config.wasm_runtime_version"
        assert "expected a version of Wasmtime 50" in problem.message


def test_the_wheelhouse_of_the_tests_is_complete_for_its_python(wheels: Path) -> None:
    chosen = select_wheels(wheels, image_pins(), parts.BASE_IMAGE)
    assert chosen.problems == () and chosen.pins == image_pins()
    assert {wheel.suffix for wheel in chosen.wheels} == {".whl"}
    assert len(chosen.wheels) == len(image_pins()) - 1


def test_the_python_of_the_base_image_needs_a_wheel_for_each_pin(wheels: Path) -> None:
    (problem,) = image_context_problems(ContainerConfiguration(base_image="python:3.13-slim", wheelhouse=wheels))
    assert "no wheel of grpcio==" in problem.message
    assert problem.message.endswith(" for Python 3.13 on Linux, the version of python:3.13-slim")
    assert "numpy==" in problem.message and "fastapi" not in problem.message
    assert "--python-version 3.13" in problem.remediation and str(REQUIREMENTS_FILE) in problem.remediation
    assert (
        list(
            image_context_problems(ContainerConfiguration(base_image="registry:5000/a/python:3.11", wheelhouse=wheels))
        )
        == []
    )


def test_a_missing_wheel_and_a_wheel_with_a_different_hash_are_named(wheels: Path, tmp_path: Path) -> None:
    for wheel in wheels.glob("*.whl"):
        if not wheel.name.startswith("fastapi"):
            shutil.copy(wheel, tmp_path)
    (click,) = tmp_path.glob("click-*.whl")
    click.write_bytes(b"something else")
    first, second = (each.message for each in select_wheels(tmp_path, image_pins(), "debian:12").problems)
    assert click.name in first and "the SHA-256 of" in first
    fastapi = next(pin for pin in image_pins() if pin.name == "fastapi")
    assert second.endswith(f" has no wheel of {fastapi} for Python 3.11 on Linux")


def test_a_pin_without_hashes_gets_the_hash_of_the_wheel(tmp_path: Path) -> None:
    name = "some_thing-1.2-py3-none-manylinux1_x86_64.whl"
    (pin,) = select_wheels(put(tmp_path, name), [PIP], "debian:12").pins
    assert pin.hashes == {hashlib.sha256(name.encode()).hexdigest()}
    assert messages(tmp_path, Pin(name="some-thing", version="1.3")) == [
        f"{tmp_path} has no wheel of some-thing==1.3 for Python 3.10 on Linux"
    ]


def test_the_error_for_an_empty_wheelhouse_has_the_command_that_fills_it(tmp_path: Path) -> None:
    (problem,) = select_wheels(tmp_path, [PIP], "python:3.12").problems
    assert problem.where == "container_config.wheelhouse"
    assert problem.message == f"no wheels found in {tmp_path}"
    assert "pip download" in problem.remediation and "and Some.Thing==1.2 in the same way" in problem.remediation


def test_wheels_for_another_system_and_files_without_a_wheels_name_are_ignored(tmp_path: Path) -> None:
    put(tmp_path, "not-a-wheel.whl", "some_thing-1.2-cp311-cp311-win_amd64.whl")
    assert messages(tmp_path, PIP) == [f"no wheels found in {tmp_path}"]
    put(tmp_path, "some_thing-1.2-cp311-none-musllinux_1_2_x86_64.whl")
    assert messages(tmp_path, PIP) == []
    assert messages(tmp_path, PIP, base="python:3.12") == [
        f"{tmp_path} has no wheel of Some.Thing==1.2 for Python 3.12 on Linux, the version of python:3.12"
    ]
