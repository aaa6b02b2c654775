"""The build context of Dockerfile.triton from an installed portalis: the same files as in a checkout, and no others."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ... import errors, wasm_backend
from ...engines.build_context import BuildContext
from ...errors import UsageError

_HERE = Path(__file__).parent
_OWN = ("assemble.py", "health.py", "requirements.txt")


def triton_context(*, triton_image: str | None = None, wheelhouse: Path | None = None) -> BuildContext:
    """What an engine builds the image from. `triton_image` is NVIDIA's image, or another with Triton under
    ``/opt/tritonserver``; the Dockerfile's own choice by default.

    With `wheelhouse`, a folder with the wheels of requirements.txt for that image's Python, the build needs no network.
    Raises UsageError for one without wheels.
    """
    modules = [Path(wasm_backend.__file__).with_name("__init__.py"), Path(errors.__file__), Path(wasm_backend.__file__)]
    backend = (*wasm_backend.island_files(), *wasm_backend.library_files())
    files: dict[str, bytes | Path] = {
        # the name that engines look for
        "Dockerfile": _HERE / "Dockerfile.triton",
        **{f"nim/triton/{name}": _HERE / name for name in _OWN},
        **{f"portalis/{module.name}": module for module in modules},
        **{f"backend/{path}": source for path, source in backend},
    }
    if wheelhouse is not None:
        wheels = sorted(wheelhouse.glob("*.whl"))
        if not wheels:
            raise UsageError(
                f"there are no wheels in {wheelhouse}",
                remediation="Fill it with `pip download --no-deps --only-binary=:all: --dest FOLDER --requirement"
                f" {_HERE / 'requirements.txt'}` for the Python of the Triton image, or leave it out to install from"
                " the package index.",
            )
        files |= {f"wheelhouse/{wheel.name}": wheel for wheel in wheels}
    return BuildContext(
        files={PurePosixPath(path): files[path] for path in sorted(files)},
        arguments={"TRITON_IMAGE": triton_image} if triton_image else {},
    )
