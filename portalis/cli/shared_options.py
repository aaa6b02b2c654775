"""Arguments and options that several commands share: the spec file, the container engine, exit codes of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..spec.container import ContainerRuntime

DEFAULT_SPEC = "portalis.toml"
EXIT_CODES = {"success": 0, "partial_success": 3, "failure": 1}
"""Exit code of a run, by the status in its report."""
ENGINES = ("docker", "podman")


def input_file(spec: Path | None, contract: Path | None = None) -> Path:
    """The file that a run reads: the spec, or a contract. Raises UsageError if both are given, or neither exists."""
    if contract is not None and spec is not None:
        raise UsageError(
            f"{spec} and --input {contract} exclude each other", remediation="Pass either a spec file or --input."
        )
    if contract is None and spec is None and not Path(DEFAULT_SPEC).exists():
        raise UsageError(
            f"no {DEFAULT_SPEC} found in this directory",
            remediation="Write one with `portalis init MODULE`, or pass a spec file.",
        )
    return contract or spec or Path(DEFAULT_SPEC)


def parse_engine(name: str) -> ContainerRuntime:
    """The container engine of the option ``--engine``. Raises UsageError."""
    from ..spec.container import ContainerRuntime

    if name not in ENGINES:
        raise UsageError(f"--engine {name}: unknown container engine", remediation="Use docker or podman.")
    return ContainerRuntime(name.capitalize())
