"""The distributions that an image installs: each of one version, known by the SHA-256 of its files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..problems import Problem
from ..spec.container import ContainerConfiguration, WasmRuntime

FILE = Path(__file__).parent / "requirements.txt"
PYTHONS = ((3, 10), (3, 11), (3, 12), (3, 13))  # those that the pins are resolved for
RUNTIME = "wasmtime"

_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)\s*(?:;\s*(?P<marker>.*?))?\s*(?P<hashes>--hash=.*)?"
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_OLDER_PYTHON = re.compile(r"python_full_version < '3\.(\d+)'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One line of a requirements file. `hashes` are SHA-256 in hexadecimal, of every file that may be installed; there
    are none where nobody has told them."""

    name: str
    version: str
    marker: str = ""
    hashes: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    def needed_on(self, python: tuple[int, int]) -> bool:
        """Whether this Python wants it; False too for a marker that asks for more than the Python's version."""
        if not self.marker:
            return True
        found = _OLDER_PYTHON.fullmatch(self.marker)
        return found is not None and python < (3, int(found[1]))

    def line(self) -> str:
        """It as pip reads it."""
        marker = f" ; {self.marker}" if self.marker else ""
        return " \\\n    ".join([f"{self}{marker}", *(f"--hash=sha256:{each}" for each in sorted(self.hashes))])


def pins(runtime_version: str | None = None) -> tuple[Pin, ...]:
    """Those of the image, with another version of Wasmtime where `runtime_version` says so. What that version's files
    are is not known here, so its pin has no hashes."""
    found = tuple(read(FILE.read_text()))
    return tuple(
        Pin(name=RUNTIME, version=runtime_version)
        if each.name == RUNTIME and runtime_version not in (None, each.version)
        else each
        for each in found
    )


def version_of(config: ContainerConfiguration) -> str | None:
    """The version of Wasmtime that is asked for. With another runtime the service has the pinned one all the same."""
    return config.wasm_runtime_version if config.wasm_runtime is WasmRuntime.Wasmtime else None


def unverified(config: ContainerConfiguration) -> tuple[Pin, ...]:
    """The pins that an image of `config` installs whatever their files are; none from a wheelhouse."""
    found = () if config.wheelhouse is not None else pins(version_of(config))
    return tuple(pin for pin in found if not pin.hashes)


def problems(config: ContainerConfiguration) -> Iterator[Problem]:
    """A version of the runtime that this portalis does not call."""
    wanted = version_of(config)
    pinned = next(each for each in pins() if each.name == RUNTIME).version
    major = pinned.partition(".")[0]
    if wanted is not None and re.fullmatch(rf"{major}\.\d+\.\d+", wanted) is None:
        yield Problem(
            where="container_config.wasm_runtime_version",
            message=f"{wanted!r} cannot be: the runtime calls Wasmtime {major}",
            remediation=f"Leave it out for {pinned}, or name a version {major}.x.y.",
        )


def read(text: str) -> Iterator[Pin]:
    """The pins in a requirements file, which has nothing else. Raises ValueError."""
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        found = _PIN.fullmatch(line.strip())
        if found is None:
            raise ValueError(f"no pin: {line}")
        yield Pin(
            name=found["name"],
            version=found["version"],
            marker=found["marker"] or "",
            hashes=frozenset(_HASH.findall(found["hashes"] or "")),
        )


def written(each: Iterable[Pin]) -> str:
    """A requirements file of these pins."""
    return "".join(f"{pin.line()}\n" for pin in each)
