"""The pinned distributions that a service image installs, and the version of Wasmtime that a spec can choose."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..pins import Pin, all_pins
from ..problems import Problem
from ..spec.container import ContainerConfiguration, WasmRuntime

PINNED_PYTHONS = ((3, 10), (3, 11), (3, 12), (3, 13))
"""The versions of Python that the pins were resolved for."""
_RUNTIME = "wasmtime"


def image_pins(runtime_version: str | None = None) -> tuple[Pin, ...]:
    """The pins of an image, with Wasmtime of version `runtime_version` if one is passed.

    portalis knows the hashes of the pinned version only: the pin of a different version has none.
    """
    return tuple(
        Pin(name=_RUNTIME, version=runtime_version)
        if pin.name == _RUNTIME and runtime_version not in (None, pin.version)
        else pin
        for pin in all_pins()
    )


def pinned_wasmtime_version(config: ContainerConfiguration) -> str | None:
    """The requested version of Wasmtime; None for the pinned version.

    With a different runtime, the image also has Wasmtime, always in the pinned version.
    """
    return config.wasm_runtime_version if config.wasm_runtime is WasmRuntime.Wasmtime else None


def unverified_pins(config: ContainerConfiguration) -> tuple[Pin, ...]:
    """The pins without hashes that an image of `config` installs from the package index."""
    pins = () if config.wheelhouse is not None else image_pins(pinned_wasmtime_version(config))
    return tuple(pin for pin in pins if not pin.hashes)


def pin_problems(config: ContainerConfiguration) -> Iterator[Problem]:
    """A requested version of Wasmtime that the runtime does not support."""
    requested = pinned_wasmtime_version(config)
    pinned = next(pin for pin in image_pins() if pin.name == _RUNTIME).version
    major = pinned.partition(".")[0]
    if requested is not None and re.fullmatch(rf"{major}\.\d+\.\d+", requested) is None:
        yield Problem(
            where="container_config.wasm_runtime_version",
            message=f"expected a version of Wasmtime {major}, got {requested!r}",
            remediation=f"Omit the key for {pinned}, or name a version {major}.x.y.",
        )
