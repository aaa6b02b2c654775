"""The distributions that an image installs, and what a specification may change of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..pins import Pin, all_pins
from ..problems import Problem
from ..spec.container import ContainerConfiguration, WasmRuntime

PINNED_PYTHONS = ((3, 10), (3, 11), (3, 12), (3, 13))  # those that the pins are resolved for
_RUNTIME = "wasmtime"


def image_pins(runtime_version: str | None = None) -> tuple[Pin, ...]:
    """Those of the image, with another version of Wasmtime where `runtime_version` says so. What that version's files
    are is not known here, so its pin has no hashes."""
    found = all_pins()
    return tuple(
        Pin(name=_RUNTIME, version=runtime_version)
        if each.name == _RUNTIME and runtime_version not in (None, each.version)
        else each
        for each in found
    )


def wasmtime_version(config: ContainerConfiguration) -> str | None:
    """The version of Wasmtime that is asked for. With another runtime the service has the pinned one all the same."""
    return config.wasm_runtime_version if config.wasm_runtime is WasmRuntime.Wasmtime else None


def unverified_pins(config: ContainerConfiguration) -> tuple[Pin, ...]:
    """The pins that an image of `config` installs whatever their files are; none from a wheelhouse."""
    found = () if config.wheelhouse is not None else image_pins(wasmtime_version(config))
    return tuple(pin for pin in found if not pin.hashes)


def pin_problems(config: ContainerConfiguration) -> Iterator[Problem]:
    """A version of the runtime that this portalis does not call."""
    wanted = wasmtime_version(config)
    pinned = next(each for each in image_pins() if each.name == _RUNTIME).version
    major = pinned.partition(".")[0]
    if wanted is not None and re.fullmatch(rf"{major}\.\d+\.\d+", wanted) is None:
        yield Problem(
            where="container_config.wasm_runtime_version",
            message=f"{wanted!r} cannot be: the runtime calls Wasmtime {major}",
            remediation=f"Leave it out for {pinned}, or name a version {major}.x.y.",
        )
